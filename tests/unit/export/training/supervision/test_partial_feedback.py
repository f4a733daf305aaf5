"""Logs: they are checked row by row, and weights remove the bias of the logging policy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routoo.telemetry.decision_log.off_policy.feedback import effective_sample_size
from routoo_export.errors import OutcomeError
from routoo_export.network.network import predict
from routoo_export.outcomes.outcomes import Outcomes
from routoo_export.outcomes.splits import assign_buckets
from routoo_export.training.heads.rows import Rows
from routoo_export.training.heads.train import TrainConfig, fit
from routoo_export.training.supervision.partial_feedback import (
    LoggedOutcomes,
    LogMethod,
    LogWeights,
    doubly_robust_scores,
    draw_log,
    logged_rows,
    read_logged,
    weighted_rows,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

METHODS: tuple[LogMethod, ...] = get_args(LogMethod)
MODELS = ("cheap", "expensive")
NAN = float("nan")


def log_table() -> dict[str, list[Any]]:
    return {
        "prompt_id": ["d0", "d1", "d2", "d3"],
        "prompt": ["first?", "second?", "third?", "first?"],
        "model": ["cheap", "expensive", "cheap", "expensive"],
        "score": [1.0, 0.0, 0.5, 1.0],
        "propensity": [0.9, 0.1, 1.0, 0.05],
        "domain": ["law", "law", None, "math"],
        "cost_usd": [1e-4, 1e-2, 1e-4, 2e-2],
    }


def write(path: Path, table: dict[str, list[Any]]) -> Path:
    pq.write_table(pa.table(table), path)
    return path


def test_a_log_is_read_as_written(tmp_path: Path) -> None:
    log = read_logged(write(tmp_path / "log.parquet", log_table()), name="ours", licence="MIT")
    assert log.outcomes.models == MODELS
    assert log.chosen.tolist() == [0, 1, 0, 1]
    assert log.scores.tolist() == [1.0, 0.0, 0.5, 1.0]
    assert log.propensities.tolist() == [0.9, 0.1, 1.0, 0.05]
    assert log.outcomes.domains == ("law", "law", None, "math")
    assert log.outcomes.prompt_ids == ("d0", "d1", "d2", "d3")
    np.testing.assert_array_equal(log.outcomes.cost_usd[:, 1], [NAN, 1e-2, NAN, 2e-2])
    kept = log.where(np.array([False, True, False, True]))
    assert kept.outcomes.prompt_ids == ("d1", "d3")
    assert kept.propensities.tolist() == [0.1, 0.05]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("propensity", 0.0, r"row 2: propensity is not in \(0, 1\]"),
        ("propensity", None, r"row 2: propensity is not in \(0, 1\]"),
        ("propensity", NAN, r"row 2: propensity is not in \(0, 1\]"),
        ("propensity", 1.01, r"row 2: propensity is outside \[0, 1\] \(1.01\)"),
        ("propensity", -0.1, r"row 2: propensity is outside \[0, 1\] \(-0.1\)"),
        ("score", 1.2, r"row 2: score is outside \[0, 1\]"),
        ("score", None, "row 2: score is missing"),
        ("prompt_id", "d0", "row 2: prompt_id occurs a second time"),
        ("model", "", "row 2: model is empty"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    tmp_path: Path, column: str, value: object, message: str
) -> None:
    table = log_table()
    table[column][2] = value
    path = write(tmp_path / "log.parquet", table)
    with pytest.raises(OutcomeError, match=r"log\.parquet: " + message):
        read_logged(path, name="ours", licence="MIT")


@pytest.mark.parametrize("column", ["propensity", "model", "score", "prompt"])
def test_a_log_without_its_columns_is_refused(tmp_path: Path, column: str) -> None:
    table = log_table()
    del table[column]
    path = write(tmp_path / "log.parquet", table)
    with pytest.raises(OutcomeError, match=f"column '{column}' is missing"):
        read_logged(path, name="ours", licence="MIT")


def world(n: int, seed: int) -> tuple[Outcomes, NDArray[np.float64]]:
    """Outcomes of two models, the expensive one better, and each prompt's hidden difficulty."""
    rng = np.random.default_rng(seed)
    prompts = tuple(f"question {seed} {i}?" for i in range(n))
    domains = tuple(("law", "math")[i % 2] for i in range(n))
    hardness = rng.random(n)
    chance = np.stack([0.9 - 0.8 * hardness, 1.0 - 0.6 * hardness], axis=1)
    none = np.full((n, 2), NAN)
    outcomes = Outcomes(
        prompt_ids=prompts,
        prompts=prompts,
        models=MODELS,
        scores=(rng.random((n, 2)) < chance).astype(np.float64),
        output_tokens=none,
        cost_usd=np.tile([1.0, 2.0], (n, 1)),
        domains=domains,
        duplicate_groups=(None,) * n,
        buckets=assign_buckets(prompts, (None,) * n),
        source_names=("ours",) * n,
        sources=(),
    )
    return outcomes, hardness


