"""Prices in force: an immutable value that requests read and that is replaced as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.selector.arrays import BoolArray, FloatArray

MEAN_COST = "max_mean_cost_usd"


def budget_constraint(name: str) -> str:
    """Returns a budget's name among the binding constraints of a reply."""
    return f"budget:{name}"


def _no_budget(_tenant: str) -> tuple[int, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Prices:
    """The price of a US dollar to each tenant, in score.

    A request pays the sum of the prices of the budgets that apply to its tenant: the dual prices of
    a program with one row per budget, or ``least`` where that is more. A request to which no budget
    with a price applies pays ``unbudgeted``.

    Attributes:
        unbudgeted: score per USD that keeps to a mean cost per request.
        per_budget: score per USD of each budget, in the ledger's order.
        budgets: the budgets' names.
        applies: the indices of the budgets of a tenant that have a price.
        least: score per USD that keeps to a mean cost per request beside the budgets, too.
    """

    unbudgeted: float
    per_budget: tuple[float, ...] = ()
    budgets: tuple[str, ...] = ()
    applies: Callable[[str], tuple[int, ...]] = _no_budget
    least: float = 0.0
    _known: dict[str, tuple[float, tuple[str, ...]]] = field(default_factory=dict)

    def of(self, tenant: str) -> tuple[float, tuple[str, ...]]:
        """Returns a tenant's price, and the constraints that it comes from."""
        known = self._known.get(tenant)
        if known is None:
            known = self._known[tenant] = self._look_up(tenant)
        return known

    def of_budget(self, budget: int) -> float:
        """Returns the price of one budget; before the first solution, ``unbudgeted``."""
        return self.per_budget[budget] if self.per_budget else self.unbudgeted

    def of_rows(self, tenants: Sequence[str]) -> tuple[FloatArray, list[tuple[str, ...]]]:
        """Returns ``of`` for n rows: prices float64 [n], and the constraints of each row."""
        if len(set(tenants)) == 1:  # most batches, and every single request
            price, names = self.of(tenants[0])
            return np.full(len(tenants), price), [names] * len(tenants)
        found = [self.of(tenant) for tenant in tenants]
        return np.array([price for price, _ in found], np.float64), [names for _, names in found]

    def _look_up(self, tenant: str) -> tuple[float, tuple[str, ...]]:
        indices = self.applies(tenant)
        if not indices:
            return self.unbudgeted, (MEAN_COST,) if self.unbudgeted > 0.0 else ()
        price = sum(self.per_budget[one] for one in indices)
        if self.least > price:
            return self.least, (MEAN_COST,)
        return (
            price,
            tuple(
                budget_constraint(self.budgets[one])
                for one in indices
                if self.per_budget[one] > 0.0
            ),
        )


@dataclass(frozen=True, slots=True)
class Observed:
    """n requests as they were decided; the arrays must not be changed any more.

    Attributes:
        tenants: [n].
        scores: float64 [n, m].
        costs_usd: float64 [n, m].
        mask: bool [n, m], eligible cells.
        granted: bool [n], booked within the budgets.
        at_price_usd: float64 [n], what was booked; NaN where the price did not choose.
        is_planned: one batch, decided as a whole: what it took is no longer there, and tells
            nothing of the requests to come.
    """

    tenants: Sequence[str]
    scores: FloatArray
    costs_usd: FloatArray
    mask: BoolArray
    granted: BoolArray
    at_price_usd: FloatArray
    is_planned: bool = False


class Pricing(Protocol):
    """A source of prices."""

    @property
    def in_force(self) -> Prices:
        """The prices for the next batch; reading them never waits."""
        ...

    def observe(self, observed: Observed) -> None:
        """Takes note of requests. Called from any thread; never waits."""
        ...

    def recost(self, unbudgeted: float, sample_costs_usd: FloatArray) -> None:
        """Takes on what the calibration sample costs now that predicted lengths are corrected.

        Called from any thread; never waits.

        Args:
            unbudgeted: score per USD for requests that no budget applies to.
            sample_costs_usd: float64 [r, m].
        """
        ...

    def settled(self, tenant: str, predicted_usd: float, cost_usd: float) -> None:
        """Takes note of the cost of a tenant's answer. Called from any thread; never waits."""
        ...

    def close(self) -> None:
        """Stops the thread that solves for prices, if there is one."""
        ...


class FixedPricing:
    """A price that requests do not change, for a service without budgets."""

    def __init__(self, price: float) -> None:
        self.in_force = Prices(price)

    def observe(self, observed: Observed) -> None:
        """Does nothing: the price does not depend on requests."""

    def recost(self, unbudgeted: float, sample_costs_usd: FloatArray) -> None:  # noqa: ARG002
        """Takes on the price; see ``Pricing.recost``."""
        self.in_force = Prices(unbudgeted)

    def settled(self, tenant: str, predicted_usd: float, cost_usd: float) -> None:
        """Does nothing: the price does not depend on costs."""

    def close(self) -> None:
        """Does nothing: there is no thread."""
