"""Signals and corrections, decisions to keep an answer, and plans with two cheap models."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from routoo.errors import InvalidRequestError
from routoo.selector.cascade import CLIP, CascadePlan, Correction, feature_of, judge
from routoo.selector.policies.base import Case
from routoo.selector.policies.cascade import Cascade
from routoo.selector.policies.lp import decide
from routoo.selector.reason import Reason

M = 4
figures = st.floats(0.02, 0.98).map(lambda value: round(value, 4))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A few prompts on four models, at a price that affects the choice."""
    n = draw(st.integers(1, 5))
    seed = draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    mask = rng.random((n, M)) < draw(st.sampled_from([0.6, 1.0]))
    return Case(
        scores=rng.uniform(0.05, 0.95, (n, M)).round(4),
        costs_usd=rng.uniform(0.0, 0.01, (n, M)),
        mask=mask,
        prices=rng.uniform(0.0, 200.0, n),
        max_quality_gaps=np.full(n, np.nan),
        tickets=np.arange(n),
    )


def a_plan(seed: int = 0, *, unknown: int | None = None) -> CascadePlan:
    rng = np.random.default_rng(seed)
    intercepts, slopes = rng.normal(0, 0.3, M), rng.uniform(0.2, 3.0, M)
    if unknown is not None:
        intercepts[unknown] = slopes[unknown] = np.nan
    return CascadePlan(0, 1, Correction(0.4, intercepts, slopes), (0.1, 0.4, 0.3))


@given(case=cases())
def test_an_answer_is_left_only_for_a_gain_that_is_worth_more_than_its_cost(case: Case) -> None:
    kept = np.zeros(len(case.scores), np.intp)

    found = judge(case.scores, case.costs_usd, case.mask, kept, case.prices)

    for row, chosen in enumerate(found.choice.tolist()):
        nets = {
            model: case.scores[row, model]
            - case.scores[row, 0]
            - case.prices[row] * case.costs_usd[row, model]
            for model in range(1, M)
            if case.mask[row, model]
        }
        best = max(nets.values(), default=0.0)
        if best > 0.0:
            assert nets[chosen] == best
            assert found.gains[row] == case.scores[row, chosen] - case.scores[row, 0]
            assert found.extra_usd[row] == case.costs_usd[row, chosen]
        else:
            assert (chosen, found.gains[row], found.extra_usd[row]) == (0, 0.0, 0.0)


def test_what_is_unknown_is_never_asked_and_what_is_at_hand_costs_nothing() -> None:
    scores = np.array([[0.3, np.nan, 0.31, 0.9]])
    costs = np.array([[0.1, 0.0, 0.0, 1.0]])
    mask = np.ones((1, M), np.bool_)
    kept = np.array([0])
    assert judge(scores, costs, mask, kept, 1e6).choice.tolist() == [2]
    assert judge(scores, costs, mask, kept, 0.1).choice.tolist() == [3]


def test_of_equal_gains_the_cheaper_model_is_asked() -> None:
    scores, costs = np.array([[0.1, 0.9, 0.9, 0.9]]), np.array([[0.0, 0.3, 0.1, 0.2]])
    mask = np.ones((1, M), np.bool_)
    assert judge(scores, costs, mask, np.array([0]), 0.0).choice.tolist() == [2]


@given(score=figures, intercept=st.floats(-2, 2), slope=st.floats(-3, 3), feature=st.floats(0, 1))
def test_a_correction_moves_the_log_odds(
    score: float, intercept: float, slope: float, feature: float
) -> None:
    correction = Correction(0.5, np.array([intercept, 0.0]), np.array([slope, 0.0]))
    moved, same = correction.apply(np.array([[score, score]]), np.array([feature]))[0]
    assert moved == pytest.approx(expit(logit(score) + intercept + slope * (feature - 0.5)))
    assert same == pytest.approx(score)


