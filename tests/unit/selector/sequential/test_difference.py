"""Intervals that hold at all times at once: for a difference of two arms, and for one arm."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routoo.selector.sequential.difference import DifferenceInterval
from routoo.selector.sequential.mean import MeanInterval

ALPHA = 0.05
RUNS = 60


@pytest.mark.parametrize(("share", "control", "candidate"), [(0.5, 0.7, 0.7), (0.1, 0.3, 0.45)])
def test_the_difference_is_inside_at_all_times(
    share: float, control: float, candidate: float
) -> None:
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(RUNS):
        interval = DifferenceInterval(ALPHA, share)
        arms = rng.random(600) < share
        outcomes = rng.random(600) < np.where(arms, candidate, control)
        for arm, outcome in zip(arms.tolist(), outcomes.tolist(), strict=True):
            interval.add(float(outcome), is_candidate=arm)
        low, high = interval.bounds  # what was refuted once stays so
        missed += not low <= candidate - control <= high
    assert missed <= 2 * ALPHA * RUNS


def test_a_worse_candidate_is_seen() -> None:
    rng = np.random.default_rng(1)
    interval = DifferenceInterval(ALPHA, 0.5)
    for _ in range(2_000):
        arm = bool(rng.random() < 0.5)
        interval.add(float(rng.random() < (0.55 if arm else 0.7)), is_candidate=arm)
    low, high = interval.bounds
    assert -0.3 < low < high < 0.0
    assert interval.mean == pytest.approx(-0.15, abs=0.05)


def test_nothing_is_known_before_the_first_outcome() -> None:
    assert DifferenceInterval(ALPHA, 0.5).bounds == (-1.0, 1.0)
    assert MeanInterval().bounds(ALPHA) == (0.0, 1.0)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), max_size=40))
def test_a_restored_interval_goes_on_to_the_bit(rows: list[tuple[float, bool]]) -> None:
    interval = DifferenceInterval(ALPHA, 0.3)
    for outcome, arm in rows:
        interval.add(outcome, is_candidate=arm)
    again = DifferenceInterval.restored(json.loads(json.dumps(interval.values())))
    for one in (interval, again):
        one.add(0.25, is_candidate=True)
    assert again.values() == interval.values()
    assert again.bounds == interval.bounds


def test_values_of_something_else_are_refused() -> None:
    values = DifferenceInterval(ALPHA, 0.5).values()
    for broken in ({}, {**values, "wealth": [0.0]}):
        with pytest.raises(ValueError, match="difference"):
            DifferenceInterval.restored(broken)


@pytest.mark.parametrize("mean", [0.02, 0.5, 0.97])
def test_the_mean_of_one_arm_is_inside_at_all_times(mean: float) -> None:
    rng = np.random.default_rng(2)
    missed = 0
    for _ in range(RUNS):
        interval, inside = MeanInterval(), True
        for outcome in (rng.random(400) < mean).tolist():
            interval.add(float(outcome))
            low, high = interval.bounds(ALPHA)
            inside &= low <= mean <= high
        missed += not inside
    assert missed <= ALPHA * RUNS


@given(st.lists(st.floats(0.0, 1.0), min_size=1))
def test_an_arm_interval_holds_its_own_mean(outcomes: list[float]) -> None:
    interval = MeanInterval()
    for outcome in outcomes:
        interval.add(outcome)
    low, high = interval.bounds(ALPHA)
    assert 0.0 <= low <= interval.mean + 1e-9
    assert interval.mean - 1e-9 <= high <= 1.0
