"""``routoo-export onboard-checkpoint``: a version with unchanged other models, or one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routoo.predictor.artifact import load_artifact
from routoo.predictor.onnx import OnnxPredictor
from routoo_export.artifact.add_model import Served, check_untouched
from routoo_export.artifact.artifact import write_artifact
from routoo_export.artifact.triton_repository import renew_config
from routoo_export.cli.app import main
from routoo_export.errors import ParityError
from routoo_export.evaluation.metrics import auc
from routoo_export.training.checkpoint import load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from routoo_export.outcomes.outcomes import Outcomes
    from routoo_export.training.checkpoint import Checkpoint


@pytest.fixture
def exported(
    checkpoint: Checkpoint,
    synthetic_outcomes: Outcomes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A folder with a checkpoint, and a repository with its export as version 1."""
    monkeypatch.delenv("ROUTOO_DATA", raising=False)
    save_checkpoint(checkpoint, tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "metrics.json").write_text("{}")
    repository = tmp_path / "repository"
    write_artifact(checkpoint, synthetic_outcomes, {}, repository / "predictor" / "1")
    renew_config(repository)
    return tmp_path


def graded_file(
    folder: Path, outcomes: Outcomes, name: str, count: int = 60, **columns: object
) -> Path:
    """``count`` graded prompts of the model ``name``, better at law, long form."""
    rng = np.random.default_rng(3)
    law = np.array([domain == "law" for domain in outcomes.domains[:count]])
    table: dict[str, Any] = {
        "prompt_id": list(outcomes.prompt_ids[:count]),
        "prompt": list(outcomes.prompts[:count]),
        "model": [name] * count,
        "score": (rng.random(count) < np.where(law, 0.9, 0.2)).astype(np.float64),
        "output_tokens": rng.integers(20, 200, count),
    }
    path = folder / "graded.parquet"
    pq.write_table(pa.table({**table, **columns}), path)
    return path


