"""The decision for a micro-batch: its rule, its ties, and its independence of other rows."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.errors import InvalidRequestError
from routoo.selector.policies.lp import decide, round_scores

PRICES = st.one_of(st.just(0.0), st.floats(1e-3, 1e7))


@given(data=st.data(), price=PRICES)
def test_choice_is_the_best_worth_then_the_cheapest_then_the_first(
    instances: st.SearchStrategy[Any], data: st.DataObject, price: float
) -> None:
    instance = data.draw(instances)

    choice = decide(instance.scores, instance.costs, instance.mask, price)

    for row, chosen in enumerate(choice):
        rank = [
            (-(round(score, 4) - price * cost), cost, model)
            for model, (score, cost, eligible) in enumerate(
                zip(instance.scores[row], instance.costs[row], instance.mask[row], strict=True)
            )
            if eligible
        ]
        assert chosen == min(rank)[2]


@given(data=st.data(), price=PRICES)
def test_choice_does_not_depend_on_the_batch(
    instances: st.SearchStrategy[Any], data: st.DataObject, price: float
) -> None:
    instance = data.draw(instances)
    n, m = instance.scores.shape
    usage = data.draw(st.sampled_from([instance.costs * 3.0, np.linspace(0.0, 1.0, m)]))
    order = np.array(data.draw(st.permutations(range(n))))

    def choose(rows: Any) -> Any:
        part = usage[rows] if usage.ndim == 2 else usage
        return decide(
            instance.scores[rows],
            instance.costs[rows],
            instance.mask[rows],
            price,
            other_rows=[(0.1, part)],
        )

    together = choose(np.arange(n))
    assert choose(order).tolist() == together[order].tolist()
    assert [choose([row])[0] for row in range(n)] == together.tolist()


def test_noise_below_the_rounding_changes_nothing() -> None:
    rng = np.random.default_rng(5)
    scores = np.round(rng.random((64, 12)), 4)
    costs, mask = rng.random((64, 12)), rng.random((64, 12)) < 0.8
    mask[:, 0] = True

    noisy = scores + rng.uniform(-4e-5, 4e-5, scores.shape)

    assert decide(noisy, costs, mask, 0.5).tolist() == decide(scores, costs, mask, 0.5).tolist()


def test_float32_scores_decide_like_their_float64_roundings() -> None:
    rng = np.random.default_rng(6)
    scores = np.round(rng.random((64, 12)), 4)
    costs, mask = rng.random((64, 12)), np.ones((64, 12), bool)

    single = decide(scores.astype(np.float32), costs, mask, 0.5)

    assert single.tolist() == decide(scores, costs, mask, 0.5).tolist()


@given(st.floats(-1.0, 2.0))
def test_rounding_twice_is_rounding_once(score: float) -> None:
    once = round_scores(np.array([[score]]))

    assert once[0, 0] == pytest.approx(score, abs=5.0001e-5)
    assert round_scores(once).tolist() == once.tolist()


def test_further_rows_are_priced() -> None:
    scores, costs = np.array([[0.5, 0.9]]), np.zeros((1, 2))
    capped = np.array([0.0, 1.0])
    mask = np.ones((1, 2), bool)

    assert decide(scores, costs, mask, 0.0).tolist() == [1]
    assert decide(scores, costs, mask, 0.0, other_rows=[(0.41, capped)]).tolist() == [0]
    assert decide(scores, costs, mask, 0.0, other_rows=[(0.39, capped[None, :])]).tolist() == [1]


def test_row_without_a_model_is_marked_and_hurts_no_other() -> None:
    scores, costs = np.full((3, 2), np.nan), np.full((3, 2), np.nan)
    scores[::2], costs[::2] = [[0.1, 0.2]], [[1.0, 1.0]]
    mask = np.array([[True, True], [False, False], [True, False]])

    assert decide(scores, costs, mask, 0.0).tolist() == [1, -1, 0]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("field", ["scores", "costs"])
def test_figures_that_are_not_finite_name_their_row(field: str, wrong: float) -> None:
    figures = {"scores": np.full((3, 2), 0.5), "costs": np.full((3, 2), 0.5)}
    figures[field][2, :] = wrong

    with pytest.raises(InvalidRequestError, match="not finite in row 2"):
        decide(figures["scores"], figures["costs"], np.ones((3, 2), bool), 1.0)
