"""Rows corrected by a log: a model that became worse is seen, and a log alone moves no ranks."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit, logit

from routoo.predictor.artifact import MODEL, load_artifact
from routoo.predictor.model_table import TABLE, ModelTable
from routoo.routing.pool import load_pool
from routoo_export.autopilot.candidate import train_candidate
from routoo_export.autopilot.comparison import TRAINED
from routoo_export.cli.app import main
from routoo_export.errors import ExportError, OutcomeError
from routoo_export.outcomes.outcomes import read_outcomes
from routoo_export.training.own.logged import fit_log, scores_in_force
from routoo_export.training.own.train import OwnPrompts
from routoo_export.training.supervision.partial_feedback import LoggedOutcomes, read_logged
from support.tiny_pool import SPECS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from routoo.predictor.artifact import Artifact
    from routoo.routing.pool import Pool

MODELS = ("small", "large")
N = 1_200


@pytest.fixture(scope="module")
def artifact(base: Path) -> Artifact:
    return load_artifact(base)


@pytest.fixture(scope="module")
def prompts(own_file: Path, artifact: Artifact) -> OwnPrompts:
    """The own prompts, four times each."""
    own = OwnPrompts.read(read_outcomes(own_file), artifact)
    return own.rows(np.tile(np.arange(300), N // 300))


def logged(
    own: OwnPrompts, shift: tuple[float, float], share: float, seed: int = 0
) -> LoggedOutcomes:
    """A log of the better model, of which a share is drawn evenly; the truth is shifted."""
    rng = np.random.default_rng(seed)
    force = scores_in_force(own, MODELS)
    truth = expit(logit(force) + np.array(shift))
    policy = np.full(force.shape, share / 2)
    policy[np.arange(N), force.argmax(axis=1)] += 1.0 - share
    chosen = (rng.random((N, 1)) > policy.cumsum(axis=1)).sum(axis=1)
    every = np.arange(N)
    scores: NDArray[np.float64] = np.full(force.shape, np.nan)
    scores[every, chosen] = (rng.random(N) < truth[every, chosen]).astype(float)
    return LoggedOutcomes(replace(own.outcomes, scores=scores), chosen, policy[every, chosen])


def test_a_model_that_became_worse_falls_behind(prompts: OwnPrompts) -> None:
    found = fit_log(prompts, logged(prompts, (0.0, -1.5), share=0.3))
    assert found.log_loss < found.log_loss_before
    assert found.reach[0] > 0.0
    small, large = found.moves.mean(axis=1)
    assert small - large > 0.3
    assert sum(found.decisions) == N


def test_what_holds_for_all_models_moves_no_ranks(prompts: OwnPrompts) -> None:
    found = fit_log(prompts, logged(prompts, (-1.0, -1.0), share=0.02))
    kinds = np.bincount(prompts.features.kinds.argmax(axis=1), minlength=found.moves.shape[1])
    small, large = found.moves @ kinds / kinds.sum()
    assert large == pytest.approx(-1.0, abs=0.4)
    assert abs(small - large) < 0.5


@pytest.mark.parametrize("rare", [0.0, 1.0])
def test_outcomes_that_are_nearly_certain_are_fitted(prompts: OwnPrompts, rare: float) -> None:
    """Steps of Newton's method alone would swing further and further there."""
    log = logged(prompts, (0.0, 0.0), share=0.3)
    told = np.where(np.arange(N) % 50, 1.0 - rare, rare)
    scores = np.where(np.isnan(log.outcomes.scores), np.nan, told[:, None])
    own = replace(prompts, table=replace(prompts.table, score_mean=_sure_of(prompts, rare)))
    found = fit_log(own, replace(log, outcomes=replace(log.outcomes, scores=scores)))
    assert found.log_loss <= found.log_loss_before < 0.3
    assert np.abs(found.moves).max() < 15.0


def _sure_of(own: OwnPrompts, score: float) -> NDArray[np.float32]:
    """Rows of an artifact that is sure of a score."""
    return np.full_like(own.table.score_mean, 0.01 + 0.98 * score)


def test_rows_that_are_right_stay(prompts: OwnPrompts) -> None:
    found = fit_log(prompts, logged(prompts, (0.0, 0.0), share=0.3))
    assert np.abs(found.moves.mean(axis=1)).max() < 0.25


def test_lengths_follow_the_reported_ones(prompts: OwnPrompts) -> None:
    log = logged(prompts, (0.0, 0.0), share=0.3)
    tokens = np.full((N, 2), np.nan)
    tokens[np.arange(N), log.chosen] = np.where(log.chosen == 0, 7.0, np.nan)
    kept = replace(prompts.outcomes, scores=log.outcomes.scores, output_tokens=tokens)
    table = fit_log(prompts, replace(log, outcomes=kept)).corrected(prompts.table)
    rows = [table.row_of(name) for name in MODELS]
    before, after = prompts.table.log_tokens[rows], table.log_tokens[rows]
    assert (after[1] == before[1]).all()  # no length of it was reported
    kinds, traits = prompts.features.kinds, prompts.features.traits
    said = np.exp(kinds @ after[0] + traits @ prompts.table.token_weights[rows[0]])
    assert said[log.chosen == 0].mean() == pytest.approx(7.0, rel=0.1)


