"""The Triton repository of the artifact: config.pbtxt from typed settings, and version folders."""

import json
import re
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton

from routoo.predictor.artifact import INPUT
from routoo.predictor.base import bucket_lengths
from routoo_export.artifact.replace_folder import write_whole
from routoo_export.errors import ExportError

CONFIG_FILE: Final = "config.pbtxt"
MANIFEST_FILE: Final = "manifest.json"
MODEL_NAME: Final = "predictor"
PYTHON_FILE: Final = "model.py"
FIRST_VERSION: Final = 1
THREADS: Final = "intra_op_thread_count"
"""The name of the parameter in Triton's onnxruntime backend."""
TABLE_FORMAT: Final = 2
_TYPES: Final = {"int64": triton.TYPE_INT64, "float32": triton.TYPE_FP32}
_VERSION: Final = re.compile(r"[1-9][0-9]*")

Backend = Literal["onnxruntime", "python"]
Accelerator = Literal["none", "cuda", "tensorrt"]


@dataclass(frozen=True, slots=True)
class DynamicBatching:
    """Settings of Triton's dynamic batching.

    Attributes:
        preferred_sizes: Batch sizes to wait for, in prompts.
        longest_wait_us: Longest time that the first prompt of a batch waits for more, in
            microseconds.
    """

    preferred_sizes: tuple[int, ...] = ()
    longest_wait_us: int = 0


@dataclass(frozen=True, slots=True)
class TritonConfig:
    """Settings with which a Triton server runs the predictor.

    Attributes:
        name: Name of the model.
        backend: "onnxruntime", or "python" for a server without that backend.
        accelerator: "tensorrt" is onnxruntime's TensorRT provider, with CUDA for the operators that
            it does not support.
        max_batch_size: Most prompts per call.
        batching: Dynamic batching for other callers than the service; None = off, because the
            service batches before it calls.
        instances: Copies of the model on each device.
        gpus: Numbers of the devices; () = all.
        threads_per_instance: Intra-op threads of onnxruntime.
        versions_kept: How many of the newest versions are served.
        warm_up: Run each padded length once before the model is ready.
        tensorrt_fp16: Let TensorRT compute an fp32 graph in half precision.

    Raises:
        ExportError: settings exclude each other.
    """

    name: str = MODEL_NAME
    backend: Backend = "onnxruntime"
    accelerator: Accelerator = "none"
    max_batch_size: int = 256
    batching: DynamicBatching | None = None
    instances: int = 1
    gpus: tuple[int, ...] = ()
    threads_per_instance: int = 1
    versions_kept: int = 1
    warm_up: bool = False
    tensorrt_fp16: bool = False

    def __post_init__(self) -> None:
        if self.gpus and self.accelerator == "none":
            raise ExportError("GPUs need --accelerator cuda or tensorrt")
        if self.backend == "python" and self.accelerator == "tensorrt":
            raise ExportError("the Python backend runs on cuda; --accelerator cuda, or another")
        if self.tensorrt_fp16 and self.accelerator != "tensorrt":
            raise ExportError("--tensorrt-fp16 needs --accelerator tensorrt")
        sizes = self.batching.preferred_sizes if self.batching else ()
        if any(not 0 < size <= self.max_batch_size for size in sizes):
            raise ExportError(f"preferred batch sizes are 1 to {self.max_batch_size} prompts")


@dataclass(frozen=True, slots=True)
class Signature:
    """The properties of an artifact's graph that the config depends on.

    Attributes:
        outputs: Number of columns of each output by name; None = one figure per prompt.
        max_tokens: Longest prompt.
        backbone: Kind of backbone.
        precision: Precision of the graph.
        tensors: Types and whole shapes of inputs and outputs by name, where the graph is given the
            rows of its models, which Triton's batches have no place for; else empty.
    """

    outputs: dict[str, int | None] = field(hash=False)
    max_tokens: int
    backbone: str
    precision: str = "fp32"
    tensors: dict[str, tuple[str, list[int]]] = field(default_factory=dict, hash=False)


