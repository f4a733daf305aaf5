"""config.pbtxt from typed settings, and the Python backend's model.py run in process."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from google.protobuf import json_format, text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2 as triton

from routoo.predictor.artifact import load_artifact
from routoo.predictor.base import bucket_lengths
from routoo.predictor.encoding import PaddedGraph
from routoo.predictor.onnx import OnnxPredictor
from routoo_export.artifact.triton_repository import (
    DynamicBatching,
    Signature,
    TritonConfig,
    config_message,
    newest_version,
    read_signature,
    renew_config,
    version_folder,
    write_config,
)
from routoo_export.errors import ExportError
from support.artifacts.tiny_artifact import MODELS, write_tiny_artifact
from support.artifacts.tiny_table_artifact import write_tiny_table_artifact

if TYPE_CHECKING:
    from pathlib import Path

TWO: dict[str, int | None] = {"scores": 5, "output_tokens": 5}
FOUR: dict[str, int | None] = {**TWO, "score_std": 5, "ood": None}
STATIC = Signature(outputs=FOUR, max_tokens=512, backbone="static")
ENCODER = Signature(outputs=FOUR, max_tokens=256, backbone="encoder")

signatures = st.builds(
    Signature,
    outputs=st.sampled_from([TWO, FOUR]),
    max_tokens=st.integers(8, 2048),
    backbone=st.sampled_from(["static", "encoder", "decoder"]),
    precision=st.sampled_from(["fp32", "fp16"]),
)


@st.composite
def configs(draw: st.DrawFn) -> TritonConfig:
    """Valid combinations of settings."""
    accelerator = draw(st.sampled_from(["none", "cuda", "tensorrt"]))
    largest = draw(st.integers(1, 512))
    sizes = st.lists(st.integers(1, largest), unique=True, max_size=3).map(tuple)
    backends = ["onnxruntime"] if accelerator == "tensorrt" else ["onnxruntime", "python"]
    return TritonConfig(
        backend=draw(st.sampled_from(backends)),
        accelerator=accelerator,
        max_batch_size=largest,
        batching=draw(st.none() | st.builds(DynamicBatching, sizes, st.integers(0, 10_000))),
        instances=draw(st.integers(1, 8)),
        gpus=() if accelerator == "none" else tuple(draw(st.sets(st.integers(0, 7), max_size=3))),
        threads_per_instance=draw(st.integers(1, 16)),
        versions_kept=draw(st.integers(1, 4)),
        warm_up=draw(st.booleans()),
        tensorrt_fp16=draw(st.booleans()) if accelerator == "tensorrt" else False,
    )


@given(config=configs(), signature=signatures)
def test_every_config_is_read_back_as_it_was_meant(
    config: TritonConfig, signature: Signature
) -> None:
    text = text_format.MessageToString(config_message(config, signature))
    parsed = text_format.Parse(text, triton.ModelConfig())
    assert parsed == config_message(config, signature)
    assert (parsed.name, parsed.backend) == ("predictor", config.backend)
    assert parsed.max_batch_size == config.max_batch_size
    assert parsed.version_policy.latest.num_versions == config.versions_kept
    assert [tuple(tensor.dims) for tensor in parsed.input] == [(-1,)]
    assert {o.name: o.dims[0] for o in parsed.output} == {
        name: columns or 1 for name, columns in signature.outputs.items()
    }
    (group,) = parsed.instance_group
    assert (group.count, tuple(group.gpus)) == (config.instances, config.gpus)
    assert (group.kind == group.KIND_GPU) == (config.accelerator != "none")
    threads = parsed.parameters["intra_op_thread_count"].string_value
    assert int(threads) == config.threads_per_instance
    assert parsed.HasField("dynamic_batching") == (config.batching is not None)
    if config.batching is not None:
        batching = parsed.dynamic_batching
        assert tuple(batching.preferred_batch_size) == config.batching.preferred_sizes
        assert batching.max_queue_delay_microseconds == config.batching.longest_wait_us
    accelerators = parsed.optimization.execution_accelerators.gpu_execution_accelerator
    assert [one.name for one in accelerators] == ["tensorrt"] * (config.accelerator == "tensorrt")
    for one in accelerators:
        half = config.tensorrt_fp16 or signature.precision == "fp16"
        assert one.parameters["precision_mode"] == ("FP16" if half else "FP32")
        largest = f"input_ids:{config.max_batch_size}x{signature.max_tokens}"
        assert one.parameters["trt_profile_max_shapes"] == largest
    warmed = {(one.batch_size, one.inputs["input_ids"].dims[0]) for one in parsed.model_warmup}
    fine = signature.backbone != "static"
    lengths = set(bucket_lengths(signature.max_tokens, fine=fine)) if config.warm_up else set()
    assert warmed == {(rows, n) for rows in (1, config.max_batch_size) for n in lengths}


def test_an_output_per_prompt_keeps_its_shape_in_the_graph() -> None:
    for backend, reshaped in (("onnxruntime", True), ("python", False)):
        message = config_message(TritonConfig(backend=backend), STATIC)  # type: ignore[arg-type]
        (ood,) = (output for output in message.output if output.name == "ood")
        assert list(ood.dims) == [1]
        assert ood.HasField("reshape") == reshaped
        assert list(ood.reshape.shape) == []


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"gpus": (0,)}, "--accelerator cuda"),
        ({"backend": "python", "accelerator": "tensorrt"}, "--accelerator cuda"),
        ({"tensorrt_fp16": True}, "--accelerator tensorrt"),
        ({"max_batch_size": 8, "batching": DynamicBatching((9,))}, "1 to 8 prompts"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(
    settings: dict[str, Any], remedy: str
) -> None:
    with pytest.raises(ExportError, match=remedy):
        TritonConfig(**settings)


def test_int8_is_not_for_gpus() -> None:
    signature = Signature(FOUR, 256, "encoder", "int8")
    with pytest.raises(ExportError, match="--precision fp16"):
        config_message(TritonConfig(accelerator="cuda"), signature)
    assert config_message(TritonConfig(), signature).backend == "onnxruntime"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_tiny_artifact(version_folder(tmp_path, 1))
    return tmp_path


def parse(path: Path) -> triton.ModelConfig:
    return text_format.Parse(path.read_text(), triton.ModelConfig())


def test_the_config_fits_the_newest_version(repository: Path) -> None:
    write_tiny_artifact(version_folder(repository, "next"), uncertain=True)
    assert newest_version(repository).name == "2"
    message = parse(write_config(repository, TritonConfig()))
    assert [output.name for output in message.output] == [
        "scores",
        "output_tokens",
        "score_std",
        "ood",
    ]
    assert read_signature(version_folder(repository, 1)).outputs.keys() == TWO.keys()


def test_a_new_version_changes_the_outputs_and_not_how_they_are_served(repository: Path) -> None:
    config = TritonConfig(
        backend="python", instances=3, batching=DynamicBatching((4,), 50), versions_kept=2
    )
    before = parse(write_config(repository, config))
    write_tiny_artifact(version_folder(repository, "next"), uncertain=True)
    after = parse(renew_config(repository))
    assert len(after.output) == 4
    del before.output[:], after.output[:]
    assert after == before
    codes = {(version_folder(repository, v) / "model.py").read_text() for v in (1, 2)}
    assert len(codes) == 1


def test_a_config_that_is_none_is_refused(repository: Path) -> None:
    (repository / "predictor" / "config.pbtxt").write_text("backend = python")
    with pytest.raises(ExportError, match="not a Triton config"):
        renew_config(repository)


def test_a_graph_with_its_models_rows_is_read_back_as_it_was_meant(tmp_path: Path) -> None:
    folder = write_tiny_table_artifact(version_folder(tmp_path, 1))
    manifest = load_artifact(folder).manifest
    for backend in ("onnxruntime", "python"):
        config = TritonConfig(backend=backend, instances=3, threads_per_instance=2)  # type: ignore[arg-type]
        message = parse(write_config(tmp_path, config))
        assert message == config_message(config, read_signature(folder))
        assert (message.backend, message.max_batch_size) == (backend, 0)
        for found, wanted in (
            (message.input, manifest.inputs),
            (message.output, manifest.outputs),
        ):
            assert [(one.name, tuple(one.dims)) for one in found] == [
                (one.name, one.shape) for one in wanted
            ]
        kinds = {one.name: one.data_type for one in (*message.input, *message.output)}
        assert kinds.pop("input_ids") == triton.TYPE_INT64
        assert set(kinds.values()) == {triton.TYPE_FP32}
        assert not any(output.HasField("reshape") for output in message.output)


@pytest.mark.parametrize(
    "settings",
    [
        {"warm_up": True},
        {"batching": DynamicBatching()},
        {"accelerator": "tensorrt"},
    ],
)
def test_what_triton_cannot_do_for_such_a_graph_is_refused_in_one_line(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    write_tiny_table_artifact(version_folder(tmp_path, 1))
    with pytest.raises(ExportError) as caught:
        write_config(tmp_path, TritonConfig(**settings))
    assert "leave these out" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "predictor" / "config.pbtxt").exists()


def test_a_version_of_the_other_format_changes_the_inputs_and_the_batches(tmp_path: Path) -> None:
    write_tiny_artifact(version_folder(tmp_path, 1), uncertain=True)
    config = TritonConfig(backend="python", instances=3, max_batch_size=32)
    before = parse(write_config(tmp_path, config))
    write_tiny_table_artifact(version_folder(tmp_path, "next"))
    after = parse(renew_config(tmp_path))
    assert (before.max_batch_size, after.max_batch_size) == (32, 0)
    assert {one.name for one in after.input} > {one.name for one in before.input}
    assert after.instance_group == before.instance_group
    write_tiny_artifact(version_folder(tmp_path, "next"), uncertain=True)
    again = parse(renew_config(tmp_path))
    assert (again.input, again.output) == (before.input, before.output)
    assert again.max_batch_size == TritonConfig().max_batch_size


@dataclass
class Tensor:
    """A stand-in for the tensor of ``triton_python_backend_utils``."""

    name: str
    values: np.ndarray[Any, Any]

    def as_numpy(self) -> np.ndarray[Any, Any]:
        return self.values


@dataclass
class InferenceResponse:
    output_tensors: list[Tensor] = field(default_factory=list)
    error: Exception | None = None


def python_model(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> Any:
    """The generated model.py of ``version``, as Triton's Python backend opens it."""
    stub: Any = ModuleType("triton_python_backend_utils")
    stub.Tensor, stub.InferenceResponse, stub.TritonError = Tensor, InferenceResponse, RuntimeError
    stub.get_input_tensor_by_name = lambda request, name: request[name]
    monkeypatch.setitem(sys.modules, stub.__name__, stub)
    spec = importlib.util.spec_from_file_location("model", folder / version / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.TritonPythonModel()
    config = json_format.MessageToDict(
        parse(folder / "config.pbtxt"), preserving_proto_field_name=True
    )
    model.initialize(
        {
            "model_repository": str(folder),
            "model_version": version,
            "model_config": json.dumps(config),
            "model_instance_kind": "CPU",
            "model_instance_device_id": "0",
        }
    )
    return model


def request(ids: list[list[int]]) -> dict[str, Tensor]:
    return {"input_ids": Tensor("input_ids", np.array(ids, dtype=np.int64))}


def test_the_python_backend_answers_as_the_service_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for uncertain in (False, True):
        write_tiny_artifact(version_folder(tmp_path, "next"), uncertain=uncertain)
    write_config(tmp_path, TritonConfig(backend="python", threads_per_instance=1))
    model = python_model(tmp_path / "predictor", monkeypatch, "2")
    served = OnnxPredictor(load_artifact(version_folder(tmp_path, 2)))
    wanted = served.predict(["easy", "hard", "long easy", "hard hard"])
    # Two requests of one length, one of another.
    responses = model.execute([request([[2, 0], [3, 0]]), request([[4, 2, 0]]), request([[3, 3]])])
    assert [response.error for response in responses] == [None] * 3
    for i, name in enumerate(("scores", "output_tokens", "score_std", "ood")):
        found = [response.output_tensors[i] for response in responses]
        assert {tensor.name for tensor in found} == {name}
        assert [len(tensor.values) for tensor in found] == [2, 1, 1]
        joined = np.concatenate([tensor.values for tensor in found])
        expected = getattr(wanted, name).reshape(4, -1)
        np.testing.assert_array_equal(joined, expected)
    assert expected.shape == (4, 1)
    assert wanted.scores.shape == (4, len(MODELS))


def test_a_failure_answers_each_request_it_hits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_artifact(version_folder(tmp_path, 1))
    write_config(tmp_path, TritonConfig(backend="python"))
    model = python_model(tmp_path / "predictor", monkeypatch, "1")
    # Token 99 is in no table of the graph.
    responses = model.execute([request([[2]]), request([[99, 2]]), request([[2, 99]])])
    assert responses[0].error is None
    assert len(responses[0].output_tensors) == 2
    for response in responses[1:]:
        assert "inference failed" in str(response.error)
        assert response.output_tensors == []


def test_the_python_backend_answers_each_request_with_its_own_rows_of_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = load_artifact(write_tiny_table_artifact(version_folder(tmp_path, 1)))
    write_config(tmp_path, TritonConfig(backend="python"))
    model = python_model(tmp_path / "predictor", monkeypatch, "1")
    requests, wanted = [], []
    for models in (["small", "large"], ["extra"]):
        graph = PaddedGraph(artifact, models)
        (feed,) = graph.questions(["code", "hard math"]).inputs
        requests.append({name: Tensor(name, values) for name, values in feed.items()})
        wanted.append(OnnxPredictor(artifact, graph=graph).infer([feed]))
    # A model has three rows, and the graph itself would stretch a table of one column.
    wrong = [
        {**requests[0], "models": Tensor("models", np.zeros(shape, np.float32))}
        for shape in ((4, 7), (3, 1), (3, 8), (3,))
    ]
    responses = model.execute([*requests, *wrong])
    found, refused = responses[:2], responses[2:]
    for response, (answer,) in zip(found, wanted, strict=True):
        assert response.error is None
        assert [one.name for one in response.output_tensors] == list(graph.outputs)
        for tensor, values in zip(response.output_tensors, answer, strict=True):
            np.testing.assert_array_equal(tensor.values, values)
    assert "inference failed" in str(refused[0].error)
    for response in refused[1:]:
        assert "inference failed: models has the shape [3" in str(response.error)
    assert [response.output_tensors for response in refused] == [[]] * 4
