"""Every policy: its rule, its respect for the mask, and its independence of other rows."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from routoo.selector.arrays import IndexArray
from routoo.selector.cascade import CascadePlan, Correction
from routoo.selector.policies.base import Case, Policy
from routoo.selector.policies.best import Best
from routoo.selector.policies.cascade import Cascade
from routoo.selector.policies.cheapest import Cheapest
from routoo.selector.policies.fixed import Fixed
from routoo.selector.policies.guarantee import Guarantee
from routoo.selector.policies.lp import Lp
from routoo.selector.policies.quality_gap import QualityGap
from routoo.selector.policies.round_robin import RoundRobin
from routoo.selector.policies.threshold import Threshold
from routoo.selector.reason import Reason

NAMES = (
    "lp",
    "threshold",
    "quality_gap",
    "cheapest",
    "best",
    "fixed",
    "round_robin",
    "guarantee",
    "cascade",
)


def policies_of(draw: st.DrawFn, m: int) -> dict[str, Policy]:
    """Each policy with settings that fit m models."""
    columns = st.integers(0, m - 1)
    ring = draw(st.lists(columns, min_size=1, max_size=4))
    limit = draw(st.sampled_from([0.0, 0.05, 0.2, 1.0]))
    pair = (draw(columns), draw(columns))
    correction = Correction(0.5, np.zeros(m), np.linspace(2.0, 0.0, m))
    return {
        "lp": Lp(),
        "threshold": Threshold(*pair, limit - 0.1),
        "quality_gap": QualityGap(*pair, limit),
        "cheapest": Cheapest(),
        "best": Best(),
        "fixed": Fixed(draw(columns)),
        "round_robin": RoundRobin(tuple(ring)),
        "guarantee": Guarantee(draw(st.sampled_from([0.0, 1.0, 100.0]))),
        "cascade": Cascade((CascadePlan(*pair, correction, (0.0, 0.5, 0.5)),)),
    }


@st.composite
def cases(draw: st.DrawFn, instances: st.SearchStrategy[Any]) -> tuple[Case, dict[str, Policy]]:
    """A case with ties, closed cells that hold NaN, and perhaps rows without any model."""
    instance = draw(instances)
    n, m = instance.scores.shape
    mask = instance.mask
    if draw(st.booleans()):
        mask = mask & draw(arrays(np.bool_, (n, 1)))
    price = st.one_of(st.just(0.0), st.floats(1e-3, 1e7))
    gap = st.one_of(st.just(np.nan), st.sampled_from([0.0, 0.2, 1.0]))
    charges = arrays(np.float64, (n, m), elements=st.sampled_from([0.0, 0.25, 3.0]))
    case = Case(
        scores=instance.scores,
        costs_usd=instance.costs,
        mask=mask,
        prices=draw(arrays(np.float64, n, elements=price)),
        max_quality_gaps=draw(arrays(np.float64, n, elements=gap)),
        tickets=np.arange(n, dtype=np.int64) + draw(st.integers(1, 2**40)),
        charges=draw(st.none() | charges),
    )
    return case, policies_of(draw, m)


def rows_of(case: Case, rows: Sequence[int]) -> Case:
    whole = (getattr(case, field.name) for field in fields(Case))
    return Case(*(None if one is None else one[list(rows)] for one in whole))


def case_of(
    scores: Sequence[Sequence[float]], costs_usd: Sequence[float] = (1.0, 2.0, 3.0), **given: Any
) -> Case:
    """Rows of three models, no price, everything eligible unless given."""
    n = len(scores)
    values: dict[str, Any] = {
        "costs_usd": np.tile(np.array(costs_usd), (n, 1)),
        "mask": np.ones((n, 3), np.bool_),
        "prices": np.zeros(n),
        "max_quality_gaps": np.full(n, np.nan),
        "tickets": np.arange(n, dtype=np.int64),
    }
    return Case(scores=np.array(scores), **{**values, **given})


def told(policy: Policy, case: Case) -> list[tuple[int, str]]:
    choice = policy.choose(case)
    reasons = policy.explain(case, choice)
    return [
        (one, Reason(reason).name) for one, reason in zip(choice.tolist(), reasons, strict=True)
    ]


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_no_policy_leaves_the_mask(
    instances: st.SearchStrategy[Any], name: str, data: st.DataObject
) -> None:
    case, policies = data.draw(cases(instances))
    choice = policies[name].choose(case)
    reasons = policies[name].explain(case, choice)
    for row, (chosen, reason) in enumerate(zip(choice.tolist(), reasons.tolist(), strict=True)):
        left = int(case.mask[row].sum())
        if left == 0:
            assert (chosen, reason) == (-1, Reason.NONE_ELIGIBLE)
        else:
            assert case.mask[row, chosen]
            assert (reason == Reason.ONLY_ELIGIBLE) == (left == 1)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_rows_choice_depends_on_its_row_alone(
    instances: st.SearchStrategy[Any], name: str, data: st.DataObject
) -> None:
    case, policies = data.draw(cases(instances))
    policy = policies[name]
    order = data.draw(st.permutations(range(len(case.prices))))

    def choose(rows: Sequence[int]) -> IndexArray:
        return policy.choose(rows_of(case, rows))

    together = policy.choose(case)
    assert choose(order).tolist() == together[order].tolist()
    assert [choose([row])[0] for row in range(len(together))] == together.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_policies_go_by_their_names(name: str) -> None:
    policies: list[Policy] = [Lp(), Cheapest(), Best(), Fixed(0), RoundRobin((0,))]
    policies += [Threshold(0, 1, 0.1), QualityGap(0, 1, 0.1), Guarantee(1.0), Cascade(())]
    assert [one.name for one in policies].count(name) == 1


def test_a_guarantee_keeps_its_price_whatever_the_budgets_say() -> None:
    case = case_of([[0.5, 0.6, 0.9]] * 2, prices=np.array([0.0, 9.0]))
    assert told(Guarantee(0.15), case) == [(2, "GUARANTEE"), (2, "GUARANTEE")]
    assert told(Guarantee(9.0), case) == [(0, "GUARANTEE"), (0, "GUARANTEE")]


def test_lp_pays_each_rows_own_price() -> None:
    case = case_of([[0.5, 0.6, 0.9]] * 3, prices=np.array([0.0, 0.15, 9.0]))
    assert told(Lp(), case) == [(2, "BEST_SCORE"), (2, "BEST_SCORE"), (0, "PRICE")]


def test_threshold_takes_the_strong_model_above_its_threshold_only() -> None:
    # 0.7 - 0.58 is slightly above 0.12 in binary.
    case = case_of([[0.58, 0.0, 0.7], [0.5798, 0.0, 0.7], [0.9, 1.0, 0.1]])
    assert told(Threshold(strong=2, weak=0, threshold=0.12), case) == [
        (0, "THRESHOLD"),
        (2, "THRESHOLD"),
        (0, "THRESHOLD"),
    ]


def test_quality_gap_takes_the_small_model_within_the_rows_tolerance() -> None:
    case = case_of([[0.6, 0.0, 0.7]] * 3, max_quality_gaps=np.array([np.nan, 0.1, 0.2]))
    assert told(QualityGap(small=0, large=2, tolerance=0.05), case) == [
        (2, "QUALITY_GAP"),
        (0, "QUALITY_GAP"),
        (0, "QUALITY_GAP"),
    ]


@pytest.mark.parametrize("policy", [Threshold(2, 0, 0.1), QualityGap(0, 2, 0.1)])
def test_a_pair_falls_back_to_its_other_model_then_to_the_price(policy: Policy) -> None:
    mask = np.array([[True, True, False], [False, True, False], [False, False, False]])
    case = case_of([[0.1, 0.5, 0.9]] * 3, mask=mask)
    assert told(policy, case) == [(0, "FALLBACK"), (1, "ONLY_ELIGIBLE"), (-1, "NONE_ELIGIBLE")]


def test_fixed_falls_back_to_the_price() -> None:
    mask = np.array([[True, True, True], [True, True, False], [True, True, False]])
    case = case_of([[0.4, 0.5, 0.9]] * 3, mask=mask, prices=np.array([9.0, 0.0, 9.0]))
    assert told(Fixed(2), case) == [(2, "FIXED"), (1, "FALLBACK"), (0, "FALLBACK")]


def test_cheapest_and_best_are_the_two_ends() -> None:
    case = case_of([[0.5, 0.9, 0.9], [0.5, 0.6, 0.9]], costs_usd=(1.0, 1.0, 3.0))
    assert told(Cheapest(), case) == [(1, "CHEAPEST"), (1, "CHEAPEST")]
    assert told(Best(), case) == [(1, "BEST_SCORE"), (2, "BEST_SCORE")]


def test_round_robin_takes_turns_and_passes_a_turn_on() -> None:
    mask = np.ones((5, 3), np.bool_)
    mask[1, 0] = False
    mask[4] = [False, True, True]
    case = case_of([[0.5, 0.6, 0.9]] * 5, mask=mask)
    assert told(RoundRobin((2, 0)), case) == [
        (2, "ROUND_ROBIN"),
        (2, "ROUND_ROBIN"),
        (2, "ROUND_ROBIN"),
        (0, "ROUND_ROBIN"),
        (2, "ROUND_ROBIN"),
    ]
    assert told(RoundRobin((0,)), case)[4] == (2, "FALLBACK")