def read_signature(folder: Path) -> Signature:
    """Read the signature of the artifact in the version folder ``folder``.

    Raises:
        ExportError: there is none.
    """
    path = folder / MANIFEST_FILE
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Signature(
            outputs={
                tensor["name"]: tensor["shape"][1] if len(tensor["shape"]) > 1 else None
                for tensor in manifest["outputs"]
            },
            max_tokens=manifest["max_tokens"],
            backbone=manifest["backbone"],
            precision=manifest.get("precision", "fp32"),
            tensors={
                tensor["name"]: (tensor["dtype"], tensor["shape"])
                for tensor in (*manifest["inputs"], *manifest["outputs"])
                if manifest["format_version"] == TABLE_FORMAT
            },
        )
    except (OSError, KeyError, ValueError) as error:
        raise ExportError(f"{path}: no usable manifest ({error}); export first") from error


def config_message(config: TritonConfig, signature: Signature) -> triton.ModelConfig:
    """The config as the protobuf message that Triton reads.

    Raises:
        ExportError: the artifact's precision is not for the accelerator.
    """
    if signature.precision == "int8" and config.accelerator != "none":
        raise ExportError(
            f"an int8 predictor is for CPUs, not for {config.accelerator}; export it with"
            " --precision fp16, or --accelerator none"
        )
    if signature.tensors and (
        config.batching or config.warm_up or config.accelerator == "tensorrt"
    ):
        raise ExportError(
            "a predictor that is given its models' rows takes neither Triton's batches nor its"
            " warm-up nor TensorRT: the service batches and warms up; leave these out"
        )
    message = triton.ModelConfig(
        name=config.name,
        backend=config.backend,
        max_batch_size=0 if signature.tensors else config.max_batch_size,
        input=_inputs(signature),
        output=_outputs(signature, config.backend),
        instance_group=[_instances(config)],
    )
    if config.backend == "onnxruntime":
        message.platform = "onnxruntime_onnx"
    message.version_policy.latest.num_versions = config.versions_kept
    message.parameters[THREADS].string_value = str(config.threads_per_instance)
    if config.batching is not None:
        message.dynamic_batching.preferred_batch_size.extend(config.batching.preferred_sizes)
        message.dynamic_batching.max_queue_delay_microseconds = config.batching.longest_wait_us
    if config.accelerator == "tensorrt":
        _add_tensorrt(message, config, signature)
    if config.warm_up:
        message.model_warmup.extend(_warm_up(config, signature))
    return message


def _inputs(signature: Signature) -> list[triton.ModelInput]:
    if not signature.tensors:
        return [triton.ModelInput(name=INPUT, data_type=triton.TYPE_INT64, dims=[-1])]
    return [
        triton.ModelInput(name=name, data_type=_TYPES[dtype], dims=shape)
        for name, (dtype, shape) in signature.tensors.items()
        if name not in signature.outputs
    ]


def _outputs(signature: Signature, backend: str) -> list[triton.ModelOutput]:
    if not signature.tensors:
        return [_output(*output, backend) for output in signature.outputs.items()]
    return [
        triton.ModelOutput(name=name, data_type=_TYPES[dtype], dims=shape)
        for name, (dtype, shape) in signature.tensors.items()
        if name in signature.outputs
    ]


def _output(name: str, columns: int | None, backend: str) -> triton.ModelOutput:
    """Declare an output; without columns it gets one, because Triton needs a second dimension."""
    output = triton.ModelOutput(name=name, data_type=triton.TYPE_FP32, dims=[columns or 1])
    if columns is None and backend == "onnxruntime":
        # The graph's own output lacks this dimension; model.py adds it.
        output.reshape.SetInParent()
    return output


def _instances(config: TritonConfig) -> triton.ModelInstanceGroup:
    kinds = triton.ModelInstanceGroup
    if config.accelerator == "none":
        return kinds(count=config.instances, kind=kinds.KIND_CPU)
    return kinds(count=config.instances, kind=kinds.KIND_GPU, gpus=config.gpus)


