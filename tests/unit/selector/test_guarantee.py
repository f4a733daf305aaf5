"""The guarantee's p-values: valid for every number of labels, and strong enough to be of use."""

from math import lgamma

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.errors import InvalidRequestError
from routoo.selector.guarantee import (
    WAGERS,
    Promise,
    betting_p_values,
    binary_p_values,
    labels_needed,
    last_proven,
    log_wealth,
    p_values,
)

RESAMPLES = 500


def every_count(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns all counts (worse, better) that are possible with n prompts."""
    worse, better = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    possible = worse + better <= n
    return worse[possible], better[possible]


def chances(worse: np.ndarray, better: np.ndarray, n: int, w: float, b: float) -> np.ndarray:
    """Returns each count's chance when a prompt is worse with chance w and better with chance b."""
    log_factorial = np.array([lgamma(k + 1) for k in range(n + 1)])
    same = n - worse - better
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = [
            np.where(count == 0, 0.0, count * np.log(rate))
            for count, rate in ((worse, w), (better, b), (same, max(1.0 - w - b, 0.0)))
        ]
    ways = log_factorial[n] - log_factorial[worse] - log_factorial[better] - log_factorial[same]
    return np.asarray(np.exp(ways + sum(logs)))


@given(
    n=st.integers(1, 60),
    max_drop=st.floats(0.01, 0.5),
    alpha=st.floats(0.01, 0.3),
    better=st.floats(0.0, 1.0),
)
def test_exact_test_proves_a_broken_promise_with_a_chance_of_at_most_alpha(
    n: int, max_drop: float, alpha: float, better: float
) -> None:
    better_rate = better * (1.0 - max_drop) / 2.0
    worse, better_counts = every_count(n)
    p = binary_p_values(worse, better_counts, n, Promise(max_drop, alpha))
    # The drop is exactly max_drop: the broken promise that is nearest to a kept one.
    chance = chances(worse, better_counts, n, better_rate + max_drop, better_rate)
    assert chance.sum() == pytest.approx(1.0)
    assert chance[p <= alpha].sum() <= alpha + 1e-9


@given(n=st.integers(1, 9), max_drop=st.floats(0.01, 0.6), better=st.floats(0.0, 1.0))
def test_wealth_of_the_bettor_does_not_grow_under_the_null(
    n: int, max_drop: float, better: float
) -> None:
    better_rate = better * (1.0 - max_drop) / 2.0
    worse, better_counts = every_count(n)
    chance = chances(worse, better_counts, n, better_rate + max_drop, better_rate)
    rows = [
        [-1.0] * w + [1.0] * b + [0.0] * (n - w - b)
        for w, b in zip(worse, better_counts, strict=True)
    ]
    wealth = np.exp(log_wealth(np.array(rows).T, max_drop)[-1])
    assert chance @ wealth == pytest.approx(1.0)


def test_betting_p_values_hold_for_scores_that_are_fractions() -> None:
    rng = np.random.default_rng(3)
    # Mean exactly -0.05: the promise of 0.05 is at its edge.
    differences = rng.choice([-0.5, 0.0, 0.25], p=[0.2, 0.6, 0.2], size=(300, 2000))
    p = betting_p_values(differences, 0.05)
    assert (p <= 0.1).mean() <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 2000)
    proven = betting_p_values(differences[:, :50] + 0.05, 0.05)
    assert (proven <= 0.1).mean() > 0.5


def test_exact_test_is_taken_for_zeros_and_ones_and_needs_fewer_labels() -> None:
    rng = np.random.default_rng(5)
    differences = rng.choice([-1.0, 0.0, 1.0], p=[0.05, 0.9, 0.05], size=(1500, 1))
    promise = Promise(0.03, 0.05)
    exact = p_values(differences, promise)
    assert exact == binary_p_values(
        (differences < 0).sum(axis=0), (differences > 0).sum(axis=0), 1500, promise
    )
    assert exact < betting_p_values(differences, 0.03)
    halves = differences / 2.0
    assert p_values(halves, promise) == betting_p_values(halves, 0.03)


def test_p_values_fall_as_the_policy_does_better() -> None:
    n, promise = 200, Promise(0.05, 0.05)
    worse = np.arange(40)
    p = binary_p_values(worse, 40 - worse, n, promise)
    assert (np.diff(p) >= 0).all()


def test_a_policy_that_is_the_reference_is_proven_once_a_drop_would_have_shown() -> None:
    promise = Promise(0.01, 0.05)
    nothing = np.array([0])
    # 0.99 ** n has to fall below a tenth of alpha before agreement alone proves anything.
    assert binary_p_values(nothing, nothing, 500, promise) > 0.05
    assert binary_p_values(nothing, nothing, 530, promise) <= 0.05


