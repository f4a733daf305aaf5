"""Draws: what may stand in for the best model, how often, and with what odds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from routoo.selector.exploring.draws import draw, draws, start_of
from routoo.selector.exploring.exploration import Exploration, drawn, probabilities
from routoo.selector.policies.base import Case
from routoo.selector.policies.lp import Lp

MOST = 0.01


def random_case(n: int, m: int, seed: int, **more: Any) -> tuple[Case, np.ndarray]:
    """Returns n requests on m models, and the standard deviations of their scores."""
    random = np.random.default_rng(seed)
    case = Case(
        scores=np.round(random.uniform(0.3, 0.9, (n, m)), 4),
        costs_usd=10.0 ** random.uniform(-5.0, -2.0, (n, m)),
        mask=random.uniform(size=(n, m)) < 0.8,
        prices=np.full(n, 20.0),
        max_quality_gaps=np.full(n, np.nan),
        tickets=np.arange(1, n + 1, dtype=np.int64),
        **more,
    )
    return case, random.uniform(0.01, 0.1, (n, m)).astype(np.float32).astype(np.float64)


def explored(
    case: Case, stds: np.ndarray, share: Any = 0.02, rule: Exploration | None = None
) -> Any:
    rule = rule or Exploration(floor=0.8, seed=7)
    best = Lp().choose(case)
    others = rule.others(case, best, stds, np.full(len(best), MOST))
    uniforms = rule.uniforms(["p"] * len(best), case.tickets)
    return best, others, drawn(case, best, others, stds, np.full(len(best), share), uniforms)


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_one_draw_is_that_of_many(seed: int) -> None:
    start = start_of(seed, "share", "ab12")
    tickets = np.arange(1, 2000, dtype=np.int64)
    found = draws(start, tickets)
    assert found.tolist() == [draw(start, ticket) for ticket in tickets.tolist()]
    assert ((found >= 0.0) & (found < 1.0)).all()
    assert start != start_of(seed, "model", "ab12") != start_of(seed, "model", "ab13")


def test_draws_are_even_and_those_of_two_uses_are_not_related() -> None:
    tickets = np.arange(1, 100_001, dtype=np.int64)
    one, other = (draws(start_of(3, use, "x"), tickets) for use in ("share", "model"))
    cells = np.histogram2d(one, other, bins=20, range=((0, 1), (0, 1)))[0]
    expected = len(tickets) / cells.size
    assert ((cells - expected) ** 2 / expected).sum() < chi2.ppf(0.99, cells.size - 1)
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.01


@given(st.integers(0, 10_000), st.floats(0.0, 1.0), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_others_keep_to_the_mask_the_floor_and_the_money(seed: int, floor: float, m: int) -> None:
    case, stds = random_case(40, m, seed)
    rule = Exploration(floor, 0)
    best = Lp().choose(case)
    others = rule.others(case, best, stds, np.full(40, MOST))
    rows, columns = np.nonzero(others)
    assert case.mask[rows, columns].all()
    assert (columns != best[rows]).all()
    assert (case.scores[rows, columns] >= floor * case.scores[rows, best[rows]] - 1e-9).all()
    extra = case.costs_usd[rows, columns] - case.costs_usd[rows, best[rows]]
    assert (extra <= MOST).all()
    assert not others[best < 0].any()
    for row in range(40):
        assert rule.has_other(case, row, int(best[row]), stds, MOST) == others[row].any()


def test_a_model_of_unknown_deviation_is_not_drawn() -> None:
    case, stds = random_case(200, 4, 3)
    stds[:, 1] = np.nan
    _, others, found = explored(case, stds, share=0.5)
    assert not others[:, 1].any()
    assert found.drawn.any()
    assert not (found.choice[found.drawn] == 1).any()


def test_propensities_are_those_of_the_whole_policy() -> None:
    case, stds = random_case(3000, 6, 4)
    best, others, found = explored(case, stds, share=0.3)
    could = others.any(axis=1)
    assert (found.propensity[~could] == 1.0).all()
    kept = could & ~found.drawn
    assert (found.propensity[kept] == 0.7).all()
    assert (found.choice[~found.drawn] == best[~found.drawn]).all()
    rows = np.flatnonzero(found.drawn)
    odds = probabilities(case, rows, others, stds)
    np.testing.assert_array_equal(
        found.propensity[rows], 0.3 * odds[np.arange(len(rows)), found.choice[rows]]
    )
    assert others[rows, found.choice[rows]].all()


def test_requests_are_explored_more_often_while_a_model_is_unknown() -> None:
    case, stds = random_case(2000, 5, 5)
    plain = stds.copy()
    plain[:, 2] = 0.3
    rule = Exploration(0.8, 7, unknown_times=10.0, unknown_above=0.1, known_below=0.05)
    _, others, _ = explored(case, stds, rule=rule)
    shares = rule.shares(others, stds, plain, 0.02)
    expected = np.where(others[:, 2] & (stds[:, 2] > 0.05), 0.02 * 10.0, 0.02)
    np.testing.assert_array_equal(shares, expected)
    assert set(shares.tolist()) == {0.02, 0.2}
    # What the predictor knows, and what reports have taught, is explored as ever.
    assert (rule.shares(others, stds, None, 0.02) == 0.02).all()
    assert (rule.shares(others, np.minimum(stds, 0.05), plain, 0.02) == 0.02).all()
    assert (Exploration(0.8, 7).shares(others, plain, None, 0.02) == 0.02).all()


def test_charges_of_limits_count_in_the_odds() -> None:
    case, _ = random_case(1, 3, 8)
    free = Case(
        np.array([[0.8, 0.8, 0.8]]),
        np.zeros((1, 3)),
        np.ones((1, 3), np.bool_),
        case.prices,
        case.max_quality_gaps,
        case.tickets,
    )
    others = np.array([[False, True, True]])
    rows = np.array([0])
    even = probabilities(free, rows, others, np.full((1, 3), 0.05))
    np.testing.assert_allclose(even, [[0.0, 0.5, 0.5]])
    charged = Case(
        free.scores,
        free.costs_usd,
        free.mask,
        free.prices,
        free.max_quality_gaps,
        free.tickets,
        charges=np.array([[0.0, 0.0, 0.2]]),
    )
    assert probabilities(charged, rows, others, np.full((1, 3), 0.05))[0, 1] > 0.99


def chi_square(case: Case, stds: np.ndarray, share: Any) -> tuple[float, float]:
    """Returns the statistic of choices against their probabilities, and its 99 % bound.

    Cells are of a model and a twentieth of its probability, so that it is not the sum over prompts
    alone that has to be right.
    """
    best, others, found = explored(case, stds, share=share)
    could = np.flatnonzero(others.any(axis=1))
    shares = np.broadcast_to(share, len(best))[could]
    odds = shares[:, None] * probabilities(case, could, others, stds)
    odds[np.arange(len(could)), best[could]] += 1.0 - shares
    cell = np.minimum((odds * 20.0).astype(int), 19) + 20 * np.arange(odds.shape[1])
    chosen = np.zeros_like(odds)
    chosen[np.arange(len(could)), found.choice[could]] = 1.0
    seen, expected, variance = (
        np.bincount(cell.ravel(), weights=one.ravel(), minlength=20 * odds.shape[1])
        for one in (chosen, odds, odds * (1.0 - odds))
    )
    kept = expected >= 10.0
    statistic = ((seen - expected)[kept] ** 2 / np.maximum(variance[kept], 1e-9)).sum()
    return float(statistic), float(chi2.ppf(0.99, kept.sum()))


def test_choices_follow_their_propensities() -> None:
    case, stds = random_case(8_000, 5, 11)
    statistic, bound = chi_square(case, stds, share=0.4)
    assert statistic < bound


def test_choices_follow_their_propensities_where_shares_differ() -> None:
    case, stds = random_case(8_000, 5, 12)
    statistic, bound = chi_square(case, stds, share=np.where(np.arange(8_000) % 3, 0.02, 0.4))
    assert statistic < bound