def escalating(hardness: NDArray[np.float64]) -> NDArray[np.float64]:
    """A policy that sends hard prompts and a tenth of the others to the expensive model."""
    expensive = np.where(hardness > 0.5, 0.9, 0.1)
    return np.stack([1.0 - expensive, expensive], axis=1)


def rows_of(outcomes: Outcomes) -> Rows:
    law = torch.tensor([[float(domain == "law")] for domain in outcomes.domains])
    noise = torch.randn(len(law), 3, generator=torch.Generator().manual_seed(0))
    features = torch.cat([law, noise], dim=1)
    return Rows(outcomes, features, features.unsqueeze(0).repeat(2, 1, 1), groups=(4,))


def test_a_drawn_log_shows_one_outcome_in_proportion_to_the_policy() -> None:
    outcomes, hardness = world(4_000, seed=0)
    policy = escalating(hardness)
    log = draw_log(outcomes, policy, np.random.default_rng(1))
    assert log.chosen[hardness > 0.5].mean() == pytest.approx(0.9, abs=0.03)
    assert log.chosen[hardness < 0.5].mean() == pytest.approx(0.1, abs=0.03)
    every = np.arange(4_000)
    np.testing.assert_array_equal(log.propensities, policy[every, log.chosen])
    np.testing.assert_array_equal(log.scores, outcomes.scores[every, log.chosen])
    for values in (log.outcomes.scores, log.outcomes.cost_usd):
        assert np.isnan(values[every, 1 - log.chosen]).all()


def test_an_inconsistent_log_is_refused() -> None:
    outcomes, hardness = world(50, seed=0)
    log = draw_log(outcomes, escalating(hardness), np.random.default_rng(1))
    with pytest.raises(OutcomeError, match=r"row 0: an outcome is known for the chosen"):
        replace(log, chosen=1 - log.chosen)
    wrong = log.propensities.copy()
    wrong[7] = NAN
    with pytest.raises(OutcomeError, match=r"row 7: propensity is not in"):
        replace(log, propensities=wrong)
    with pytest.raises(OutcomeError, match="do not fit"):
        LoggedOutcomes(log.outcomes, log.chosen[:5], log.propensities)


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=50), st.floats(1.0, 50.0))
def test_weights_are_inverse_truncated_and_scaled(chances: list[float], largest: float) -> None:
    p = np.array(chances)
    found = LogWeights.of(p, largest=largest)
    np.testing.assert_allclose(found.values, np.minimum(1.0 / p, largest))
    assert found.truncated_share == pytest.approx((1.0 / p > largest).mean())
    assert 1.0 - 1e-9 <= found.effective_sample_size <= len(p) + 1e-9
    scaled = LogWeights.of(p, largest=largest, self_normalised=True)
    assert scaled.values.mean() == pytest.approx(1.0)
    assert scaled.effective_sample_size == pytest.approx(found.effective_sample_size)
    # By default no weight exceeds sqrt(n) times the mean.
    assert LogWeights.of(p).values.max() <= np.sqrt(len(p)) * (1.0 / p).mean() * (1.0 + 1e-12)


