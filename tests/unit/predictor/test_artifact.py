"""A version folder of the predictor: missing, corrupt or mismatched files give one line."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import orjson
import pytest

from routoo.errors import ArtifactError, PredictorError
from routoo.predictor.artifact import MANIFEST, load_artifact
from routoo.predictor.base import join
from routoo.predictor.encoding import checked
from routoo.predictor.onnx import OnnxPredictor
from support.artifacts.tiny_artifact import (
    LONGEST,
    MODELS,
    OUTPUTS,
    SCORES,
    STD_SHARE,
    TOKENS,
    change_manifest,
    refresh_checksums,
    write_tiny_artifact,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILES = ("model.onnx", "tokenizer.json", "calibration.npz")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_artifact(tmp_path / "1")


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ArtifactError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_whole_artifact_is_read(folder: Path) -> None:
    artifact = load_artifact(folder)
    assert artifact.manifest.models == MODELS
    sample = artifact.calibration_sample()
    assert sample.scores.shape == sample.output_tokens.shape == (400, 3)
    assert sample.input_tokens.shape == (400,)
    assert sample.scores.min() == pytest.approx(SCORES[1:].min(), abs=0.051)
    assert sample.scores.max() == pytest.approx(SCORES[1:].max(), abs=0.051)
    assert set(np.unique(sample.output_tokens)) == set(np.unique(TOKENS[1:]))


def test_the_predictor_answers_the_mean_over_the_words(folder: Path) -> None:
    predictor = OnnxPredictor(load_artifact(folder))
    prediction = predictor.predict(["easy", "hard hard easy", "what is this"])
    expected = [SCORES[2], (2 * SCORES[3] + SCORES[2]) / 3, SCORES[1]]
    np.testing.assert_allclose(prediction.scores, expected, rtol=1e-6)
    np.testing.assert_allclose(prediction.output_tokens[1], (2 * TOKENS[3] + TOKENS[2]) / 3)
    np.testing.assert_array_equal(prediction.input_tokens, [1, 3, 3])


def test_a_predictor_may_say_how_sure_it_is(tmp_path: Path) -> None:
    predictor = OnnxPredictor(load_artifact(write_tiny_artifact(tmp_path / "1", uncertain=True)))
    predictor.warm_up()
    # Prompts of two lengths, so that the answers of two buckets are joined.
    prompts = ["easy", "hard long " * 12, "long"]
    prediction = checked(predictor.predict(prompts), 3, len(MODELS))
    assert prediction.score_std is not None
    assert prediction.ood is not None
    np.testing.assert_array_equal(prediction.score_std, prediction.scores * STD_SHARE)
    np.testing.assert_array_equal(prediction.ood, prediction.output_tokens.max(1) / LONGEST)
    both = join([prediction, predictor.predict(["easy"])])
    assert both.score_std is not None
    assert both.ood is not None
    np.testing.assert_array_equal(both.score_std[3], prediction.score_std[0])
    np.testing.assert_array_equal(both.ood[3], prediction.ood[0])


def test_a_predictor_may_be_silent_on_it(folder: Path) -> None:
    predictor = OnnxPredictor(load_artifact(folder))
    prediction = join([predictor.predict(["easy"]), predictor.predict(["hard"])])
    assert (prediction.score_std, prediction.ood) == (None, None)
    assert checked(prediction, 2, len(MODELS)) is prediction


@pytest.mark.parametrize("name", ["scores", "output_tokens", "score_std", "ood"])
def test_a_figure_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    predictor = OnnxPredictor(load_artifact(write_tiny_artifact(tmp_path / "1", uncertain=True)))
    prediction = predictor.predict(["easy", "hard"])
    spoilt = getattr(prediction, name).copy()
    spoilt[-1] = np.nan
    with pytest.raises(PredictorError, match=f"NaN or an infinite number in {name}"):
        checked(replace(prediction, **{name: spoilt}), 2, len(MODELS))
    with pytest.raises(PredictorError, match=f"answered {name}"):
        checked(replace(prediction, **{name: spoilt[:1]}), 2, len(MODELS))


def test_a_graph_that_sees_to_its_rows_gets_them_as_they_are(tmp_path: Path) -> None:
    folder = write_tiny_artifact(tmp_path / "1")
    change_manifest(folder, rows_step=1)

    def tell_rows(model: onnx.ModelProto) -> None:
        rename_scores(model, "unused")
        nodes = model.graph.node
        nodes.append(onnx.helper.make_node("Shape", ["unused"], ["rows"], start=0, end=1))
        nodes.append(onnx.helper.make_node("Cast", ["rows"], ["count"], to=1))
        nodes.append(onnx.helper.make_node("Mul", ["unused", "zero"], ["nothing"]))
        nodes.append(onnx.helper.make_node("Add", ["nothing", "count"], ["scores"]))
        zero = np.array(0.0, np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(zero, "zero"))

    change_graph(folder, tell_rows)
    for rows_step, rows in ((1, 3), (4, 4), (2, 4)):
        change_manifest(folder, rows_step=rows_step)
        prediction = OnnxPredictor(load_artifact(folder)).predict(["easy"] * 3)
        np.testing.assert_array_equal(prediction.scores, np.full((3, len(MODELS)), rows))


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    message = refusal(lambda: load_artifact(folder))
    assert message.startswith(f"{folder / name}: cannot be read (No such file or directory)")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", [0, 0.5, -1])
def test_one_flipped_bit_is_found(folder: Path, name: str, where: float) -> None:
    content = bytearray((folder / name).read_bytes())
    content[where if isinstance(where, int) else int(where * len(content))] ^= 1
    (folder / name).write_bytes(content)
    message = refusal(lambda: load_artifact(folder))
    assert message.startswith(f"{folder / name}: is not the file of the manifest (sha256 ")
    assert message.endswith("copy the whole version folder again")


@pytest.mark.parametrize("name", FILES)
def test_a_half_copied_file_is_found(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    assert "is not the file of the manifest" in refusal(lambda: load_artifact(folder))


# Each entry: a change of the manifest, and words of the message.
MANIFEST_MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"temperature": 1}, "temperature: unknown key; remove it"),
    "other format": ({"format_version": 3}, "format_version: Input should be 1 or 2 (given: 3)"),
    "no version": ({"predictor_version": ""}, "predictor_version: String should have at least 1"),
    "no models": ({"models": []}, "models has to name at least one model"),
    "model twice": ({"models": ["small", "small", "large"]}, "a model stands twice"),
    "models of another predictor": (
        {"models": ["small", "medium", "large", "huge"]},
        "outputs have to have 4 columns, one per model",
    ),
    "other inputs": (
        {"inputs": [{"name": "text", "dtype": "int64", "shape": [-1, -1]}]},
        "inputs have to be exactly input_ids",
    ),
    "other outputs": (
        {"outputs": [{"name": "scores", "dtype": "float32", "shape": [-1, 3]}]},
        "outputs have to be scores and output_tokens, with score_std and ood or without",
    ),
    "half of the uncertainty": (
        {"outputs": OUTPUTS[:3]},
        "outputs have to be scores and output_tokens, with score_std and ood or without",
    ),
    "ood per model": (
        {"outputs": [*OUTPUTS[:3], {"name": "ood", "dtype": "float32", "shape": [-1, 3]}]},
        "ood has to have one figure per prompt",
    ),
    "other precision": ({"precision": "int4"}, "precision: Input should be 'fp32', 'fp16'"),
    "no rows": ({"rows_step": 0}, "rows_step: Input should be greater than or equal to 1"),
    "other dtype": (
        {"inputs": [{"name": "input_ids", "dtype": "int32", "shape": [-1, -1]}]},
        "inputs.0.dtype: Input should be 'int64' or 'float32' (given: 'int32')",
    ),
    "short prior": (
        {"prior": {"scores": [0.5], "output_tokens": [1, 2, 3]}},
        "prior has to have 3 entries, one per model",
    ),
    "no files": ({"files": {}}, "files lacks calibration.npz"),
    "no limit": ({"max_tokens": 4}, "max_tokens: Input should be greater than or equal to 8"),
    "calibrated elsewhere": (
        {
            "calibration": {
                "method": "platt",
                "in_graph": False,
                "sample": {"file": "calibration.npz", "rows": 400, "split": "validation"},
            }
        },
        "calibration.in_graph: Input should be True",
    ),
}


@pytest.mark.parametrize(
    ("change", "piece"), MANIFEST_MISTAKES.values(), ids=list(MANIFEST_MISTAKES)
)
def test_a_wrong_manifest_is_refused(folder: Path, change: dict[str, Any], piece: str) -> None:
    change_manifest(folder, **change)
    message = refusal(lambda: load_artifact(folder))
    assert message.startswith(f"{folder / MANIFEST}: ")
    assert piece in message


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_manifest_that_is_no_manifest_is_refused(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    assert refusal(lambda: load_artifact(folder)).startswith(f"{folder / MANIFEST}: ")


def test_a_missing_key_is_named(folder: Path) -> None:
    path = folder / MANIFEST
    values = orjson.loads(path.read_bytes())
    del values["max_tokens"]
    path.write_bytes(orjson.dumps(values))
    assert "max_tokens: Field required" in refusal(lambda: load_artifact(folder))


def sample_arrays(rows: int = 400, columns: int = 3) -> dict[str, Any]:
    return {
        "scores": np.zeros((rows, columns), np.uint16),
        "output_tokens": np.zeros((rows, columns), np.uint16),
        "input_tokens": np.zeros(rows, np.uint16),
    }


def write_half_an_archive(path: Path) -> None:
    np.savez(path, **sample_arrays())
    path.write_bytes(path.read_bytes()[:200])


def write_one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros((400, 3)))


# The manifest describes these files, so the mistake was made at the export.
WRONG_SAMPLES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"not an archive"),
    "half an archive": write_half_an_archive,
    "one array": write_one_array,
    "missing array": lambda path: np.savez(path, scores=np.zeros((400, 3))),
    "fewer rows": lambda path: np.savez(path, **sample_arrays(rows=399)),
    "more columns": lambda path: np.savez(path, **sample_arrays(columns=4)),
    "objects": lambda path: np.savez(
        path, **{**sample_arrays(), "scores": np.array([None] * 3, dtype=object)}
    ),
    "not a number": lambda path: np.savez(
        path, **{**sample_arrays(), "scores": np.full((400, 3), np.nan)}
    ),
}


@pytest.mark.parametrize("write", WRONG_SAMPLES.values(), ids=list(WRONG_SAMPLES))
def test_a_wrong_sample_is_refused(folder: Path, write: Callable[[Path], object]) -> None:
    path = folder / "calibration.npz"
    write(path)
    refresh_checksums(folder)
    artifact = load_artifact(folder)
    assert refusal(artifact.calibration_sample).startswith(f"{path}: ")


def test_a_graph_that_is_no_graph_is_refused(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"not a graph")
    refresh_checksums(folder)
    artifact = load_artifact(folder)
    message = refusal(lambda: OnnxPredictor(artifact))
    assert message.startswith(f"{folder / 'model.onnx'}: cannot be loaded: ")


def test_a_tokenizer_that_is_no_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    refresh_checksums(folder)
    artifact = load_artifact(folder)
    message = refusal(lambda: OnnxPredictor(artifact))
    assert message.startswith(f"{folder / 'tokenizer.json'}: not a tokenizer: ")


def change_graph(folder: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(folder / "model.onnx")
    change(model)
    onnx.save(model, folder / "model.onnx")
    refresh_checksums(folder)


def test_a_graph_of_another_pool_is_refused(folder: Path) -> None:
    write_tiny_artifact(folder, scores=np.zeros((5, 4), np.float32))
    change_graph(
        folder,
        lambda model: (
            model.graph.output[0]
            .type.tensor_type.shape.dim[1]
            .CopyFrom(onnx.TensorShapeProto.Dimension(dim_value=4))
        ),
    )
    message = refusal(lambda: OnnxPredictor(load_artifact(folder)))
    assert message.endswith("scores has 4 columns, the manifest names 3 models")


def rename_scores(model: onnx.ModelProto, name: str) -> None:
    """Renames the output of the node that makes the scores."""
    for node in model.graph.node:
        if node.output[0] == "scores":
            node.output[0] = name


def test_a_graph_with_other_tensors_is_refused(folder: Path) -> None:
    def rename(model: onnx.ModelProto) -> None:
        rename_scores(model, "found")
        model.graph.output[0].name = "found"

    change_graph(folder, rename)
    message = refusal(lambda: OnnxPredictor(load_artifact(folder)))
    assert message.endswith("its outputs ['found', 'output_tokens'] are not the manifest's")


def test_a_graph_that_mixes_up_its_rows_does_not_warm_up(folder: Path) -> None:
    def average(model: onnx.ModelProto) -> None:
        rename_scores(model, "rows")
        model.graph.node.append(
            onnx.helper.make_node("ReduceMean", ["rows"], ["scores"], axes=[0], keepdims=1)
        )

    change_graph(folder, average)
    predictor = OnnxPredictor(load_artifact(folder))
    with pytest.raises(PredictorError, match=r"answered scores \(1, 3\), expected \(4, 3\)"):
        predictor.predict(["easy", "hard"])
    message = refusal(predictor.warm_up)
    assert message.startswith(f"{folder / 'model.onnx'}: does not run: ")
