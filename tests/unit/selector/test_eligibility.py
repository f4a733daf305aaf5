"""Masks narrow in order, and the constraint that removed the last model is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from routoo.selector.eligibility import Eligibility

FIGURES = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def test_nothing_applied_is_the_base() -> None:
    base = np.array([[True, False], [True, True]])

    eligibility = Eligibility(base)

    assert eligibility.mask.tolist() == base.tolist()
    assert eligibility.empty_rows.size == 0
    assert eligibility.removed_by(0) is None
    assert eligibility.describe(0) is None


def test_first_constraint_to_empty_a_row_is_the_one_named() -> None:
    eligibility = Eligibility(np.ones((2, 3), bool))

    eligibility.keep("allowed_models", np.array([True, True, False]))
    eligibility.at_most("max_cost_usd", FIGURES, np.array([2.0, 3.5]))
    eligibility.keep("required_capabilities", np.zeros((2, 1), bool))

    assert eligibility.mask.any() is np.False_
    assert eligibility.empty_rows.tolist() == [0, 1]
    assert eligibility.removed_by(0) == "required_capabilities"
    assert eligibility.describe(0) == "required_capabilities leaves no eligible model"
    assert eligibility.removed_by(1) == "max_cost_usd"
    assert eligibility.describe(1) == (
        "max_cost_usd 3.5 (raise it by 0.5 to admit one) leaves no eligible model"
    )


def test_floor_says_by_how_much_to_lower_it_among_the_models_still_left() -> None:
    eligibility = Eligibility(np.array([[True, True, False]]))

    eligibility.at_least("min_score", np.array([[0.5, 0.75, 0.9]]), np.array([1.0]))

    assert eligibility.describe(0) == (
        "min_score 1 (lower it by 0.25 to admit one) leaves no eligible model"
    )


def test_row_that_the_pool_leaves_empty_names_the_pool() -> None:
    eligibility = Eligibility(np.array([[False, False], [True, False]]))

    eligibility.keep("allowed_models", np.array([False, True]))

    assert eligibility.removed_by(0) == "pool"
    assert eligibility.removed_by(1) == "allowed_models"


@pytest.mark.parametrize("constraint", ["at_most", "at_least"])
def test_limits_that_no_row_sets_leave_the_very_same_mask(constraint: str) -> None:
    base = np.ones((2, 3), bool)
    eligibility = Eligibility(base)

    getattr(eligibility, constraint)("limit", FIGURES, np.full(2, np.nan))

    assert eligibility.mask is base


def test_base_is_not_written_to() -> None:
    base = np.ones((2, 3), bool)
    eligibility = Eligibility(base)

    eligibility.at_most("max_cost_usd", FIGURES, np.zeros(2))
    eligibility.at_least("min_score", FIGURES, np.full(2, 9.0))
    eligibility.keep("allowed_models", np.zeros(3, bool))

    assert base.all()


@given(data=st.data(), per_model=st.booleans())
def test_every_limit_holds_cell_by_cell(data: st.DataObject, *, per_model: bool) -> None:
    n, m = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    figure = st.integers(0, 6).map(float)
    limit = st.one_of(st.just(np.nan), figure)
    figures = data.draw(arrays(np.float64, (m,) if per_model else (n, m), elements=figure))
    most = data.draw(arrays(np.float64, n, elements=limit))
    least = data.draw(arrays(np.float64, n, elements=limit))
    eligibility = Eligibility(np.ones((n, m), bool))

    eligibility.at_most("most", figures, most)
    eligibility.at_least("least", figures, least)

    cells = np.broadcast_to(figures, (n, m))
    for row in range(n):
        under = [np.isnan(most[row]) or figure <= most[row] for figure in cells[row]]
        kept = [
            below and (np.isnan(least[row]) or figure >= least[row])
            for below, figure in zip(under, cells[row], strict=True)
        ]
        assert eligibility.mask[row].tolist() == kept
        expected = None if any(kept) else "least" if any(under) else "most"
        assert eligibility.removed_by(row) == expected
    assert eligibility.empty_rows.tolist() == np.flatnonzero(~eligibility.mask.any(1)).tolist()


@given(data=st.data())
def test_relaxing_a_limit_as_told_admits_a_model(data: st.DataObject) -> None:
    m = data.draw(st.integers(1, 4))
    costs = data.draw(arrays(np.float64, (1, m), elements=st.floats(1e-6, 1.0)))
    limit = float(costs.min()) * data.draw(st.floats(0.0, 0.99))
    eligibility = Eligibility(np.ones((1, m), bool))
    eligibility.at_most("max_cost_usd", costs, np.array([limit]))
    told = eligibility.describe(0)
    assert told is not None

    relaxed = limit + float(told.split("raise it by ")[1].split(" ")[0])
    again = Eligibility(np.ones((1, m), bool))
    again.at_most("max_cost_usd", costs, np.array([relaxed]))

    assert again.removed_by(0) is None
