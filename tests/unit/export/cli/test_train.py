"""``routoo-export train``: every backbone, every objective, and the errors."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routoo_export.cli.app import main
from routoo_export.network.network import predict
from routoo_export.outcomes.sources import PROTOCOL
from routoo_export.outcomes.splits import TEST_BUCKETS, in_buckets
from routoo_export.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from routoo_export.training.finetune.finetune import Resumption
from routoo_export.training.recipes import quick_recipe
from support.artifacts.tiny_transformers import save_tiny_decoder, save_tiny_encoder

if TYPE_CHECKING:
    from pathlib import Path

    from routoo_export.outcomes.outcomes import Outcomes
    from routoo_export.training.pipeline import Recipe

WORDS = ["integral", "matrix", "court", "statute"]
ROWS = 600


@pytest.fixture(autouse=True)
def quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train for a few epochs, which are enough to see that something was learned."""

    def short(recipe: Recipe) -> Recipe:
        quick = quick_recipe(recipe)
        return replace(quick, heads=replace(quick.heads, epochs=8))

    monkeypatch.setattr("routoo_export.cli.train.quick_recipe", short)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    return {
        "encoder": str(save_tiny_encoder(root / "bert", WORDS)),
        "decoder": str(save_tiny_decoder(root / "llama", WORDS)),
    }


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, Any, str]:
    """Run the command; returns exit code, printed JSON object and stderr."""
    monkeypatch.delenv("ROUTOO_DATA", raising=False)
    words = ["routoo-export", "train", "--quick", "--no-judge", "--json", *map(str, arguments)]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), json.loads(out) if out else None, err


def law_is_easier(checkpoint: Checkpoint, outcomes: Outcomes) -> float:
    """Mean difference of scores between law and mathematics, on the test split."""
    held = outcomes.rows(in_buckets(outcomes.buckets, TEST_BUCKETS))
    features = checkpoint.backbone.features(checkpoint.backbone.encode(held.prompts))
    scores = predict(checkpoint.weights, features).scores.mean(axis=1)
    law = np.array([domain == "law" for domain in held.domains])
    return float(scores[law].mean() - scores[~law].mean())


