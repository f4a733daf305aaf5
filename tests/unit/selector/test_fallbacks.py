"""The columns to ask next: other providers first, then the best at the price."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.selector.fallbacks import fallbacks_of, kinship, mask_left

PROVIDERS = ("a", "a", "a", "b", "b", "c")
MODELS = ("a/1", "a/1", "a/2", "b/1", "b/2", "c/1")
NEAR = kinship(PROVIDERS, MODELS)
M = len(MODELS)


def kin(one: int, other: int) -> int:
    if one == other:
        return 3
    if MODELS[one] == MODELS[other]:
        return 2
    return int(PROVIDERS[one] == PROVIDERS[other])


def test_how_near_columns_are() -> None:
    assert NEAR[:-1].tolist() == [[kin(i, j) for j in range(M)] for i in range(M)]


# Few values, so that many tie.
values = st.sampled_from([0.0, 0.25, 0.5, 1.0])


@given(
    n=st.integers(1, 5),
    count=st.integers(1, 7),
    data=st.data(),
)
def test_fallbacks_are_those_of_a_sort_of_each_row(n: int, count: int, data: st.DataObject) -> None:
    def drawn(strategy: st.SearchStrategy[object], *shape: int) -> np.ndarray:
        size = int(np.prod(shape))
        return np.array(data.draw(st.lists(strategy, min_size=size, max_size=size))).reshape(shape)

    scores, costs = drawn(values, n, M), drawn(values, n, M)
    mask, prices = drawn(st.booleans(), n, M), drawn(values, n)
    choice = drawn(st.integers(-1, M - 1), n)
    found = fallbacks_of(scores, costs, mask, prices, choice, NEAR, count)
    assert found.shape == (n, min(count, M))
    for row in range(n):
        chosen = int(choice[row])
        left = [one for one in range(M) if mask[row, one] and one != chosen and chosen >= 0]
        left.sort(
            key=lambda one, row=row, chosen=chosen: (
                kin(chosen, one),
                prices[row] * costs[row, one] - scores[row, one],
                costs[row, one],
                one,
            )
        )
        wanted = (left + [-1] * M)[: min(count, M)]
        assert found[row].tolist() == wanted
        at = slice(row, row + 1)
        alone = fallbacks_of(scores[at], costs[at], mask[at], prices[at], choice[at], NEAR, count)
        assert alone[0].tolist() == wanted


def test_figures_of_other_cells_are_not_used() -> None:
    scores = np.array([[0.5, np.nan, np.inf, 0.25, 0.5, -np.inf]])
    mask = np.array([[True, False, False, True, True, False]])
    found = fallbacks_of(scores, np.zeros((1, M)), mask, np.zeros(1), np.array([0]), NEAR, 3)
    assert found.tolist() == [[4, 3, -1]]


@pytest.mark.parametrize(
    ("limit_usd", "second", "left"),
    [
        (np.inf, -1, [1, 1, 1]),
        (2.0, -1, [1, 1, 0]),
        (0.5, -1, [0, 0, 0]),
        (2.0, 1, [1, 0, 0]),
    ],
)
def test_what_is_not_covered_or_asked_in_any_case_is_no_fallback(
    limit_usd: float, second: int, left: list[int]
) -> None:
    mask, costs = np.ones((1, 3), np.bool_), np.array([[1.0, 2.0, 3.0]])
    found = mask_left(mask, costs, np.array([limit_usd]), np.array([second]))
    assert found.tolist() == [list(map(bool, left))]
    assert mask.all()  # is not written to
