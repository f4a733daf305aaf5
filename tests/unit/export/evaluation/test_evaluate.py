"""Evaluation of a checkpoint on its own sources and on a team's outcomes, and its report."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routoo_export.cli import main
from routoo_export.errors import OutcomeError
from routoo_export.evaluation.evaluate import evaluate, expect, plain_numbers
from routoo_export.evaluation.pool_split import judge_pool
from routoo_export.evaluation.protocol import own_protocol, standard_protocol
from routoo_export.evaluation.report.page import render_page
from routoo_export.outcomes.outcomes import read_outcomes
from routoo_export.outcomes.sources import PROTOCOL, read_prices
from routoo_export.training.checkpoint import load_checkpoint, save_checkpoint
from routoo_export.training.heads.rows import Rows, make_rows

if TYPE_CHECKING:
    from pathlib import Path

    from routoo_export.outcomes.outcomes import Outcomes
    from routoo_export.training.checkpoint import Checkpoint

SMALL, WEAK, BEST = "small", PROTOCOL.weak, PROTOCOL.reference


def write_own(path: Path, *, costs: bool = True, models: tuple[str, ...] = (SMALL, BEST)) -> Path:
    """Write 300 long-form prompts of two domains; the last model is right on law, half of math."""
    rng = np.random.default_rng(9)
    rows: list[dict[str, Any]] = []
    for i in range(300):
        law = i % 2 == 0
        words = ("court statute tort appeal" if law else "integral matrix prime vector").split()
        for j, model in enumerate(models):
            chance = (1.0 if law else 0.5) if j == len(models) - 1 else 0.4
            row = {
                "prompt_id": f"own-{i}",
                "prompt": f"{' '.join(rng.permutation(words))} {i}?",
                "model": model,
                "score": float(rng.random() < chance),
                "output_tokens": 20.0 * (j + 1),
                "domain": "law" if law else "math",
            }
            rows.append(row | ({"cost_usd": 1e-4 * 10.0**j} if costs else {}))
    for row in rows:
        row["prompt"] = rows[len(models) * int(row["prompt_id"].removeprefix("own-"))]["prompt"]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture(scope="session")
def rows(synthetic_outcomes: Outcomes, checkpoint: Checkpoint) -> Rows:
    return make_rows(synthetic_outcomes, checkpoint.backbone, checkpoint.record.config.seed)


@pytest.fixture
def saved(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    save_checkpoint(checkpoint, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def run_cli(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["routoo-export", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_one_fold_judges_its_own_prompts_only(
    checkpoint: Checkpoint, rows: Rows, synthetic_outcomes: Outcomes, synthetic_data: Path
) -> None:
    prices = read_prices(synthetic_data, synthetic_outcomes.models)
    protocol = standard_protocol(PROTOCOL, synthetic_outcomes, prices)
    asked = []

    def rows_of(fold: object) -> Rows:
        asked.append(fold)
        return rows

    metrics = evaluate(checkpoint, rows_of, protocol, folds=1).metrics
    pair = metrics["pair"]
    of_pair = np.array([n == PROTOCOL.pair_source for n in synthetic_outcomes.source_names])
    columns = [synthetic_outcomes.models.index(m) for m in (PROTOCOL.weak, PROTOCOL.strong)]
    known = of_pair & ~np.isnan(synthetic_outcomes.scores[:, columns]).any(axis=1)
    first = known & (synthetic_outcomes.buckets % 5 == 0)
    assert pair["five_folds"]["prompts"] == first.sum()
    assert pair["prompts"] == of_pair.sum()
    # Both domains of the source have a group of their own; one of the two is left out.
    assert len(asked) == 3
    assert 0 < pair["domains_left_out"]["prompts"] < known.sum()
    assert 0.0 <= pair["knowing_what_it_does_not_know"]["auroc"]["value"] <= 1.0
    assert pair["baselines"]["oracle"]["predictor_minus_this"]["apgr"]["value"] < 0
    # Decisions are judged on every prompt held out, which is none of the test split here.
    decided = metrics["pool_five_folds"]
    held = protocol.pool.whole(protocol.pool.rows & (synthetic_outcomes.buckets % 5 == 0))
    assert decided["prompts"] == held.sum() > 0
    assert decided["baselines"]["oracle"]["gap_closed"]["value"] == pytest.approx(1.0)
    page = render_page(metrics, [])
    assert f"The same on {held.sum()} prompts, each by a predictor trained without it" in page
    # The truth is known per domain only, so the domain prior is as good as can be.
    behind = decided["baselines"]["domain_prior"]["predictor_minus_this"]["aiq"]
    assert abs(behind["value"]) < 4 * behind["se"] + 0.02


def test_what_is_learned_ranks_decides_and_is_told_from_the_baselines(
    checkpoint: Checkpoint, rows: Rows, synthetic_outcomes: Outcomes, synthetic_data: Path
) -> None:
    prices = read_prices(synthetic_data, synthetic_outcomes.models)
    pool = standard_protocol(PROTOCOL, synthetic_outcomes, prices).pool
    judged = judge_pool(pool, expect(checkpoint, rows), rows, seed=1)
    figures = judged.figures
    assert judged.left_out == ()
    assert figures["reference"] == BEST
    assert set(figures["per_model"]) == {SMALL, WEAK, BEST}
    for name in ("auc", "log_loss", "brier", "ece"):
        values = [of_model[name]["value"] for of_model in figures["per_model"].values()]
        assert figures[f"mean_{name}"]["value"] == pytest.approx(np.mean(values))
    # The truth is known per domain only, so the domain prior is as good as can be.
    difference = figures["baselines"]["domain_prior"]["predictor_minus_this"]["aiq"]
    assert abs(difference["value"]) < 4 * difference["se"] + 0.01
    assert figures["baselines"]["oracle"]["gap_closed"]["value"] == pytest.approx(1.0)
    mix = figures["baselines"]["random_mix_of_singles"]
    assert mix["full_cost_points"]["value"] == pytest.approx(0.0, abs=1e-6)
    assert figures["baselines"]["best_single"]["model"] == BEST
    assert set(judged.drawing.curves) == {"predictor", *figures["baselines"]} - {"best_single"}
    # Perfect predictions cannot be improved.
    perfect = replace(expect(checkpoint, rows), scores=np.nan_to_num(synthetic_outcomes.scores))
    best = judge_pool(pool, perfect, None, seed=1).figures
    assert best["mean_auc"]["value"] == 1.0
    assert "nearest_neighbours" not in best["baselines"]


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.targets += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]


def test_own_outcomes_give_a_report_that_needs_nothing_else(
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = write_own(tmp_path / "<script>own.parquet", models=(SMALL, "<b>new</b>", BEST))
    arguments = ["evaluate", "--checkpoint", str(saved), "--outcomes", str(own), "--folds", "0"]
    assert run_cli(monkeypatch, *arguments, "--report", str(tmp_path / "report"), "--json") == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics == json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics == json.loads((saved / "metrics.json").read_text())
    assert metrics["pool_test_split"]["models"] == 2
    assert (metrics["pair"]["weak"], metrics["pair"]["strong"]) == (SMALL, BEST)
    assert "five_folds" not in metrics["pair"]
    assert any("<b>new</b>: the predictor does not know it" in s for s in metrics["left_out"])
    assert any("no folds were asked for" in sentence for sentence in metrics["left_out"])
    page = (tmp_path / "report" / "report.html").read_text()
    links = _Links()
    links.feed(page)
    assert links.targets
    assert all(target.startswith("data:image/png;base64,") for target in links.targets)
    assert not {"script", "b"} - {"b"} & set(links.tags)
    assert "<b>new</b>" not in page
    assert "&lt;b&gt;new&lt;/b&gt;" in page
    assert not re.search(r"url\(|@import|https?:", page)
    for name in ("cost_quality.png", "reliability.png"):
        assert (tmp_path / "report" / name).read_bytes().startswith(b"\x89PNG")


def test_outcomes_without_costs_are_judged_without_decisions(
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = write_own(tmp_path / "own.parquet", costs=False)
    arguments = ["evaluate", "--checkpoint", str(saved), "--outcomes", str(own)]
    assert run_cli(monkeypatch, *arguments, "--report", str(tmp_path / "report"), "--json") == 0
    metrics = json.loads(capsys.readouterr().out)
    assert "pair" not in metrics
    assert "decision" not in metrics["pool_test_split"]
    assert metrics["pool_test_split"]["mean_auc"]["value"] > 0.3
    for word in ("costs are missing", "decisions:", "cross-validation:"):
        assert any(word in sentence for sentence in metrics["left_out"]), word
    assert not (tmp_path / "report" / "cost_quality.png").exists()
    # A pair that is named needs no costs.
    pair = ["--pair", SMALL, BEST, "--folds", "1", "--json"]
    assert run_cli(monkeypatch, *arguments, *pair) == 0
    assert json.loads(capsys.readouterr().out)["pair"]["five_folds"]["prompts"] > 0


@pytest.mark.parametrize(
    ("pair", "models", "known", "message"),
    [
        (None, (SMALL, BEST), (SMALL,), "1 of the predictor's models have outcomes"),
        ((SMALL, "other"), (SMALL, BEST), (SMALL, BEST), "'other' is not in the pool"),
    ],
)
def test_outcomes_that_cannot_be_judged_are_refused(
    tmp_path: Path,
    pair: tuple[str, str] | None,
    models: tuple[str, ...],
    known: tuple[str, ...],
    message: str,
) -> None:
    own = write_own(tmp_path / "own.parquet", models=models)
    outcomes = read_outcomes(own, name="own", licence="MIT")
    with pytest.raises(OutcomeError, match=message):
        own_protocol(outcomes, known, np.ones((len(models), 2)), pair)
    few = outcomes.rows(np.arange(10))
    with pytest.raises(OutcomeError, match="bring more"):
        own_protocol(few, known, np.ones((len(models), 2)), pair)


@pytest.mark.parametrize("arguments", [["--checkpoint", "{saved}"], ["--checkpoint", "nowhere"]])
def test_nothing_to_judge_is_one_line(
    saved: Path,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("ROUTOO_DATA", raising=False)
    named = [argument.format(saved=saved) for argument in arguments]
    assert run_cli(monkeypatch, "evaluate", *named) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_report_that_cannot_be_written_is_an_error(
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = write_own(tmp_path / "own.parquet")
    (tmp_path / "file").write_text("")
    arguments = ["--outcomes", str(own), "--folds", "0", "--report", str(tmp_path / "file")]
    assert run_cli(monkeypatch, "evaluate", "--checkpoint", str(saved), *arguments) == 2
    assert "the report cannot be written" in capsys.readouterr().err


def test_numbers_are_plain() -> None:
    figures = {"a": float("nan"), "b": [1 / 3, 2e-14], "c": {"d": 1234567.0}, "e": "text", "f": 3}
    assert plain_numbers(figures) == {
        "a": None,
        "b": [0.333333, 0.0],
        "c": {"d": 1234570.0},
        "e": "text",
        "f": 3,
    }


def test_the_columns_of_a_prediction_are_those_of_the_outcomes(
    checkpoint: Checkpoint, saved: Path, tmp_path: Path
) -> None:
    own = read_outcomes(
        write_own(tmp_path / "own.parquet", models=(BEST, "new", SMALL)), name="own", licence="MIT"
    )
    rows = make_rows(own, checkpoint.backbone, 0)
    found = expect(load_checkpoint(saved), rows)
    assert np.isnan(found.scores[:, 1]).all()
    assert (found.scores[:, 0] > found.scores[:, 2]).mean() > 0.8
