"""Named points of the curve: each keeps its definition on any sample, and follows its prices."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.selector.lp.frontier import frontier
from routoo.selector.lp.presets import ECONOMY_SHARE, PRESETS, preset_points
from routoo.selector.policies.lp import round_scores

shapes = st.tuples(st.integers(2, 60), st.integers(1, 6), st.integers(0, 2**32 - 1))
LAST_BITS = 1e-9


def drawn(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n, m, seed = shape
    rng = np.random.default_rng(seed)
    mask = rng.random((n, m)) < 0.8
    mask[np.arange(n), rng.integers(0, m, n)] = True
    return round_scores(rng.random((n, m))), rng.lognormal(-8.0, 2.0, (n, m)), mask


@given(shapes)
def test_each_point_is_what_its_name_says(shape: tuple[int, int, int]) -> None:
    scores, costs, mask = drawn(shape)
    curve = frontier(scores, costs, mask)
    economy, balanced, quality = preset_points(scores, costs, mask)
    cost, score = curve.mean_cost_usd, curve.mean_score
    best = np.where(mask, scores, -np.inf).max(axis=1)
    error = best.std(ddof=1) / np.sqrt(len(best))
    gain = score[-1] - score[0]
    if len(cost) > 1:
        above = (score - score[0]) / gain - (cost - cost[0]) / (cost[-1] - cost[0])
        x = (balanced.mean_cost_usd - cost[0]) / (cost[-1] - cost[0])
        y = (balanced.mean_score - score[0]) / gain
        assert y - x == pytest.approx(above.max(), abs=LAST_BITS)
    assert quality.mean_score >= score[-1] - error - LAST_BITS
    near = cost[score >= score[-1] - error + LAST_BITS]
    assert quality.mean_cost_usd <= max(near.min(), balanced.mean_cost_usd) * (1 + LAST_BITS)
    kept = cost[score >= score[0] + ECONOMY_SHARE * gain - LAST_BITS]
    assert economy.mean_cost_usd <= min(kept.max(), balanced.mean_cost_usd) * (1 + LAST_BITS)
    if economy.mean_cost_usd < balanced.mean_cost_usd * (1 - LAST_BITS):
        assert economy.mean_score >= score[0] + ECONOMY_SHARE * gain - LAST_BITS


@given(shapes)
def test_they_are_in_order_and_always_the_same(shape: tuple[int, int, int]) -> None:
    points = preset_points(*drawn(shape))
    assert tuple(one.name for one in points) == PRESETS
    prices = [one.price for one in points]
    assert prices == sorted(prices, reverse=True)
    costs = [one.mean_cost_usd for one in points]
    assert all(b >= a * (1 - LAST_BITS) for a, b in pairwise(costs))
    assert points == preset_points(*drawn(shape))


@given(shapes, st.sampled_from([2.0**-10, 0.5, 8.0]))
def test_they_follow_prices_that_all_change_alike(shape: tuple[int, int, int], by: float) -> None:
    scores, costs, mask = drawn(shape)
    before, after = preset_points(scores, costs, mask), preset_points(scores, costs * by, mask)
    for one, other in zip(before, after, strict=True):
        assert other.mean_score == one.mean_score
        assert other.price == one.price / by


def test_a_pool_of_one_has_one_point() -> None:
    points = preset_points(np.full((3, 1), 0.5), np.ones((3, 1)), np.ones((3, 1), np.bool_))
    assert {(one.price, one.mean_cost_usd, one.mean_score) for one in points} == {(0.0, 1.0, 0.5)}