@pytest.mark.parametrize(
    ("kind", "more", "tuned"),
    [
        ("static", (), False),
        ("encoder", (), False),
        ("encoder", ("--layers", "1,2", "--batch-size", "16", "--learning-rate", "0.003"), True),
        ("decoder", ("--pooling", "last", "--state-scale", "none"), False),
        ("decoder", ("--lora-rank", "2"), True),
    ],
)
def test_every_backbone_trains_and_comes_back(  # noqa: PLR0917 - fixtures and parameters
    synthetic_data: Path,
    synthetic_outcomes: Outcomes,
    models: dict[str, str],
    kind: str,
    more: tuple[str, ...],
    tuned: bool,  # noqa: FBT001 - a parameter of the test
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = () if kind == "static" else ("--model", models[kind], "--max-tokens", 24)
    out = tmp_path / "out"
    code, result, _ = run(
        monkeypatch,
        capsys,
        *("--data", synthetic_data, "--out", out, "--backbone", kind),
        *("--device", "cpu", "--cache", tmp_path / "cache", *model, *more),
    )
    assert code == 0
    assert (result["finetune"] is not None) == tuned
    assert (tmp_path / "cache").exists() == (kind != "static")
    assert not (out / "unfinished").exists()
    checkpoint = load_checkpoint(out)
    assert checkpoint.backbone.spec.kind == kind
    assert checkpoint.record.backbone.kind == kind
    assert (checkpoint.record.finetune is not None) == tuned
    save_checkpoint(checkpoint, tmp_path / "copy")
    again = load_checkpoint(tmp_path / "copy")
    assert again.record == checkpoint.record
    assert law_is_easier(checkpoint, synthetic_outcomes) > 0.02
    assert law_is_easier(again, synthetic_outcomes) == law_is_easier(checkpoint, synthetic_outcomes)


def test_an_interrupted_command_resumes(
    synthetic_data: Path,
    models: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("--data", synthetic_data, "--backbone", "encoder", "--finetune")
    arguments += ("--model", models["encoder"], "--max-tokens", 24, "--device", "cpu")
    assert run(monkeypatch, capsys, *arguments, "--out", tmp_path / "whole")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(
            "routoo_export.training.pipeline.Resumption",
            lambda file, *, resume: Resumption(file, every_steps=3, resume=resume),
        )
        patch.setattr("routoo_export.training.pipeline.make_rows", _fail)
        with pytest.raises(ZeroDivisionError):
            run(monkeypatch, capsys, *arguments, "--out", tmp_path / "cut")
    assert list((tmp_path / "cut" / "unfinished").glob("*.pt"))
    with monkeypatch.context() as patch:
        patch.setattr("routoo_export.training.finetune.run.TuningRun.advance", _fail)
        code, _, _ = run(monkeypatch, capsys, *arguments, "--out", tmp_path / "cut", "--resume")
    assert code == 0
    whole, cut = (load_checkpoint(tmp_path / name) for name in ("whole", "cut"))
    for name, array in whole.weights.arrays().items():
        np.testing.assert_array_equal(cut.weights.arrays()[name], array)


def _fail(*_: object, **__: object) -> None:
    raise ZeroDivisionError


def prompts() -> tuple[list[str], list[str], np.ndarray[Any, Any]]:
    """Prompts, their domains, and whether each is law."""
    rng = np.random.default_rng(3)
    words = {"math": ["integral", "matrix", "root"], "law": ["court", "statute", "tort"]}
    domains = [("math", "law")[i % 2] for i in range(ROWS)]
    texts = [f"{' '.join(rng.choice(words[d], 6))} {i}?" for i, d in enumerate(domains)]
    return texts, domains, np.array([domain == "law" for domain in domains])


def write_battles(path: Path) -> Path:
    """Battles in which ``a`` wins on law and ``b`` wins on mathematics."""
    texts, domains, law = prompts()
    columns = {
        "prompt_id": [str(i) for i in range(ROWS)],
        "prompt": texts,
        "model_a": ["a"] * ROWS,
        "model_b": ["b"] * ROWS,
        "score_a": law.astype(np.float64),
        "domain": domains,
    }
    pq.write_table(pa.table(columns), path)
    return path


def write_log(path: Path) -> Path:
    """A log in which ``a`` is good at law and ``b`` is bad; each is chosen half of the time."""
    texts, domains, law = prompts()
    rng = np.random.default_rng(4)
    chosen = rng.integers(0, 2, ROWS)
    chance = np.where(law & (chosen == 0), 0.9, 0.1)
    columns = {
        "prompt_id": [str(i) for i in range(ROWS)],
        "prompt": texts,
        "model": np.array(["a", "b"])[chosen],
        "score": (rng.random(ROWS) < chance).astype(np.float64),
        "propensity": np.full(ROWS, 0.5),
        "domain": domains,
    }
    pq.write_table(pa.table(columns), path)
    return path


def test_battles_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_battles(tmp_path / "battles.parquet")
    out = tmp_path / "out"
    arguments = ("--objective", "bradley-terry", "--outcomes", file, "--out", out)
    assert run(monkeypatch, capsys, *arguments)[0] == 0
    checkpoint = load_checkpoint(out)
    assert checkpoint.record.models == ("a", "b")
    assert sum(checkpoint.record.prior_scores) == pytest.approx(1.0, abs=0.05)
    ids = checkpoint.backbone.encode(["court statute tort", "integral matrix root"])
    scores = predict(checkpoint.weights, checkpoint.backbone.features(ids)).scores
    assert scores[0, 0] > scores[0, 1]
    assert scores[1, 0] < scores[1, 1]


@pytest.mark.parametrize("method", ["inverse-propensity", "doubly-robust", "unweighted"])
def test_logs_train(
    tmp_path: Path,
    method: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = write_log(tmp_path / "log.parquet")
    out = tmp_path / "out"
    arguments = ("--log-method", method, "--outcomes", file, "--out", out)
    assert run(monkeypatch, capsys, *arguments)[0] == 0
    checkpoint = load_checkpoint(out)
    models = checkpoint.record.models
    ids = checkpoint.backbone.encode(["court statute tort", "integral matrix root"])
    scores = predict(checkpoint.weights, checkpoint.backbone.features(ids)).scores
    column = models.index("a")
    assert scores[0, column] > scores[1, column] + 0.1
    assert scores[0, column] > scores[0, 1 - column] + 0.1
    assert np.isfinite(checkpoint.record.prior_scores).all()


def test_quality_gaps_train(
    synthetic_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pair = ("--small", PROTOCOL.weak, "--large", PROTOCOL.strong)
    out = tmp_path / "out"
    arguments = ("--objective", "quality-gap", "--data", synthetic_data, "--out", out)
    assert run(monkeypatch, capsys, *arguments, *pair)[0] == 0
    checkpoint = load_checkpoint(out)
    assert checkpoint.record.models == (PROTOCOL.weak, PROTOCOL.strong)
    features = checkpoint.backbone.features(checkpoint.backbone.encode(["court", "matrix root"]))
    scores = predict(checkpoint.weights, features).scores
    assert (scores[:, 1] == 1.0).all()
    assert (scores[:, 0] < 1.0).all()


def test_squared_loss_is_recorded(
    synthetic_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    arguments = ("--objective", "squared", "--data", synthetic_data, "--out", out)
    assert run(monkeypatch, capsys, *arguments)[0] == 0
    assert load_checkpoint(out).record.config.objective == "squared"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--outcomes FILE, or --data"),
        (("--backbone", "encoder", "--model", "./nowhere"), "does not exist"),
        (("--backbone", "encoder", "--layers", "3;4"), "no list of layers"),
        (("--backbone", "encoder", "--layers", "77"), "--layers takes 0 to 6"),
        (("--backbone", "encoder", "--max-tokens", "513"), "at most 512 tokens"),
        (("--backbone", "encoder", "--frozen", "--epochs", "2"), "leave --frozen away"),
        (("--layers", "3"), "a static backbone knows no --layers"),
        (("--special-tokens",), "a static backbone knows no --special-tokens"),
        (("--finetune",), "a static backbone knows no --finetune"),
        (("--small", "m"), "need --objective quality-gap"),
        (("--objective", "quality-gap"), "needs --small MODEL and --large MODEL"),
        (("--objective", "quality-gap", "--small", "m", "--large", "n"), "no model 'm'"),
        (("--objective", "bradley-terry"), "exactly one --outcomes"),
        (("--objective", "bradley-terry", "--log-method", "unweighted"), "does not go with"),
        (("--objective", "quality-gap", "--log-method", "unweighted"), "does not go with"),
        (("--log-method", "unweighted"), "exactly one --outcomes"),
    ],
)
def test_what_does_not_go_together_is_one_line_and_exit_code_2(
    synthetic_data: Path,
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    data = ("--data", synthetic_data) if arguments else ()
    code, _, error = run(monkeypatch, capsys, "--out", tmp_path / "out", *data, *arguments)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_battles_do_not_tune(
    models: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = write_battles(tmp_path / "battles.parquet")
    code, _, error = run(
        monkeypatch,
        capsys,
        *("--objective", "bradley-terry", "--outcomes", file, "--out", tmp_path / "out"),
        *("--backbone", "encoder", "--model", models["encoder"], "--max-tokens", 24),
        "--finetune",
    )
    assert code == 2
    assert "--frozen" in error
