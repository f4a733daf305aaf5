"""Many prompts decided together: the linear program over a whole batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from routoo.selector.problem import Objective, Problem, budget
from routoo.selector.solve import solve

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from routoo.estimates import Estimates


@dataclass(frozen=True, slots=True)
class JointConstraints:
    """What a batch has to keep as a whole; None: no such constraint.

    Attributes:
        budget_usd: sum of the predicted costs, at most.
        min_mean_score: mean predicted score, at least.
    """

    budget_usd: float | None = None
    min_mean_score: float | None = None

    @property
    def any(self) -> bool:
        """Whether there is one at all."""
        return self.budget_usd is not None or self.min_mean_score is not None


@dataclass(frozen=True, slots=True)
class JointSolution:
    """The optimum.

    Attributes:
        choice: int [n].
        bound: mean score, or total cost in USD under a floor alone, that no assignment beats.
        gap: relative distance to the bound.
        shadow_price: predicted score per USD; 0 where money does not bind.
        binding: names of the batch constraints that bind.
    """

    choice: NDArray[np.intp]
    bound: float
    gap: float
    shadow_price: float
    binding: tuple[str, ...]


def solve_jointly(
    estimates: Estimates, mask: NDArray[np.bool_], constraints: JointConstraints
) -> JointSolution:
    """Solves the batch.

    Under a budget, with or without a floor: the most score that it buys. Under a floor alone: the
    least cost that reaches it.

    Raises:
        InfeasibleError: says which constraint cannot be kept, and by how much to relax it.
    """
    n = len(estimates.scores)
    least_cost = constraints.budget_usd is None
    resources = (
        ()
        if constraints.budget_usd is None
        else (budget(estimates.costs_usd, constraints.budget_usd),)
    )
    assignment = solve(
        Problem(estimates.scores, estimates.costs_usd, mask, resources, constraints.min_mean_score),
        Objective.LEAST_COST if least_cost else Objective.MOST_SCORE,
    )
    price = float(assignment.prices[0])
    if least_cost:
        # The floor's price is USD per point of score.
        price = 1.0 / price if price > 0.0 else 0.0
    return JointSolution(
        choice=assignment.choice,
        bound=assignment.bound if least_cost else assignment.bound / n,
        gap=assignment.gap,
        shadow_price=price,
        binding=assignment.binding,
    )