def test_fixed_sequence_stops_at_the_first_failure() -> None:
    p = np.array([[0.01, 0.02, 0.2, 0.001], [0.3, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert last_proven(p, 0.05).tolist() == [1, -1, 3]


def test_number_of_labels_named_proves_four_times_in_five() -> None:
    rng = np.random.default_rng(11)
    rates, promise = [0.03, 0.94, 0.03], Promise(0.02, 0.05)
    observed = np.repeat([-1.0, 0.0, 1.0], [3, 94, 3])
    needed = labels_needed(observed, promise)
    assert needed is not None
    drawn = rng.multinomial(needed, rates, size=RESAMPLES)
    p = binary_p_values(drawn[:, 0], drawn[:, 2], needed, promise)
    assert (p <= promise.alpha).mean() == pytest.approx(0.8, abs=0.06)


def test_no_number_of_labels_is_named_where_the_drop_is_too_large() -> None:
    promise = Promise(0.02, 0.05)
    assert labels_needed(np.array([-1.0, 0.0, 0.0]), promise) is None
    assert labels_needed(np.array([-0.5, 0.0, 0.0]), promise) is None


def test_number_of_labels_for_fractions_is_about_what_betting_takes() -> None:
    rng = np.random.default_rng(13)
    promise = Promise(0.05, 0.05)
    values, rates = [-0.5, 0.0, 0.5], [0.05, 0.9, 0.05]
    observed = rng.choice(values, p=rates, size=2000)
    observed = observed - observed.mean()
    needed = labels_needed(observed, promise)
    assert needed is not None
    draws = rng.choice(values, p=rates, size=(needed, 200))
    assert 0.6 < (betting_p_values(draws, 0.05) <= 0.05).mean() < 0.97


def test_coverage_over_resamples_of_a_population_with_known_truth() -> None:
    """The promise is broken in at most 5 % of resamples, and cheaper settings are chosen."""
    rng = np.random.default_rng(17)
    people, settings, labels = 4_000, 25, 3_000
    promise = Promise(0.02, 0.05)
    # Settings differ from the reference in ever more prompts, and lose ever more on them; several
    # lie just beyond the promise, where a false proof is likeliest.
    share = np.linspace(0.02, 0.2, settings)
    loss = np.linspace(-0.1, 0.25, settings)
    differs = rng.random((people, 1)) < share
    differences = np.where(
        differs, np.where(rng.random((people, settings)) < (1 + loss) / 2, -1.0, 1.0), 0.0
    )
    drops = -differences.mean(axis=0)
    assert (drops > promise.max_drop).any()
    weights = rng.multinomial(labels, np.full(people, 1 / people), size=RESAMPLES)
    worse, better = weights @ (differences < 0), weights @ (differences > 0)
    chosen = last_proven(binary_p_values(worse, better, labels, promise), promise.alpha)
    broken = (chosen >= 0) & (drops[chosen] > promise.max_drop)
    assert broken.mean() <= promise.alpha + 2 * np.sqrt(0.05 * 0.95 / RESAMPLES)
    # Of use: most resamples prove a setting well on the way to the cheapest.
    assert (chosen >= 5).mean() > 0.8


def test_coverage_where_the_very_first_setting_breaks_the_promise_by_a_hair() -> None:
    rng = np.random.default_rng(19)
    promise = Promise(0.02, 0.05)
    drawn = rng.multinomial(3_000, [0.0705, 0.8795, 0.05], size=RESAMPLES)
    proven = binary_p_values(drawn[:, 0], drawn[:, 2], 3_000, promise) <= promise.alpha
    assert proven.mean() <= promise.alpha + 2 * np.sqrt(0.05 * 0.95 / RESAMPLES)
    assert proven.mean() > 0.01


@pytest.mark.parametrize(("max_drop", "alpha"), [(0.0, 0.05), (1.0, 0.05), (0.1, 0.0), (0.1, 0.5)])
def test_promises_that_promise_nothing_are_refused(max_drop: float, alpha: float) -> None:
    with pytest.raises(InvalidRequestError):
        Promise(max_drop, alpha)


@pytest.mark.parametrize("differences", [np.empty((0, 1)), [[1.5]], [[np.nan]]])
def test_differences_that_are_none_are_refused(differences: np.ndarray) -> None:
    with pytest.raises(InvalidRequestError):
        p_values(np.array(differences), Promise(0.1, 0.05))


def test_wagers_cannot_ruin() -> None:
    assert (WAGERS < 1.0).all()
    assert np.isfinite(log_wealth(np.full((5, 1), -1.0), 0.1)).all()