def test_certain_predictions_can_still_be_corrected() -> None:
    correction = Correction(0.0, np.zeros(2), np.full(2, -20.0))
    low = correction.apply(np.array([[0.0, 1.0]]), np.array([1.0]))[0]
    assert np.isfinite(low).all()
    assert low[1] < CLIP


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("agreement", 0.5, 0.5),
        ("margin", 1, 1.0),
        ("check", 0.5, 0.0),
        ("logprobs", [-1.0, -3.0], -2.0),
    ],
)
def test_features(kind: str, value: object, expected: float) -> None:
    assert feature_of(kind, value) == pytest.approx(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("agreement", 1.1),
        ("agreement", float("nan")),
        ("margin", -0.1),
        ("check", 2),
        ("logprobs", []),
        ("logprobs", [0.1]),
        ("logprobs", [float("-inf")]),
    ],
)
def test_signals_out_of_range_are_refused_by_name(kind: str, value: object) -> None:
    with pytest.raises(InvalidRequestError, match=f"^{kind}: "):
        feature_of(kind, value)  # type: ignore[arg-type]


@given(case=cases(), seed=st.integers(0, 1000), unknown=st.sampled_from([None, 2]))
def test_a_plan_is_worth_what_the_better_decision_gains_minus_what_the_pair_costs(
    case: Case, seed: int, unknown: int | None
) -> None:
    plan = a_plan(seed, unknown=unknown)

    worth = plan.worth(case.scores, case.costs_usd, case.mask, case.prices)

    for row in range(len(worth)):
        if not case.mask[row, :2].all():
            assert worth[row] == -np.inf
            continue
        models = [j for j in range(M) if case.mask[row, j] and j != unknown]
        odds = logit(case.scores[row])
        chance = expit(0.1 + 0.4 * odds[0] + 0.3 * odds[1])
        correction = plan.correction
        agree, differ = (
            {
                j: expit(odds[j] + correction.intercepts[j] + correction.slopes[j] * (seen - 0.4))
                for j in models
            }
            for seen in (1.0, 0.0)
        )
        money = {j: case.prices[row] * case.costs_usd[row, j] for j in range(M)}
        alone = max(chance * agree[j] + (1 - chance) * differ[j] - money[j] for j in models)
        later = {j: 0.0 if j < 2 else money[j] for j in models}
        after = chance * max(agree[j] - later[j] for j in models)
        after += (1 - chance) * max(differ[j] - later[j] for j in models)
        assert worth[row] == pytest.approx(after - money[0] - money[1] - alone)


@given(case=cases(), seed=st.integers(0, 1000))
def test_the_policy_begins_a_plan_where_it_is_worth_it_and_is_lp_elsewhere(
    case: Case, seed: int
) -> None:
    plan = a_plan(seed)
    policy = Cascade((plan,))

    choice = policy.choose(case)
    codes = policy.explain(case, choice)

    begun = plan.worth(case.scores, case.costs_usd, case.mask, case.prices) > 0.0
    alone = decide(case.scores, case.costs_usd, case.mask, case.prices)
    assert choice.tolist() == np.where(begun, 0, alone).tolist()
    assert ((codes == Reason.CASCADE) == begun).all()


def test_of_two_plans_the_better_one_begins() -> None:
    flat = Correction(0.5, np.zeros(M), np.zeros(M))
    useful = Correction(0.5, np.zeros(M), np.array([0.0, 0.0, 8.0, 0.0]))
    plans = (CascadePlan(0, 1, flat, (0.0, 0.0, 0.0)), CascadePlan(2, 1, useful, (0.0, 0.0, 0.0)))
    case = Case(
        scores=np.full((1, M), 0.5),
        costs_usd=np.array([[0.0, 0.0, 0.0, 0.001]]),
        mask=np.ones((1, M), np.bool_),
        prices=np.array([1.0]),
        max_quality_gaps=np.array([np.nan]),
        tickets=np.array([0]),
    )
    assert Cascade(plans).choose(case).tolist() == [2]
