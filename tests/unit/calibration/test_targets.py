"""Settings found for a target, compared with a trial of every position."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from routoo.calibration.pair import STEP, find_limit
from routoo.calibration.results import Achieved
from routoo.calibration.target import Positions, Target
from routoo.errors import InfeasibleError
from routoo.selector.policies.lp import round_scores
from support.samples import sample_of

STRONG, WEAK = 1, 0


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores (ties are common) and costs of a weak and a strong model, [n, 2] each."""
    n = draw(st.integers(1, 12))
    steps = st.integers(0, draw(st.sampled_from([4, 10_000])))
    flat = draw(st.lists(steps, min_size=2 * n, max_size=2 * n))
    scores = np.array(flat, np.float64).reshape(n, 2)
    scores /= max(scores.max(), 1.0)
    cheap = draw(st.lists(st.floats(0.001, 1), min_size=n, max_size=n))
    more = draw(st.lists(st.floats(0, 1), min_size=n, max_size=n))
    costs = np.stack([cheap, np.add(cheap, more)], axis=1)
    return round_scores(scores), costs


def every_limit(gains: np.ndarray, least: float) -> np.ndarray:
    """Returns all limits that make a difference, and both ends."""
    limits = np.concatenate([gains, [gains.min() - STEP, least]])
    return np.unique(np.round(limits[limits >= least - STEP / 2], 4))


# Costs are all equal; or one is higher, by less than numpy prints, which a target does not allow.
ONE_IS_BETTER = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
EQUAL_COSTS = np.ones((4, 2))
HARDLY_MORE = EQUAL_COSTS + np.array([[0.0], [0.0], [1.0], [0.0]]) * [0.0, 1e-10]


@example(pair=(ONE_IS_BETTER, EQUAL_COSTS), least=-1.0, kind="target_cost", at=0.0)
@example(pair=(ONE_IS_BETTER, HARDLY_MORE), least=-1.0, kind="target_cost", at=0.0)
@given(
    pair=pairs(),
    least=st.sampled_from([-1.0, 0.0]),
    kind=st.sampled_from(["strong_share", "target_cost", "target_score"]),
    # Not nearer to an end than the tolerance below.
    at=st.floats(0, 1).map(lambda share: round(share, 6)),
)
def test_the_limit_found_is_the_best_of_all(
    pair: tuple[np.ndarray, np.ndarray], least: float, kind: str, at: float
) -> None:
    scores, costs = pair
    sample = sample_of(scores, costs)
    gains = round_scores(scores[:, STRONG] - scores[:, WEAK])
    n = len(scores)

    def outcome(limit: float) -> tuple[float, float, float]:
        choice = np.where(gains > limit + STEP / 4, STRONG, WEAK)
        rows = np.arange(n)
        return (
            float((choice == STRONG).mean()),
            float(costs[rows, choice].mean()),
            float(scores[rows, choice].mean()),
        )

    results = np.array([outcome(limit) for limit in every_limit(gains, least)])
    column = ["strong_share", "target_cost", "target_score"].index(kind)
    low, high = results[:, column].min(), results[:, column].max()
    target = Target(kind, low + at * (high - low))  # type: ignore[arg-type]

    ends = np.full(n, STRONG), np.full(n, WEAK)
    limit = find_limit(sample, gains, ends, target, least)

    assert limit >= least
    share, cost, score = outcome(limit)
    if kind == "target_score":
        reached = results[results[:, 2] >= target.value - 1e-9]
        assert score >= target.value - 1e-9
        assert cost <= reached[:, 1].min() + 1e-9
    elif kind == "target_cost":
        # No further than the last bits of a sum: costs may differ by little more than that.
        reached = results[results[:, 1] <= target.value * (1.0 + 1e-13)]
        assert cost <= target.value * (1.0 + 2e-12)
        assert score >= reached[:, 2].max() - 1e-9
    else:
        reached = results[results[:, 0] <= target.value + 1e-9]
        assert share == pytest.approx(reached[:, 0].max())


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            Target("target_cost", 0.5),
            "--target-cost 0.5 is out of reach on these prompts; reachable mean costs in USD: 1 to",
        ),
        (Target("target_score", 0.9), "reachable mean scores: 0.2 to 0.6"),
    ],
)
def test_out_of_reach_says_the_range(target: Target, said: str) -> None:
    positions = Positions(
        shares=np.array([0.0, 1.0]),
        costs_usd=np.array([1.0, 2.0]),
        scores=np.array([0.2, 0.6]),
    )
    with pytest.raises(InfeasibleError) as refused:
        positions.best_for(target)
    assert said in str(refused.value)


def test_a_cost_just_below_the_least_is_out_of_reach_however_small_costs_are() -> None:
    positions = Positions(
        shares=np.array([0.0, 1.0]),
        costs_usd=np.array([1e-6, 1e-3]),
        scores=np.array([0.2, 0.6]),
    )
    with pytest.raises(InfeasibleError, match=r"costs in USD: 1e-06 to 0\.001"):
        positions.best_for(Target("target_cost", 1e-6 - 5e-13))
    assert positions.best_for(Target("target_cost", 1e-6)) == 0


def test_a_share_beyond_what_a_tolerance_can_give_is_out_of_reach() -> None:
    scores, costs = np.array([[0.9, 0.1], [0.1, 0.9]]), np.ones((2, 2))
    gains = round_scores(scores[:, STRONG] - scores[:, WEAK])
    ends = np.full(2, STRONG), np.full(2, WEAK)
    with pytest.raises(InfeasibleError, match=r"reachable shares: 0 to 0\.5"):
        find_limit(sample_of(scores, costs), gains, ends, Target("strong_share", 0.8), 0.0)
    assert find_limit(
        sample_of(scores, costs), gains, ends, Target("strong_share", 0.8), -1.0
    ) == pytest.approx(-0.8)


def test_what_is_achieved_has_standard_errors_and_counts_labels() -> None:
    scores, costs = np.array([[0.2], [0.4], [0.6]]), np.array([[1.0], [1.0], [4.0]])
    sample = sample_of(scores, costs, true_scores=np.array([[1.0], [np.nan], [0.0]]))
    found = Achieved.by(sample, np.zeros(3, np.intp))
    assert found.score.value == pytest.approx(0.4)
    assert found.cost_usd.se == pytest.approx(np.sqrt(3.0) / np.sqrt(3))
    assert found.true_score is not None
    assert (found.true_score.value, found.true_score.n) == (0.5, 2)
    assert found.true_cost_usd is None
    lines = found.lines(("only",))
    assert "labelled mean score: 0.5 (standard error 0.5) over 2 prompts" in lines
    assert lines[-1] == "shares: only 100.0%"
