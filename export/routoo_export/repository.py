"""The Triton side of the artifact: config.pbtxt from typed config."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from routoo_export.graph import INPUT_NAME, OUTPUT_NAMES

CONFIG_FILE: Final = "config.pbtxt"
MODEL_NAME: Final = "predictor"
FIRST_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class TritonConfig:
    """A Triton model without a dynamic batcher: the service batches before it calls.

    max_batch_size: prompts per call. instances: copies of the model on the CPU. versions_kept: how
    many of the newest version folders are served. threads_per_instance: onnxruntime's intra-op
    threads.
    """

    models: int
    name: str = MODEL_NAME
    max_batch_size: int = 256
    instances: int = 1
    threads_per_instance: int = 1
    versions_kept: int = 1

    def message(self) -> model_config_pb2.ModelConfig:
        """As the protobuf message that Triton reads."""
        config = model_config_pb2.ModelConfig(
            name=self.name,
            platform="onnxruntime_onnx",
            backend="onnxruntime",
            max_batch_size=self.max_batch_size,
            input=[
                model_config_pb2.ModelInput(
                    name=INPUT_NAME, data_type=model_config_pb2.TYPE_INT64, dims=[-1]
                )
            ],
            output=[
                model_config_pb2.ModelOutput(
                    name=name, data_type=model_config_pb2.TYPE_FP32, dims=[self.models]
                )
                for name in OUTPUT_NAMES
            ],
            instance_group=[
                model_config_pb2.ModelInstanceGroup(
                    count=self.instances, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU
                )
            ],
        )
        config.version_policy.latest.num_versions = self.versions_kept
        config.parameters["intra_op_thread_count"].string_value = str(self.threads_per_instance)
        return config

    def text(self) -> str:
        """As the text of config.pbtxt."""
        return str(text_format.MessageToString(self.message()))


def version_folder(repository: Path) -> Path:
    """Where the artifact lies in a model repository."""
    return repository / MODEL_NAME / str(FIRST_VERSION)


def write_repository(repository: Path, models: int) -> Path:
    """Write config.pbtxt beside the version folder; returns its path."""
    path = repository / MODEL_NAME / CONFIG_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TritonConfig(models=models).text(), encoding="utf-8")
    return path