def test_the_corrected_table_says_what_was_fitted(prompts: OwnPrompts, artifact: Artifact) -> None:
    found = fit_log(prompts, logged(prompts, (0.0, -1.5), share=0.3))
    table = found.corrected(prompts.table)
    row = table.row_of("large")
    assert row is not None
    before, after = prompts.table.score_mean[row], table.score_mean[row]
    moved = logit(after.astype(float)) - logit(before.astype(float))
    assert moved == pytest.approx(found.moves[1], abs=1e-2)
    others = [at for at in range(len(table.names)) if table.names[at] not in MODELS]
    assert (table.score_mean[others] == prompts.table.score_mean[others]).all()


def _file(path: Path, own: OwnPrompts, models: tuple[str, str] = MODELS) -> Path:
    log = logged(own, (0.0, -1.5), share=0.3)
    chosen = log.chosen[:300]
    columns = {
        "prompt_id": [str(at) for at in range(300)],
        "prompt": list(own.outcomes.prompts[:300]),
        "model": [models[at] for at in chosen],
        "score": log.scores[:300],
        "propensity": log.propensities[:300],
    }
    pq.write_table(pa.table(columns), path)
    return path


def _train(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["routoo-export", "train", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


def test_training_on_a_log_writes_the_next_version(
    prompts: OwnPrompts,
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = _file(tmp_path / "log.parquet", prompts)
    into = ("--artifact", base, "--repository", tmp_path / "next")
    code, out, err = _train(monkeypatch, capsys, "--outcomes", path, *into, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["log_loss"] <= told["log_loss_common_part_alone"]
    assert sum(told["decisions"].values()) == 300
    written = load_artifact(tmp_path / "next" / "predictor" / "1")
    assert written.version == told["version"] != load_artifact(base).version
    code, _, err = _train(monkeypatch, capsys, "--outcomes", path, "--outcomes", path, *into)
    assert code == 2
    assert "convert all logs into one" in err


def test_a_model_without_a_row_is_named(
    prompts: OwnPrompts, artifact: Artifact, tmp_path: Path
) -> None:
    path = _file(tmp_path / "log.parquet", prompts, ("small", "ours/unknown"))
    log = read_logged(path, name="log", licence="x")
    with pytest.raises(OutcomeError, match="does not know 'ours/unknown'"):
        fit_log(OwnPrompts.read(log.outcomes, artifact), log)


def _pool(path: Path, *models: tuple[str, str]) -> Pool:
    """A pool of models by the names that they are asked and predicted under."""
    specs = [{**SPECS[0], "name": name, "predictor_name": predicted} for name, predicted in models]
    path.write_text(json.dumps({"models": specs}))
    return load_pool(path)


def test_a_candidate_is_the_rows_in_force_corrected(
    prompts: OwnPrompts, artifact: Artifact, tmp_path: Path
) -> None:
    """Two providers of one model teach its row once, and models without a grade stay."""
    log = logged(prompts, (0.0, -1.5), share=0.3)
    rng = np.random.default_rng(0)
    chosen = np.where(log.chosen == 0, 0, rng.integers(1, 3, N))
    scores = np.full((N, 4), np.nan)
    scores[np.arange(N), chosen] = log.scores
    spread = np.full(scores.shape, np.nan)
    names = ("ours/small", "east/large", "west/large", "left/the-pool")
    outcomes = replace(
        log.outcomes, models=names, scores=scores, output_tokens=spread, cost_usd=spread
    )
    pool = _pool(
        tmp_path / "pool.json",
        ("ours/small", "small"),
        ("east/large", "large"),
        ("west/large", "large"),
    )
    train_candidate(
        LoggedOutcomes(outcomes, chosen, log.propensities), artifact, pool, tmp_path / "1"
    )
    trained = np.isin(outcomes.buckets, list(TRAINED))
    expected = fit_log(prompts.rows(np.flatnonzero(trained)), log.where(trained))
    found = load_artifact(tmp_path / "1")
    table = ModelTable.load(found.folder / TABLE, found.manifest.files[MODEL].sha256)
    np.testing.assert_array_equal(table.score_mean, expected.corrected(prompts.table).score_mean)
    others = _pool(tmp_path / "others.json", ("other", "other"), ("another", "another"))
    with pytest.raises(ExportError, match="none of the graded decisions is for a model that"):
        train_candidate(
            LoggedOutcomes(outcomes, chosen, log.propensities), artifact, others, tmp_path / "2"
        )
