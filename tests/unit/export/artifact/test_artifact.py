"""Training, evaluation and export in sequence, and the artifact that is committed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from tokenizers import Tokenizer

from routoo_export.artifact.artifact import write_artifact
from routoo_export.artifact.triton_repository import (
    newest_version,
    version_folder,
)
from routoo_export.cli.app import main
from routoo_export.errors import CheckpointError, ExportError, ParityError
from routoo_export.graph.builder import OPSET
from routoo_export.graph.graph import build_graph
from routoo_export.graph.parity import TOLERANCES, check_parity
from routoo_export.training.checkpoint import load_checkpoint, read_metrics, save_checkpoint

if TYPE_CHECKING:
    from routoo_export.outcomes.outcomes import Outcomes
    from routoo_export.training.checkpoint import Checkpoint

MANIFEST_KEYS = {
    "format_version",
    "predictor_version",
    "backbone",
    "models",
    "inputs",
    "outputs",
    "max_tokens",
    "pad_token_id",
    "add_special_tokens",
    "calibration",
    "training",
    "output_tokens_source",
    "prior",
    "metrics",
    "parity",
    "files",
}
LATER_KEYS = {"precision", "rows_step"}


def run_cli(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line; returns its exit code."""
    monkeypatch.setattr("sys.argv", ["routoo-export", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def check_folder(folder: Path) -> dict[str, Any]:
    """The manifest of a version folder, after a check of everything it says about the files."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    assert manifest.keys() - LATER_KEYS == MANIFEST_KEYS
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], "manifest.json"}
    for name, claim in manifest["files"].items():
        data = (folder / name).read_bytes()
        assert claim == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    models = len(manifest["models"])
    assert len(manifest["prior"]["scores"]) == len(manifest["prior"]["output_tokens"]) == models
    with np.load(folder / manifest["calibration"]["sample"]["file"]) as sample:
        rows = manifest["calibration"]["sample"]["rows"]
        assert sample["scores"].shape == sample["output_tokens"].shape == (rows, models)
        assert sample["input_tokens"].shape == (rows,)
        assert {sample[key].dtype for key in sample.files} == {np.dtype(np.uint16)}
        assert sample["scores"].max() <= 10_000
        assert sample["output_tokens"].min() >= 1
        assert sample["input_tokens"].min() >= 1
        assert sample["input_tokens"].max() <= manifest["max_tokens"]
    assert 0 <= manifest["parity"]["max_abs_diff"] <= manifest["parity"]["tolerance"]
    model = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(i.domain, i.version) for i in model.opset_import] == [("", OPSET)]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.truncation is None
    assert tokenizer.padding is None
    assert len(tokenizer.encode("word " * 2000, add_special_tokens=False).ids) == 2000
    return manifest


def test_train_evaluate_and_export_from_the_command_line(
    synthetic_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, repository = tmp_path / "checkpoint", tmp_path / "repository"
    monkeypatch.setenv("ROUTOO_DATA", str(synthetic_data))
    assert run_cli(monkeypatch, "train", "--out", str(folder), "--quick", "--json") == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics == read_metrics(folder)
    # The data determine which model is better, and by how much on each domain.
    assert metrics["pair"]["prompts"] == 400
    assert metrics["pair"]["baselines"]["oracle"]["apgr"]["value"] > 1.0
    assert metrics["pool_test_split"]["mean_auc"]["value"] > 0.5
    assert metrics["pool_test_split"]["models"] == 3
    assert (
        run_cli(monkeypatch, "export", "--checkpoint", str(folder), "--repository", str(repository))
        == 0
    )
    manifest = check_folder(repository / "predictor" / "1")
    assert manifest["metrics"] == metrics
    assert manifest["models"][-1] == "gpt-4-1106-preview"
    assert manifest["output_tokens_source"]["mean_of_other_models"] == ["gpt-4-1106-preview"]
    config = repository / "predictor" / "config.pbtxt"
    written = config.read_text()
    config.unlink()
    assert run_cli(monkeypatch, "repository", "--repository", str(repository)) == 0
    assert config.read_text() == written


def test_a_checkpoint_comes_back_as_it_was(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(checkpoint, tmp_path)
    loaded = load_checkpoint(tmp_path)
    assert loaded.record == checkpoint.record
    for name, array in checkpoint.weights.arrays().items():
        np.testing.assert_array_equal(loaded.weights.arrays()[name], array)
    np.testing.assert_array_equal(loaded.backbone.table.codes, checkpoint.backbone.table.codes)
    with pytest.raises(CheckpointError, match="routoo-export evaluate"):
        read_metrics(tmp_path)


def test_the_same_checkpoint_exports_the_same_bytes(
    checkpoint: Checkpoint, synthetic_outcomes: Outcomes, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        write_artifact(checkpoint, synthetic_outcomes, {}, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_parity_refuses_another_model_and_nan(checkpoint: Checkpoint) -> None:
    ids = [[2000, 2001, 2002], [5, 5, 5, 5]]
    graph = build_graph(checkpoint.backbone, checkpoint.weights)
    parity = check_parity(graph, checkpoint.backbone, checkpoint.weights, ids)
    assert parity.max_abs_diff <= TOLERANCES["fp32"].most
    for spoil in (np.float32(1.0e-2), np.float32("nan")):
        bias = next(c for c in graph.graph.initializer if c.name == "heads_bias_0")
        values = onnx.numpy_helper.to_array(bias) + spoil
        bias.CopyFrom(onnx.numpy_helper.from_array(values, "heads_bias_0"))
        with pytest.raises(ParityError, match="differ by"):
            check_parity(graph, checkpoint.backbone, checkpoint.weights, ids)


def test_an_artifact_over_the_limit_is_not_written(
    checkpoint: Checkpoint,
    synthetic_outcomes: Outcomes,
    tmp_path: Path,
) -> None:
    with pytest.raises(ExportError, match="above 1000"):
        write_artifact(checkpoint, synthetic_outcomes, {}, tmp_path / "1", most_bytes=1000)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_version_whole(
    checkpoint: Checkpoint,
    synthetic_outcomes: Outcomes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "predictor" / "1"
    write_artifact(checkpoint, synthetic_outcomes, {}, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(ExportError, match=r"No space left on device.*make room"):
        write_artifact(checkpoint, synthetic_outcomes, {"new": 1}, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["1"]


def test_a_version_that_cannot_take_its_place_leaves_the_old_one(
    checkpoint: Checkpoint,
    synthetic_outcomes: Outcomes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "1"
    write_artifact(checkpoint, synthetic_outcomes, {}, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    rename = Path.rename

    def refuse_new(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(ExportError, match="what lay there is as it was"):
        write_artifact(checkpoint, synthetic_outcomes, {"new": 1}, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_a_new_version_takes_the_place_of_the_old_one_or_stands_beside_it(
    checkpoint: Checkpoint, synthetic_outcomes: Outcomes, tmp_path: Path
) -> None:
    assert version_folder(tmp_path, "next") == version_folder(tmp_path, 1)
    for metrics in ({"run": 1}, {"run": 2}):
        write_artifact(checkpoint, synthetic_outcomes, metrics, version_folder(tmp_path, 1))
    assert check_folder(version_folder(tmp_path, 1))["metrics"] == {"run": 2}
    second = version_folder(tmp_path, "next")
    assert second.name == "2"
    write_artifact(checkpoint, synthetic_outcomes, {}, second)
    assert version_folder(tmp_path, "next").name == "3"
    assert newest_version(tmp_path) == second


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "nowhere", "--out", "x"], "not a readable parquet"),
        (["evaluate", "--data", "nowhere", "--checkpoint", "nowhere"], "routoo-export train"),
        (["export", "--data", "nowhere", "--checkpoint", "nowhere"], "routoo-export train"),
        (["repository", "--repository", "nowhere"], "export first"),
        (["repository", "--gpu", "0"], "--accelerator cuda"),
        (["repository", "--queue-delay-us", "9"], "need --dynamic-batching"),
        (["export", "--data", "x", "--version", "0"], "a number from 1 on, or next"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_cli(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