def test_effective_sample_size() -> None:
    assert effective_sample_size(np.full(8, 3.0)) == pytest.approx(8.0)
    assert effective_sample_size(np.array([1.0, 0.0, 0.0])) == pytest.approx(1.0)


def test_a_policy_that_looks_at_topics_only_needs_no_weights() -> None:
    outcomes, _ = world(4_000, seed=0)
    law = np.array([domain == "law" for domain in outcomes.domains])
    expensive = np.where(law, 0.95, 0.2)
    policy = np.stack([1.0 - expensive, expensive], axis=1)
    log = draw_log(outcomes, policy, np.random.default_rng(1))
    weights = weighted_rows(rows_of(outcomes), log, seed=0).weights
    assert weights is not None
    assert (np.count_nonzero(weights, axis=1) == 1).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=0.15)


def test_weighted_means_are_those_of_all_prompts_and_count_as_their_evidence() -> None:
    outcomes, hardness = world(8_000, seed=0)
    log = draw_log(outcomes, escalating(hardness), np.random.default_rng(1))
    weights = weighted_rows(rows_of(outcomes), log, seed=0).weights
    assert weights is not None
    truth = outcomes.scores.mean(axis=0)
    means = np.nansum(weights * log.outcomes.scores, axis=0) / weights.sum(axis=0)
    np.testing.assert_allclose(means, truth, atol=0.03)
    assert abs(np.nanmean(log.outcomes.scores, axis=0) - truth).min() > 0.1
    for column in range(2):
        own = weights[log.chosen == column, column]
        assert own.sum() == pytest.approx(effective_sample_size(own))
        assert own.sum() < 0.6 * len(own)


@given(seed=st.integers(0, 10_000), bias=st.floats(-0.5, 0.5))
def test_pseudo_outcomes_have_the_true_mean_whatever_the_direct_predictions(
    seed: int, bias: float
) -> None:
    outcomes, hardness = world(1_500, seed=0)
    log = draw_log(outcomes, escalating(hardness), np.random.default_rng(seed + 1_000))
    direct = np.full(outcomes.scores.shape, 0.5 + bias)
    pseudo = doubly_robust_scores(log, direct, 1.0 / log.propensities)
    np.testing.assert_allclose(pseudo.mean(axis=0), outcomes.scores.mean(axis=0), atol=0.2)
    every = np.arange(len(pseudo))
    np.testing.assert_array_equal(pseudo[every, 1 - log.chosen], 0.5 + bias)


def test_logs_that_cannot_be_halved_are_refused(quick_config: TrainConfig) -> None:
    outcomes, hardness = world(40, seed=0)
    same = replace(outcomes, buckets=np.zeros(40, dtype=np.int64))
    log = draw_log(same, escalating(hardness), np.random.default_rng(1))
    with pytest.raises(OutcomeError, match="too few to be halved"):
        logged_rows(rows_of(same), log, "doubly_robust", quick_config)


def test_only_weighted_training_sees_that_the_expensive_model_is_better(
    quick_config: TrainConfig,
) -> None:
    """Unweighted training underrates the model that got the hard prompts."""
    outcomes, hardness = world(1_500, seed=0)
    log = draw_log(outcomes, escalating(hardness), np.random.default_rng(1))
    config = replace(quick_config, members=1, epochs=8, batch_size=128, shrink_groups=0)
    truth = outcomes.scores.mean(axis=0)
    gap = truth[1] - truth[0]
    gaps = {}
    for method in METHODS:
        rows = logged_rows(rows_of(outcomes), log, method, config)
        train = outcomes.buckets < 7
        weights = fit(rows.where(train), rows.where(~train), config)
        scores = predict(weights, rows.features)[0].mean(axis=0)
        gaps[method] = float(scores[1] - scores[0])
    assert gap > 0.15
    assert gaps["unweighted"] < -0.05
    for method in ("inverse_propensity", "doubly_robust"):
        assert gaps[method] == pytest.approx(gap, abs=0.09)
