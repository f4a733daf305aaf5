"""A batch's constraints become rows of the linear program; prompts get the prices of their rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from routoo.errors import InfeasibleError, InvalidRequestError
from routoo.routing.estimates import Estimates
from routoo.routing.joint import JointConstraints, JointSolution, solve_jointly
from routoo.routing.request import PromptRequest
from support.tiny_pool import tiny_pool

POOL = tiny_pool()
N = 12


def estimates(*, score_std: Any = None) -> Estimates:
    """Makes equal estimates for all prompts, of 100 tokens each.

    From small to large the models are more expensive, slower and better.
    """
    rows = np.ones((N, 1))
    return Estimates(
        scores=rows * [0.2, 0.5, 0.9],
        output_tokens=rows * [90.0, 90.0, 90.0],
        costs_usd=rows * [0.01, 0.1, 1.0],
        latencies_ms=rows * [100.0, 200.0, 300.0],
        input_tokens=np.full((N, 3), 10.0),
        score_std=score_std,
    )


def solved(figures: Estimates | None = None, **constraints: Any) -> JointSolution:
    requests = [
        PromptRequest("p", tenant="a" if at < 4 else "b" if at < 8 else "") for at in range(N)
    ]
    mask = np.ones((N, 3), bool)
    return solve_jointly(
        figures or estimates(), mask, JointConstraints(**constraints), requests, POOL
    )


def counts(solution: JointSolution) -> list[int]:
    return np.bincount(solution.choice, minlength=3).tolist()


def test_capacities_in_requests_and_in_tokens_are_kept_and_named() -> None:
    by_requests = solved(max_requests={"large": 5, "medium": 4})
    by_tokens = solved(max_tokens={"large": 550, "medium": 400})

    assert counts(by_requests) == counts(by_tokens) == [3, 4, 5]
    assert by_requests.binding == ("max_requests[large]", "max_requests[medium]")
    assert by_requests.shadow_price == 0.0
    # The tokens would still pay for half a prompt of the large model, which cannot be assigned.
    assert by_tokens.binding == ("max_tokens[large]", "max_tokens[medium]")
    assert by_tokens.gap > by_requests.gap == pytest.approx(0.0, abs=1e-12)


def test_mean_latency_is_kept() -> None:
    solution = solved(max_mean_latency_ms=200.0)

    assert (solution.choice + 1).mean() * 100.0 <= 200.0
    assert solution.binding == ("max_mean_latency_ms",)


def test_a_tenant_s_budget_counts_its_own_prompts_only() -> None:
    solution = solved(tenant_budgets_usd={"a": 0.4, "b": 5.0, "nobody": 0.0})

    assert solution.choice.tolist() == [1] * 4 + [2] * 8
    assert solution.binding == ("tenant_budgets_usd[a]",)
    assert list(solution.row_bindings) == [("tenant_budgets_usd[a]",)] * 4 + [()] * 8
    assert solution.shadow_price == 0.0
    assert (solution.row_prices[:4] > 0.0).all()
    assert (solution.row_prices[4:] == 0.0).all()


def test_the_empty_tenant_is_those_without_one() -> None:
    assert solved(tenant_budgets_usd={"": 0.04}).choice.tolist() == [2] * 8 + [0] * 4


def test_prices_of_the_batch_and_of_a_tenant_add_up() -> None:
    solution = solved(budget_usd=6.0, tenant_budgets_usd={"a": 0.04})

    assert solution.choice[:4].tolist() == [0] * 4
    assert solution.row_prices[5] == solution.shadow_price > 0.0
    assert solution.row_prices[0] > solution.shadow_price
    assert solution.row_bindings[5] == ("budget_usd",)
    assert solution.row_bindings[0] == ("budget_usd", "tenant_budgets_usd[a]")


@pytest.mark.parametrize(
    ("score_per_usd", "model"), [(0.0, 2), (0.4, 2), (0.5, 1), (3.0, 1), (4.0, 0)]
)
def test_a_price_makes_the_best_trade(score_per_usd: float, model: int) -> None:
    solution = solved(score_per_usd=score_per_usd)

    assert (solution.choice == model).all()
    assert solution.shadow_price == score_per_usd
    cell = estimates().scores[0, model] - score_per_usd * estimates().costs_usd[0, model]
    assert solution.bound == pytest.approx(cell)


def test_a_price_within_a_budget_adds_to_what_the_budget_is_worth() -> None:
    alone = solved(budget_usd=6.0)
    priced = solved(budget_usd=6.0, score_per_usd=0.2)

    assert priced.choice.tolist() == alone.choice.tolist()
    assert priced.shadow_price == pytest.approx(alone.shadow_price)


def test_a_floor_without_a_budget_costs_the_least_within_the_other_rows() -> None:
    free = solved(min_mean_score=0.5)
    capped = solved(min_mean_score=0.5, max_requests={"medium": 4})

    assert counts(free) == [0, 12, 0]
    assert counts(capped)[1] <= 4
    cost_usd = estimates().costs_usd[0] @ counts(capped)
    assert cost_usd >= capped.bound > estimates().costs_usd[0] @ counts(free)
    assert capped.shadow_price == pytest.approx(0.7 / 0.99, rel=1e-6)


def test_what_cannot_be_kept_names_the_field_and_the_amount() -> None:
    with pytest.raises(
        InfeasibleError,
        match=r"^tenant_budgets_usd\[a\] 0.03 is below the least possible 0.04; raise it by 0.01$",
    ):
        solved(tenant_budgets_usd={"a": 0.03, "b": 1.0})
    with pytest.raises(InfeasibleError, match=r"raise max_requests\[small\] by at least 3 or"):
        solved(max_requests={"small": 2, "medium": 3, "large": 4})


@pytest.mark.parametrize("kind", ["max_requests", "max_tokens"])
def test_a_capacity_of_a_model_that_is_not_there_names_the_field(kind: str) -> None:
    limits: Any = {kind: {"small": 1, "gpt-9": 2}}
    with pytest.raises(InvalidRequestError, match=f"^{kind}: unknown model 'gpt-9'; the pool has"):
        JointConstraints(**limits).check_names(POOL)


def test_scores_are_taken_with_care_when_asked() -> None:
    figures = estimates(score_std=np.ones((N, 1)) * [0.0, 0.0, 0.5])

    assert (solved(figures, budget_usd=100.0).choice == 2).all()
    careful = solved(figures, budget_usd=100.0, score_std_weight=1.0)
    assert (careful.choice == 1).all()
    assert careful.bound == pytest.approx(0.5)


def test_care_without_a_known_spread_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"^score_std_weight: the predictor in use does"):
        solved(budget_usd=100.0, score_std_weight=1.0)