def _add_tensorrt(message: triton.ModelConfig, config: TritonConfig, signature: Signature) -> None:
    shortest, longest = 1, signature.max_tokens
    accelerator = message.optimization.execution_accelerators.gpu_execution_accelerator.add()
    accelerator.name = "tensorrt"
    half = config.tensorrt_fp16 or signature.precision == "fp16"
    # One engine for all lengths and batches: without a profile each new shape builds another.
    shapes = {
        "min": f"{INPUT}:1x{shortest}",
        "opt": f"{INPUT}:{min(8, config.max_batch_size)}x{min(128, longest)}",
        "max": f"{INPUT}:{config.max_batch_size}x{longest}",
    }
    values = {
        "precision_mode": "FP16" if half else "FP32",
        "trt_layer_norm_fp32_fallback": "1",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": f"/tmp/{config.name}-engines",  # noqa: S108 - of the container
        **{f"trt_profile_{kind}_shapes": shape for kind, shape in shapes.items()},
    }
    for key, value in values.items():
        accelerator.parameters[key] = value


def _warm_up(config: TritonConfig, signature: Signature) -> list[triton.ModelWarmup]:
    """One request per padded length, for one prompt and for a full batch."""
    lengths = bucket_lengths(signature.max_tokens, fine=signature.backbone != "static")
    requests = []
    for length in lengths:
        for rows in sorted({1, config.max_batch_size}):
            request = triton.ModelWarmup(name=f"{rows}x{length}", batch_size=rows)
            ids = request.inputs[INPUT]
            ids.data_type = triton.TYPE_INT64
            ids.dims.append(length)
            # Random bytes would not be token ids.
            ids.zero_data = True
            requests.append(request)
    return requests


def versions(repository: Path) -> list[int]:
    """Numbers of the version folders, in rising order."""
    found = (repository / MODEL_NAME).glob("*")
    return sorted(int(p.name) for p in found if p.is_dir() and _VERSION.fullmatch(p.name))


def version_folder(repository: Path, version: int | Literal["next"] = FIRST_VERSION) -> Path:
    """The folder of a version of the artifact; "next" is one above the newest."""
    if version == "next":
        version = max(versions(repository), default=FIRST_VERSION - 1) + 1
    return repository / MODEL_NAME / str(version)


def newest_version(repository: Path) -> Path:
    """The folder of the newest version, or of the first one where there is none."""
    return version_folder(repository, max(versions(repository), default=FIRST_VERSION))


def write_config(repository: Path, config: TritonConfig) -> Path:
    """Write config.pbtxt for the newest version, and model.py where the backend needs it.

    Returns:
        The path of config.pbtxt, which is replaced atomically.

    Raises:
        ExportError: there is no version, or its precision is not for this config.
    """
    newest = newest_version(repository)
    message = config_message(config, read_signature(newest))
    path = repository / MODEL_NAME / CONFIG_FILE
    if config.backend == "python":
        _write_python(repository)
    write_whole(path, str(text_format.MessageToString(message)))
    return path


def renew_config(repository: Path) -> Path:
    """Adapt the outputs in config.pbtxt to the newest version; other settings do not change.

    Raises:
        ExportError: config.pbtxt is not a Triton config.
    """
    path = repository / MODEL_NAME / CONFIG_FILE
    if not path.exists():
        return write_config(repository, TritonConfig())
    message = triton.ModelConfig()
    try:
        text_format.Parse(path.read_text(encoding="utf-8"), message)
    except text_format.ParseError as error:
        raise ExportError(
            f"{path}: not a Triton config ({error}); run `routoo-export repository`"
        ) from error
    signature = read_signature(newest_version(repository))
    del message.input[:], message.output[:]
    message.input.extend(_inputs(signature))
    message.output.extend(_outputs(signature, message.backend))
    if bool(signature.tensors) == bool(message.max_batch_size):
        message.max_batch_size = 0 if signature.tensors else TritonConfig().max_batch_size
    if message.backend == "python":
        _write_python(repository)
    write_whole(path, str(text_format.MessageToString(message)))
    return path


def _write_python(repository: Path) -> None:
    code = (files("routoo_export.artifact") / "triton_model.py").read_text(encoding="utf-8")
    for version in versions(repository):
        write_whole(version_folder(repository, version) / PYTHON_FILE, code)