def run_onboard(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    options = ("--checkpoint", f"{folder}/checkpoint", "--repository", f"{folder}/repository")
    monkeypatch.setattr("sys.argv", ["routoo-export", "onboard-checkpoint", *options, *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_onboarding_from_the_command_line(
    exported: Path,
    synthetic_outcomes: Outcomes,
    synthetic_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    versions = exported / "repository" / "predictor"
    before = content(versions / "1")
    path = graded_file(exported, synthetic_outcomes, "new")
    code = run_onboard(
        exported, monkeypatch, "--model", "new", "--outcomes", str(path), "--data",
        str(synthetic_data), "--json",
    )  # fmt: skip
    assert code == 0
    report = json.loads(capsys.readouterr().out)
    assert content(versions / "1") == before
    assert report["folder"] == str(versions / "2")
    assert (report["graded_prompts"], report["graded_lengths"]) == (60, 60)
    assert report["untouched"] == {"models": 4, "prompts": 800}
    assert 0.0 < report["score"]["se"] < 0.15
    assert report["score"]["value"] == pytest.approx(report["graded_mean"]["value"], abs=0.15)
    assert report["cross_validated"]["auc"] > 0.6
    assert 1 <= report["rank"]["low"] <= report["rank"]["high"] <= 5

    grown = load_checkpoint(Path(report["checkpoint"]))
    assert grown.record.models[-1] == "new"
    assert grown.record.mean_rule_models == ("gpt-4-1106-preview",)
    assert grown.record.sources[-1].rows == 60
    assert len(grown.record.prior_scores) == len(grown.record.prior_output_tokens) == 5

    # Both versions are read as the service reads them.
    old, new = (OnnxPredictor(load_artifact(versions / version)) for version in ("1", "2"))
    assert new.models == (*old.models, "new")
    prompts = synthetic_outcomes.prompts
    was, now = old.predict(prompts), new.predict(prompts)
    np.testing.assert_array_equal(now.scores[:, :-1], was.scores)
    np.testing.assert_array_equal(now.output_tokens[:, :-1], was.output_tokens)
    law = np.array([domain == "law" for domain in synthetic_outcomes.domains], dtype=np.float64)
    assert auc(law, now.scores[:, -1].astype(np.float64)) > 0.9
    assert "dims: 5" in (versions / "config.pbtxt").read_text()


def test_models_are_added_one_by_one_without_training_data(
    exported: Path,
    synthetic_outcomes: Outcomes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("first", "second"):
        path = graded_file(exported, synthetic_outcomes, name, output_tokens=[None] * 60)
        arguments = ("--model", name, "--outcomes", str(path), "--json")
        out = exported / name
        assert run_onboard(exported, monkeypatch, *arguments, "--out", str(out)) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["graded_lengths"] == 0
        (exported / "checkpoint").rename(exported / f"before-{name}")
        out.rename(exported / "checkpoint")
    versions = exported / "repository" / "predictor"
    assert {p.name for p in versions.iterdir()} == {"1", "2", "3", "config.pbtxt"}
    record = load_checkpoint(exported / "checkpoint").record
    assert record.models[-2:] == record.mean_rule_models[-2:] == ("first", "second")
    one, two = (OnnxPredictor(load_artifact(versions / version)) for version in ("2", "3"))
    prompts = synthetic_outcomes.prompts[:40]
    np.testing.assert_array_equal(two.predict(prompts).scores[:, :-1], one.predict(prompts).scores)


def test_a_graph_that_changes_the_others_is_not_published(
    exported: Path,
    synthetic_outcomes: Outcomes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    versions = exported / "repository" / "predictor"
    model = onnx.load(versions / "1" / "model.onnx")
    bias = next(c for c in model.graph.initializer if c.name == "heads_bias_0")
    values = onnx.numpy_helper.to_array(bias) * np.float32(1.0 + 1e-6)
    bias.CopyFrom(onnx.numpy_helper.from_array(values, "heads_bias_0"))
    onnx.save(model, versions / "1" / "model.onnx")
    path = graded_file(exported, synthetic_outcomes, "new")
    assert run_onboard(exported, monkeypatch, "--model", "new", "--outcomes", str(path)) == 2
    error = capsys.readouterr().err
    assert "of the older models would change" in error
    assert error.count("\n") == 1
    assert {p.name for p in versions.iterdir()} == {"1", "config.pbtxt"}
    assert not (exported / "checkpoint-2").exists()


def test_a_version_is_like_itself_and_unlike_another(
    exported: Path, checkpoint: Checkpoint, synthetic_outcomes: Outcomes
) -> None:
    weights = replace(checkpoint.weights, intercept=checkpoint.weights.intercept + 1e-4)
    other = exported / "other"
    write_artifact(replace(checkpoint, weights=weights), synthetic_outcomes, {}, other)
    ids = checkpoint.backbone.encode(synthetic_outcomes.prompts[:20])
    one, two = Served.of(exported / "repository" / "predictor" / "1"), Served.of(other)
    check_untouched(one, one, ids)
    with pytest.raises(ParityError, match="scores of the older models would change"):
        check_untouched(one, two, ids)


@pytest.mark.parametrize(
    ("model", "columns", "message"),
    [
        ("small", {}, "the predictor has 'small' already"),
        ("absent", {"model": ["new"] * 60}, "no outcomes of 'absent'; the file has new"),
        ("new", {"score": [1.0] * 60}, "all 60 graded prompts score 1"),
        ("new", {"prompt": [""] + ["text"] * 59}, "row 0"),
        ("new", {"prompt": pa.nulls(60, pa.string())}, "row 0"),
        ("new", {"score": [1.5] * 60}, "row 0"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    exported: Path,
    synthetic_outcomes: Outcomes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: str,
    columns: dict[str, object],
    message: str,
) -> None:
    path = graded_file(exported, synthetic_outcomes, model, **columns)
    assert run_onboard(exported, monkeypatch, "--model", model, "--outcomes", str(path)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert [p.name for p in (exported / "repository" / "predictor").glob("[0-9]*")] == ["1"]


def test_few_prompts_are_refused(
    exported: Path,
    synthetic_outcomes: Outcomes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = graded_file(exported, synthetic_outcomes, "new", count=19)
    assert run_onboard(exported, monkeypatch, "--model", "new", "--outcomes", str(path)) == 2
    assert "19 graded prompts are too few" in capsys.readouterr().err


def test_a_repository_of_another_predictor_is_refused(
    exported: Path,
    synthetic_outcomes: Outcomes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = graded_file(exported, synthetic_outcomes, "new")
    arguments = ("--model", "new", "--outcomes", str(path))
    versions = exported / "repository" / "predictor"
    manifest = json.loads((versions / "1" / "manifest.json").read_text())
    manifest["models"][0] = "another"
    (versions / "1" / "manifest.json").write_text(json.dumps(manifest))
    assert run_onboard(exported, monkeypatch, *arguments) == 2
    assert "holds other models than the checkpoint" in capsys.readouterr().err
    (exported / "repository").rename(exported / "elsewhere")
    assert run_onboard(exported, monkeypatch, *arguments) == 2
    assert "no version to add a model to" in capsys.readouterr().err


def test_int8_needs_its_training_prompts(
    exported: Path,
    synthetic_outcomes: Outcomes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = exported / "repository" / "predictor" / "1" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "precision": "int8"}))
    graded = graded_file(exported, synthetic_outcomes, "new")
    assert run_onboard(exported, monkeypatch, "--model", "new", "--outcomes", str(graded)) == 2
    assert "give --data" in capsys.readouterr().err
