"""Many prompts decided together: the linear program over a whole batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from routoo.errors import InvalidRequestError
from routoo.routing.arms.limits_left import LimitLeft, limit_resources
from routoo.routing.money.rows import BudgetLeft, MoneyRows, spent_prompts
from routoo.selector.lp.frontier import frontier
from routoo.selector.lp.problem import (
    Objective,
    Problem,
    Resource,
    capacity,
    mean_latency,
    token_capacity,
)
from routoo.selector.lp.solve import solve
from routoo.selector.policies.cheapest import cheapest_of
from routoo.selector.policies.lp import round_scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from routoo.routing.estimates import Estimates
    from routoo.routing.pool import Pool
    from routoo.routing.request import PromptRequest
    from routoo.selector.lp.frontier import Frontier
    from routoo.selector.lp.problem import Assignment


@dataclass(frozen=True, slots=True)
class JointConstraints:
    """Constraints on a batch as a whole; None and empty: no such constraint.

    Attributes:
        budget_usd: sum of the predicted costs, at most.
        min_mean_score: mean predicted score, at least.
        score_per_usd: predicted score that may be given up to save a USD.
        max_requests: prompts for a model, over all its arms, or for one arm, at most, by its name
            in the pool.
        max_tokens: input and predicted output tokens for a model or an arm, at most, by its name.
        max_mean_latency_ms: mean predicted time to the last token, at most.
        tenant_budgets_usd: sum of the predicted costs of a tenant's prompts, at most, by tenant.
        score_std_weight: how many of its standard deviations are taken off each score.
        budgets_left: what is left of the budgets in the books; callers do not set it.
        limits_left: what is left of the limits of providers; callers do not set it.
    """

    budget_usd: float | None = None
    min_mean_score: float | None = None
    score_per_usd: float | None = None
    max_requests: Mapping[str, float] = field(default_factory=dict)
    max_tokens: Mapping[str, float] = field(default_factory=dict)
    max_mean_latency_ms: float | None = None
    tenant_budgets_usd: Mapping[str, float] = field(default_factory=dict)
    score_std_weight: float = 0.0
    budgets_left: tuple[BudgetLeft, ...] = ()
    limits_left: tuple[LimitLeft, ...] = ()

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> JointConstraints:
        """Reads constraints from a line of the decision log.

        Raises:
            TypeError: the line holds something else.
        """
        left = tuple(BudgetLeft(**one) for one in values.get("budgets_left", ()))
        limits = tuple(
            LimitLeft(**{**one, "columns": tuple(one["columns"])})
            for one in values.get("limits_left", ())
        )
        return cls(**{**values, "budgets_left": left, "limits_left": limits})

    @property
    def any(self) -> bool:
        """Returns whether callers set any constraint; ``score_std_weight`` is none."""
        return bool(
            self.max_requests
            or self.max_tokens
            or self.tenant_budgets_usd
            or self.budget_usd is not None
            or self.min_mean_score is not None
            or self.score_per_usd is not None
            or self.max_mean_latency_ms is not None
        )

    @property
    def objective(self) -> Objective:
        """The quantity that is maximised or minimised under the other constraints."""
        if self.score_per_usd is not None:
            return Objective.NET_VALUE
        if self.min_mean_score is not None and self.budget_usd is None:
            return Objective.LEAST_COST
        return Objective.MOST_SCORE

    @property
    def narrow_more_than_cost(self) -> bool:
        """Returns whether the cheapest assignment of all might still break a constraint."""
        return bool(
            self.max_requests
            or self.max_tokens
            or self.min_mean_score is not None
            or self.max_mean_latency_ms is not None
        )

    def check_names(self, pool: Pool) -> None:
        """Refuses models that the pool does not have.

        Raises:
            InvalidRequestError: names the field and the model.
        """
        for kind in ("max_requests", "max_tokens"):
            for name in getattr(self, kind):
                pool.columns_named(name, kind)


@dataclass(frozen=True, slots=True)
class JointSolution:
    """The optimal assignment of a batch, with its prices.

    Attributes:
        choice: int [n], the models' columns.
        bound: mean score, total cost in USD (least cost), or mean score minus ``score_per_usd``
            times mean cost (net value), that no assignment beats.
        gap: relative distance to the bound.
        shadow_price: predicted score per USD of the whole batch's money; 0 where it does not bind.
        binding: names of the batch constraints that bind.
        row_prices: float64 [n], predicted score per USD for each prompt: the shadow price plus
            the price of its tenant's budgets.
        row_bindings: per prompt, the binding constraints that include it.
    """

    choice: NDArray[np.intp]
    bound: float
    gap: float
    shadow_price: float
    binding: tuple[str, ...]
    row_prices: NDArray[np.float64]
    row_bindings: Sequence[tuple[str, ...]]


def solve_jointly(
    estimates: Estimates,
    mask: NDArray[np.bool_],
    constraints: JointConstraints,
    requests: Sequence[PromptRequest],
    pool: Pool,
) -> JointSolution:
    """Solves the linear program of a batch.

    With ``score_per_usd`` it maximises score minus ``score_per_usd`` times cost. Otherwise, with a
    floor for the mean score and without a budget over the whole batch, it minimises cost. Otherwise
    it maximises score.

    Args:
        estimates: predictions for n prompts on the pool's m models.
        mask: bool [n, m], eligible cells.
        constraints: the batch's constraints; ``check_names`` was called before.
        requests: the n requests, for their tenants.
        pool: the m models.

    Raises:
        InfeasibleError: says which constraint cannot be kept, and by how much to relax it.
        InvalidRequestError: ``score_std_weight`` is set and standard deviations are not known.
    """
    n = len(estimates.scores)
    objective = constraints.objective
    tenants = [request.tenant for request in requests]
    spent = np.flatnonzero(spent_prompts(tenants, constraints.budgets_left))
    if spent.size:
        cheapest = cheapest_of(estimates.scores[spent], estimates.reserved_usd[spent], mask[spent])
        mask = mask.copy()
        mask[spent] = False
        mask[spent, cheapest] = True
    money = MoneyRows.of(
        tenants,
        np.where(mask, estimates.reserved_usd, 0.0),
        constraints.budget_usd,
        constraints.tenant_budgets_usd,
        constraints.budgets_left,
    )
    rows = (
        *money.resources(estimates.costs_usd, estimates.reserved_usd),
        *_other_rows(estimates, constraints, pool),
        *limit_resources(
            constraints.limits_left, estimates.input_tokens, estimates.output_tokens, mask
        ),
    )
    score_per_usd = constraints.score_per_usd or 0.0
    assignment = solve(
        Problem(
            cautious_scores(estimates, constraints.score_std_weight),
            estimates.costs_usd,
            mask,
            rows,
            constraints.min_mean_score,
            score_per_usd,
        ),
        objective,
    )
    prices = _prices_usd(assignment, objective, len(money.rows))
    row_prices = money.of_prompts(prices) + score_per_usd
    return JointSolution(
        choice=assignment.choice,
        bound=assignment.bound if objective is Objective.LEAST_COST else assignment.bound / n,
        gap=assignment.gap,
        shadow_price=money.of_all(prices) + _price_of_floor(assignment, objective) + score_per_usd,
        binding=assignment.binding,
        row_prices=row_prices + _price_of_floor(assignment, objective),
        row_bindings=money.bindings(assignment.binding),
    )


def cautious_scores(estimates: Estimates, score_std_weight: float) -> NDArray[np.float64]:
    """Returns scores, [n, m], minus a multiple of their standard deviations.

    The robust objective of OptLLM (arXiv 2405.15130).

    Raises:
        InvalidRequestError: the predictor does not give standard deviations.
    """
    if score_std_weight == 0.0:
        return estimates.scores
    if estimates.score_std is None:
        raise InvalidRequestError(
            "the predictor in use does not tell score_std; leave this 0, or serve a predictor that"
            " does",
            field="score_std_weight",
        )
    return round_scores(estimates.scores - score_std_weight * estimates.score_std)


def _other_rows(estimates: Estimates, constraints: JointConstraints, pool: Pool) -> list[Resource]:
    """Returns the coupling rows that do not count money."""
    rows: list[Resource] = []
    for name, limit in constraints.max_requests.items():
        columns = pool.columns_named(name, "max_requests")
        row = capacity(f"max_requests[{name}]", columns[0], len(pool.names), limit)
        row.usage[list(columns)] = 1.0
        rows.append(row)
    tokens = estimates.input_tokens + estimates.output_tokens if constraints.max_tokens else None
    for name, limit in constraints.max_tokens.items():
        assert tokens is not None  # noqa: S101 - there is such a constraint
        columns = pool.columns_named(name, "max_tokens")
        row = token_capacity(f"max_tokens[{name}]", columns[0], tokens, limit)
        if len(columns) > 1:
            row = Resource(row.name, np.where(pool.holds([name]), tokens, 0.0), limit)
        rows.append(row)
    if constraints.max_mean_latency_ms is not None:
        rows.append(mean_latency(estimates.latencies_ms, constraints.max_mean_latency_ms))
    return rows


def _price_of_floor(assignment: Assignment, objective: Objective) -> float:
    """Returns predicted score per USD at which a least cost trades; 0 for other objectives.

    When cost is minimised, the last price is the floor's, in USD per point of score.
    """
    if objective is not Objective.LEAST_COST:
        return 0.0
    per_point = float(assignment.prices[-1])
    return 1.0 / per_point if per_point > 0.0 else 0.0


def _prices_usd(assignment: Assignment, objective: Objective, money: int) -> NDArray[np.float64]:
    """Returns the price of each row of money, the first ones, in predicted score per USD.

    When cost is minimised, their prices are USD per USD.
    """
    prices = assignment.prices[:money]
    if objective is not Objective.LEAST_COST:
        return prices
    return prices * _price_of_floor(assignment, objective)


def frontier_of(
    estimates: Estimates, mask: NDArray[np.bool_], points: int | None, score_std_weight: float
) -> Frontier:
    """Returns every vertex of the batch's cost-quality curve, or ``points`` of them.

    Args:
        estimates: predictions for n prompts on m models.
        mask: bool [n, m], eligible cells; at least one per prompt.
        points: how many vertices at most; None: all.
        score_std_weight: how many standard deviations to take off each score.

    Raises:
        InvalidRequestError: standard deviations are asked for and not known.
    """
    scores = cautious_scores(estimates, score_std_weight)
    return frontier(scores, estimates.costs_usd, mask, points=points)
