"""The uncertainty of the ensemble: calibration, spread, shrinkage."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routoo_export.network.network import RawPrediction, Weights, predict, predict_raw
from routoo_export.training.heads.calibration import (
    METHODS,
    PlattPrior,
    calibrate,
    describe_calibration,
    fit_spread,
    realign,
    resample_heads,
)
from routoo_export.training.heads.objectives import SoftLabels
from routoo_export.training.heads.rows import Rows
from routoo_export.training.heads.topics import Topics
from routoo_export.training.heads.train import fit, refit
from routoo_export.training.heads.uncertainty import (
    HeldOutPredictions,
    fit_shrink,
    left_out_topics,
    rows_of_other_topics,
    shrink_by_left_out_topics,
    with_doubts,
)
from support.random_heads import FEATURES, GROUPS, random_features, random_heads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from routoo_export.outcomes.outcomes import Outcomes
    from routoo_export.training.checkpoint import Checkpoint
    from routoo_export.training.heads.train import TrainConfig

PRIOR = PlattPrior(slope=500.0, intercept=20_000.0)


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-values))


def outcomes_of(chance: NDArray[np.float64], rng: np.random.Generator) -> SoftLabels:
    return SoftLabels.of((rng.random(chance.shape) < chance).astype(np.float64))


def raw_of(logits: NDArray[np.float64]) -> RawPrediction:
    single = logits.astype(np.float32)
    return RawPrediction(single, np.ones((len(single), 1), dtype=np.float32), np.exp(single))


def test_calibration_takes_platt_where_models_differ() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2.0, size=(2000, 4))
    slopes, intercepts = np.array([0.4, 0.9, 1.3, 0.7]), np.array([0.5, -0.5, 0.3, -0.3])
    labels = outcomes_of(sigmoid(slopes * logits + intercepts), rng)
    found = calibrate(random_heads(0), raw_of(logits), labels, PlattPrior(10.0, 10.0), seed=1)
    np.testing.assert_allclose(found.slope, slopes, atol=0.15)
    np.testing.assert_allclose(found.intercept, intercepts, atol=0.15)
    assert describe_calibration(found) == METHODS["platt"]


def test_calibration_takes_one_temperature_where_platt_only_fits_noise() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2.0, size=(150, 40))
    labels = outcomes_of(sigmoid(0.5 * logits), rng)
    free = PlattPrior(slope=1e-3, intercept=1e-3)
    found = calibrate(random_heads(0), raw_of(logits), labels, free, seed=1)
    np.testing.assert_allclose(found.slope, 0.5, atol=0.05)
    assert not found.intercept.any()
    assert describe_calibration(found) == METHODS["temperature"]


def test_a_resample_of_heads_differs_by_member_and_not_in_the_mean() -> None:
    weights, features = random_heads(0, members=5), random_features(1, 600)
    rng = np.random.default_rng(2)
    raw = predict_raw(weights, features)
    labels = outcomes_of(sigmoid(raw.logits.astype(np.float64)), rng)
    found = resample_heads(weights, raw, labels, ridge=30.0, seed=3)
    moved = found.topic_logits - weights.topic_logits
    np.testing.assert_allclose(moved.mean(axis=0), 0.0, atol=1e-6)
    assert moved.std(axis=0).min() > 0.0
    again = resample_heads(weights, raw, labels, ridge=30.0, seed=3)
    np.testing.assert_array_equal(again.topic_logits, found.topic_logits)
    lone = random_heads(0, members=1)
    assert resample_heads(lone, predict_raw(lone, features), labels, 30.0, 3) is lone


def test_a_resample_moves_the_table_as_far_as_another_sample_does() -> None:
    """The spread of the one-step bootstrap is that of refits on fresh outcomes."""
    weights, features = random_heads(0, members=400, models=2, topics=2), random_features(1, 400)
    raw = predict_raw(weights, features)
    shares = np.full((400, 2), 0.0, dtype=np.float32)
    shares[np.arange(400), np.arange(400) % 2] = 1.0
    raw = raw._replace(topics=shares, logits=np.zeros((400, 2), dtype=np.float32))
    rng = np.random.default_rng(2)
    labels = outcomes_of(np.full((400, 2), 0.5), rng)
    found = resample_heads(weights, raw, labels, ridge=1e-3, seed=3).topic_logits
    moved = (found - weights.topic_logits).std(axis=0)
    # 200 outcomes at one half have a standard error of 2 / sqrt(200) in logits.
    np.testing.assert_allclose(moved, 2.0 / np.sqrt(200.0), rtol=0.15)


@pytest.mark.parametrize("factor", [0.7, 2.0])
def test_spread_recovers_the_size_of_the_error(factor: float) -> None:
    rng = np.random.default_rng(0)
    topics, rows, models, members = 40, 8000, 12, 6
    groups = rng.integers(0, topics, rows)
    error = rng.normal(scale=0.03 * factor, size=(topics, models))
    seen = rng.normal(scale=0.03, size=(members, topics, models))
    hard = rng.normal(scale=0.1, size=(rows, 1))
    chance = np.clip(0.5 + hard + rng.normal(scale=0.05, size=(rows, models)), 0.05, 0.95)
    # Members scatter about a score that is off by its own error.
    seen -= seen.mean(axis=0)
    scores = (chance + error[groups])[None] + seen[:, groups] * np.sqrt(members / (members - 1))
    labels = outcomes_of(chance, rng)
    found = fit_spread(random_heads(0, models=models), scores.astype("f4"), labels, groups)
    np.testing.assert_allclose(found.spread, factor, rtol=0.2)
    assert np.ptp(found.spread) == 0.0


def test_spread_has_a_floor_and_needs_no_spread() -> None:
    rng = np.random.default_rng(0)
    scores = np.full((4, 50, 3), 0.5, dtype=np.float32)
    labels = outcomes_of(np.full((50, 3), 0.5), rng)
    groups = np.zeros(50, dtype=np.int64)
    found = fit_spread(random_heads(0, models=3), scores, labels, groups)
    np.testing.assert_allclose(found.spread, 0.5)


def held_out(rng: np.random.Generator, *, sharpness: float, unusual: bool) -> HeldOutPredictions:
    """Prompts whose logits are ``sharpness`` times what they should be."""
    chance = sigmoid(rng.normal(size=(2000, 3)))
    ood = rng.uniform(0.8, 1.0, 2000) if unusual else rng.uniform(0.0, 0.5, 2000)
    logits = sharpness * np.log(chance / (1.0 - chance))
    anchor = np.zeros(3, dtype=np.float32)
    return HeldOutPredictions(
        logits.astype("f4"), ood.astype("f4"), anchor, outcomes_of(chance, rng)
    )


def test_shrink_is_what_unseen_topics_need() -> None:
    rng = np.random.default_rng(0)
    seen = held_out(rng, sharpness=1.0, unusual=False)
    need = float(fit_shrink([held_out(rng, sharpness=1.8, unusual=True)], [seen])[0])
    more = float(fit_shrink([held_out(rng, sharpness=3.0, unusual=True)], [seen])[0])
    # Logits that are 1.8 times too large are corrected where 1 + s * 0.9 ** 8 = 1.8: s = 1.86.
    assert 1.0 < need < 2.6 < more
    assert float(fit_shrink([held_out(rng, sharpness=0.8, unusual=True)], [seen])[0]) < 0.05


def test_seen_topics_hold_shrinking_back() -> None:
    rng = np.random.default_rng(0)
    unseen = held_out(rng, sharpness=1.8, unusual=True)
    sound = held_out(rng, sharpness=1.0, unusual=True)
    assert float(fit_shrink([unseen], [sound])[0]) < 0.8 * float(fit_shrink([unseen], [])[0])


@given(
    topics=st.integers(0, 9), groups=st.integers(0, 5), rows=st.integers(1, 50), seed=st.integers(0)
)
def test_topics_are_left_out_whole_and_each_once(
    topics: int, groups: int, rows: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).integers(0, max(topics, 1), rows)
    masks = left_out_topics(Topics(tuple(map(str, range(topics))), labels), groups, seed)
    if min(topics, groups) < 2:
        assert masks == []
        return
    assert len(masks) == min(topics, groups)
    np.testing.assert_array_equal(np.sum(masks, axis=0), 1)
    for mask in masks:
        assert not set(labels[mask]) & set(labels[~mask])


def rows_for(outcomes: Outcomes, *, seed: int = 0) -> Rows:
    """Features in which the domain can be read, and nothing else."""
    features = random_features(seed, len(outcomes.prompts))
    features[:, 0] += torch.tensor([4.0 * (d == "law") for d in outcomes.domains])
    return Rows(outcomes, features, features.repeat(2, 1, 1), GROUPS)


def test_doubts_are_fitted_and_scores_stay(synthetic_outcomes: Outcomes) -> None:
    rows = rows_for(synthetic_outcomes)
    train = rows.where(synthetic_outcomes.buckets < 7)
    validation = rows.where(synthetic_outcomes.buckets == 7)
    weights = random_heads(0, models=len(synthetic_outcomes.models))
    plain = replace(weights, shrink=np.zeros(1, dtype=np.float32))
    found = with_doubts(plain, train, validation, "log_loss", PRIOR, seed=1)
    means = np.nanmean(train.outcomes.scores, axis=0)
    np.testing.assert_allclose(sigmoid(found.anchor.astype(np.float64)), means, atol=1e-4)
    ood = predict(found, validation.features).ood
    assert ood.mean() == pytest.approx(0.5, abs=0.05)
    assert predict(found, 30.0 * random_features(9, 20)).ood.min() > 0.95


def test_domains_of_left_out_rows_do_not_calibrate(synthetic_outcomes: Outcomes) -> None:
    rows = rows_for(synthetic_outcomes)
    law = np.array([domain == "law" for domain in synthetic_outcomes.domains])
    kept = rows_of_other_topics(rows, rows.where(law))
    assert set(kept.outcomes.domains) == {"math"}
    bare = replace(rows, outcomes=replace(synthetic_outcomes, domains=(None,) * len(law)))
    assert len(rows_of_other_topics(bare, bare.where(law)).features) == len(law)


def test_shrink_trains_once_per_mask_without_the_rows_it_marks(
    synthetic_outcomes: Outcomes,
) -> None:
    rows = rows_for(synthetic_outcomes)
    law = np.array([domain == "law" for domain in synthetic_outcomes.domains])
    trained: list[set[str | None]] = []
    weights = random_heads(0, models=len(synthetic_outcomes.models))

    def fit_one(train: Rows, validation: Rows) -> Weights:
        trained.append(set(train.outcomes.domains))
        assert set(validation.outcomes.domains) == trained[-1]
        return weights

    found = shrink_by_left_out_topics(rows, rows, [law, ~law], fit_one, "log_loss")
    assert trained == [{"math"}, {"law"}]
    assert found.shape == (1,)
    assert shrink_by_left_out_topics(rows, rows, [], fit_one, "log_loss").tolist() == [0.0]


def test_training_leaves_doubts_in_the_weights(
    synthetic_outcomes: Outcomes, quick_config: TrainConfig, checkpoint: Checkpoint
) -> None:
    weights = checkpoint.weights
    assert weights.shrink[0] >= 0.0
    assert weights.spread.min() > 0.0
    assert weights.ood.knots.size > 5
    assert np.abs(weights.topic_logits[0] - weights.topic_logits[1]).max() > 0.0
    rows = rows_for(synthetic_outcomes)
    train, held = synthetic_outcomes.buckets < 7, synthetic_outcomes.buckets == 7
    folded = refit(rows, train, held, replace(quick_config, epochs=3))
    assert folded.hidden.shape[0] == FEATURES
    assert folded.ood.knots.size > 5
    whole = fit(rows.where(train), rows.where(held), replace(quick_config, shrink_groups=0))
    assert whole.shrink[0] == 0.0


def test_realigning_moves_all_members_alike() -> None:
    weights, features = random_heads(0), random_features(1, 400)
    raw = predict_raw(weights, features)
    labels = outcomes_of(np.full(raw.logits.shape, 0.7), np.random.default_rng(0))
    found = realign(weights, raw, labels, ridge=1.0)
    moved = found.topic_logits - weights.topic_logits
    np.testing.assert_allclose(moved, np.broadcast_to(moved[0], moved.shape), atol=1e-6)
    scores = sigmoid(predict_raw(found, features).logits.astype(np.float64))
    np.testing.assert_allclose(scores.mean(axis=0), labels.scores.mean(0), atol=0.01)
