"""Hybrid LLM's labels, and the equality of the ordinary decision on them and its threshold rule."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routoo.selector.policies.lp import decide
from routoo_export.errors import OutcomeError
from routoo_export.network.network import predict
from routoo_export.outcomes.sources import PROTOCOL
from routoo_export.outcomes.splits import TRAIN_BUCKETS, in_buckets
from routoo_export.training.heads.rows import Rows
from routoo_export.training.heads.train import fit
from routoo_export.training.supervision.quality_gap import (
    choose_relaxation,
    gap_labels,
    pin_score,
    quality_gap_outcomes,
    read_samples,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from routoo_export.outcomes.outcomes import Outcomes
    from routoo_export.training.heads.train import TrainConfig

NAN = float("nan")
SMALL, LARGE = "small", PROTOCOL.weak


def test_one_answer_each_gives_a_hard_label() -> None:
    small, large = np.array([[1.0], [0.0], [0.5], [NAN]]), np.array([[1.0], [1.0], [0.25], [1.0]])
    np.testing.assert_array_equal(gap_labels(small, large), [1.0, 0.0, 1.0, NAN])
    np.testing.assert_array_equal(gap_labels(small, large, 1.0), [1.0, 1.0, 1.0, NAN])


@given(passes=st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)), min_size=1, max_size=20))
def test_sampled_labels_are_the_share_of_pairs(passes: list[tuple[int, int]]) -> None:
    """With outcomes of 0 or 1, only pairs of a small failure and a large success lower a label."""
    rank = np.arange(10)
    small = np.array([(rank < s).astype(np.float64) for s, _ in passes])
    large = np.array([(rank < big).astype(np.float64) for _, big in passes])
    want = [1.0 - (1.0 - s / 10) * big / 10 for s, big in passes]
    np.testing.assert_allclose(gap_labels(small, large), want, atol=1e-12)


def test_missing_samples_do_not_count() -> None:
    small = np.array([[1.0, 0.0, NAN], [NAN, NAN, NAN]])
    large = np.array([[1.0, NAN], [1.0, 0.0]])
    np.testing.assert_array_equal(gap_labels(small, large), [0.5, NAN])


def mean_difference(labels: NDArray[np.float64]) -> float:
    return float(np.abs(labels[:, None] - labels[None, :]).mean())


def test_the_relaxation_spreads_the_labels_most() -> None:
    rng = np.random.default_rng(0)
    small, large = rng.normal(-1.0, 0.3, (60, 5)), rng.normal(0.0, 0.3, (60, 5))
    # The small model is rarely as good: without a relaxation nearly all labels are 0.
    assert gap_labels(small, large).mean() < 0.1
    chosen = choose_relaxation(small, large)
    best = max(
        mean_difference(gap_labels(small, large, float(t))) for t in np.linspace(0.0, 3.0, 300)
    )
    assert mean_difference(gap_labels(small, large, chosen)) >= best - 5e-3
    assert 0.5 < chosen < 1.5


def test_the_relaxation_is_chosen_on_training_prompts(synthetic_outcomes: Outcomes) -> None:
    rng = np.random.default_rng(0)
    n = len(synthetic_outcomes.prompts)
    small, large = rng.normal(-1.0, 0.3, (n, 4)), rng.normal(0.0, 0.3, (n, 4))
    train = in_buckets(synthetic_outcomes.buckets, TRAIN_BUCKETS)
    want = choose_relaxation(small[train], large[train])
    small[~train] -= 5.0
    found = quality_gap_outcomes(
        synthetic_outcomes, SMALL, LARGE, samples={SMALL: small, LARGE: large}
    )
    assert found.relaxation == want
    assert found.outcomes.scores[:, 0] == pytest.approx(gap_labels(small, large, want))


def test_outcomes_are_of_the_two_models_where_both_are_known(synthetic_outcomes: Outcomes) -> None:
    found = quality_gap_outcomes(synthetic_outcomes, SMALL, LARGE, relaxation=0.0).outcomes
    assert found.models == (SMALL, LARGE)
    columns = [synthetic_outcomes.models.index(model) for model in found.models]
    both = np.asarray(~np.isnan(synthetic_outcomes.scores[:, columns]).any(axis=1))
    assert 0 < both.sum() < len(both)
    truth = synthetic_outcomes.scores[both][:, columns]
    np.testing.assert_array_equal(found.scores[:, 0], truth[:, 0] >= truth[:, 1])
    np.testing.assert_array_equal(found.scores[:, 1], 1.0)
    np.testing.assert_array_equal(found.cost_usd, synthetic_outcomes.cost_usd[both][:, columns])
    np.testing.assert_array_equal(found.buckets, synthetic_outcomes.buckets[both])


def test_the_ordinary_decision_is_the_threshold_rule(
    synthetic_outcomes: Outcomes, quick_config: TrainConfig
) -> None:
    outcomes = quality_gap_outcomes(synthetic_outcomes, SMALL, LARGE, relaxation=0.0).outcomes
    law = torch.tensor([[float(domain == "law")] for domain in outcomes.domains])
    noise = torch.randn(len(law), 4, generator=torch.Generator().manual_seed(0))
    features = torch.cat([law, noise], dim=1)
    variants = features.unsqueeze(0).repeat(2, 1, 1)
    rows = Rows(outcomes, features, variants, groups=(5,))
    train = outcomes.buckets < 7
    config = replace(quick_config, shrink_groups=0)
    weights = pin_score(fit(rows.where(train), rows.where(~train), config), column=1)
    scores = predict(weights, features)[0]
    np.testing.assert_array_equal(scores[:, 1], 1.0)
    label = np.rint(scores[:, 0] * 1e4) / 1e4
    assert label.std() > 0.02
    cost = np.broadcast_to([1.0e-4, 4.0e-4], scores.shape)
    for price in (500.0, 900.0, 1_100.0, 1_300.0):
        choice = decide(scores, cost, np.ones(scores.shape, dtype=np.bool_), price)
        np.testing.assert_array_equal(choice == 0, label >= 1.0 - price * 3.0e-4)


@pytest.mark.parametrize(
    ("small", "large", "relaxation", "message"),
    [
        ("nobody", LARGE, 0.0, "no model 'nobody'; they have small"),
        (SMALL, SMALL, 0.0, "name two"),
        (SMALL, LARGE, -0.5, "at least 0"),
        (SMALL, LARGE, NAN, "at least 0"),
        (SMALL, PROTOCOL.strong, 0.0, "no prompt has an outcome of both"),
        (SMALL, PROTOCOL.strong, None, "no prompt has an outcome of both"),
    ],
)
def test_what_cannot_be_labelled_is_refused(
    synthetic_outcomes: Outcomes, small: str, large: str, relaxation: float | None, message: str
) -> None:
    with pytest.raises(OutcomeError, match=message):
        quality_gap_outcomes(synthetic_outcomes, small, large, relaxation=relaxation)


def test_samples_are_read_in_the_order_of_the_outcomes(
    synthetic_outcomes: Outcomes, tmp_path: Path
) -> None:
    first, second = synthetic_outcomes.prompt_ids[:2]
    table: dict[str, list[Any]] = {
        "prompt_id": [second, first, second, "elsewhere", second],
        "model": [SMALL, SMALL, LARGE, SMALL, SMALL],
        "score": [0.25, 1.0, 0.75, 0.5, 0.5],
    }
    path = tmp_path / "samples.parquet"
    pq.write_table(pa.table(table), path)
    samples = read_samples(path, synthetic_outcomes)
    assert sorted(samples) == sorted([SMALL, LARGE])
    np.testing.assert_array_equal(samples[SMALL][:2], [[1.0, NAN], [0.25, 0.5]])
    np.testing.assert_array_equal(samples[LARGE][:2], [[NAN], [0.75]])
    assert np.isnan(samples[SMALL][2:]).all()
    table["score"][3] = 1.5
    pq.write_table(pa.table(table), path)
    with pytest.raises(OutcomeError, match=r"samples\.parquet: row 3: score is outside"):
        read_samples(path, synthetic_outcomes)
