"""The operating point keeps to the mean cost and reaches the best score at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import linprog

from routoo.errors import ConfigError
from routoo.predictor.artifact import load_artifact
from routoo.routing.money.operating_point import PricedSample
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.tiny_pool import tiny_pool

if TYPE_CHECKING:
    from numpy.typing import NDArray

POOL = tiny_pool()


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> PricedSample:
    artifact = load_artifact(write_tiny_artifact(tmp_path_factory.mktemp("artifact")))
    return PricedSample(
        artifact.calibration_sample(), POOL, POOL.columns_in(artifact.manifest.models)
    )


def best_mean_score(sample: PricedSample, max_mean_cost_usd: float) -> float:
    """Solves the LP over the whole sample with a variable for every x[i, j]."""
    n, m = sample.scores.shape
    one_each = np.kron(np.eye(n), np.ones(m))
    result = linprog(
        -sample.scores.ravel() / n,
        # In millionths of a USD: the solver's tolerance is absolute.
        A_ub=sample.costs_usd.reshape(1, -1) / n * 1e6,
        b_ub=[max_mean_cost_usd * 1e6],
        A_eq=one_each,
        b_eq=np.ones(n),
        method="highs",
    )
    assert result.success
    return float(-result.fun)


def least_cost(sample: PricedSample) -> float:
    return float(sample.costs_usd.min(axis=1).mean())


def most_cost(sample: PricedSample) -> float:
    best: NDArray[np.bool_] = sample.scores == sample.scores.max(axis=1, keepdims=True)
    return float(np.where(best, sample.costs_usd, np.inf).min(axis=1).mean())


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.2, 0.5, 0.9])
def test_the_price_keeps_to_the_cost_and_reaches_the_lps_score(
    sample: PricedSample, share: float
) -> None:
    low, high = least_cost(sample), most_cost(sample)
    target = low + share * (high - low)
    price = sample.price_for(target)
    point = sample.point_at(price)
    assert point.mean_cost_usd <= target * (1 + 1e-12)
    # The price is the program's dual, so the bound at this price equals the optimum.
    dual = price * target + (sample.scores - price * sample.costs_usd).max(axis=1).mean()
    assert dual == pytest.approx(best_mean_score(sample, target), abs=1e-7)
    # The LP may split one prompt between two models, which tie at the price. The decision at the
    # price takes one of them and may lose the rest of that prompt's gain.
    best = best_mean_score(sample, target)
    tied = best_mean_score(sample, max(point.mean_cost_usd * (1 + 1e-9), low))
    assert point.mean_score <= best + 1e-9
    assert point.mean_score == pytest.approx(tied, abs=1e-6)


@given(first=st.floats(0, 1.2), second=st.floats(0, 1.2))
def test_more_money_never_scores_worse(sample: PricedSample, first: float, second: float) -> None:
    assume(first < second)
    low, high = least_cost(sample), most_cost(sample)
    tight, loose = (low * (1 + 1e-9) + share * (high - low) for share in (first, second))
    tight_price, loose_price = sample.price_for(tight), sample.price_for(loose)
    assert tight_price >= loose_price
    tight_point, loose_point = sample.point_at(tight_price), sample.point_at(loose_price)
    assert tight_point.mean_cost_usd <= loose_point.mean_cost_usd
    assert tight_point.mean_score <= loose_point.mean_score
    assert tight_point.mean_cost_usd <= tight * (1 + 1e-12)
    assert loose_point.mean_cost_usd <= loose * (1 + 1e-12)


def test_with_money_for_everything_the_price_is_0_and_the_best_model_answers(
    sample: PricedSample,
) -> None:
    assert sample.price_for(most_cost(sample) * 1.001) == 0.0
    assert sample.point_at(0.0).mean_score == pytest.approx(sample.scores.max(axis=1).mean())


def test_too_little_money_says_the_least_possible(sample: PricedSample) -> None:
    least = least_cost(sample)
    with pytest.raises(ConfigError) as caught:
        sample.price_for(least / 2)
    message = str(caught.value)
    assert message.startswith("policy.max_mean_cost_usd ")
    assert "is below the least possible 0.0" in message
    amount = float(message.rpartition("raise it by ")[2])
    sample.price_for(least / 2 + amount)


@pytest.mark.parametrize("points", [2, 3, 5, 1000])
def test_the_curve_rises_from_the_cheapest_to_the_best_and_bends_down(
    sample: PricedSample, points: int
) -> None:
    curve = sample.curve(points)
    assert 2 <= len(curve) <= points
    cost = np.array([point.mean_cost_usd for point in curve])
    score = np.array([point.mean_score for point in curve])
    assert cost[0] == pytest.approx(least_cost(sample))
    assert score[-1] == pytest.approx(sample.scores.max(axis=1).mean())
    assert (np.diff(cost) > 0).all()
    assert (np.diff(score) > 0).all()
    slopes = np.diff(score) / np.diff(cost)
    assert (np.diff(slopes) <= 1e-9 * slopes[:-1]).all()
    for point in curve:
        assert point.shares.sum() == pytest.approx(1.0)
    prices = [point.price for point in curve]
    assert prices == sorted(prices, reverse=True)
    assert prices[-1] == 0.0
