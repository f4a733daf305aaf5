"""Coupling rows of a batch that count money: the caller's budgets, and what the books have left."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from routoo.budget.scopes import nano_usd
from routoo.budget.terms import NANO_PER_USD
from routoo.selector.lp.problem import BUDGET, Resource, tenant_budget

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class BudgetLeft:
    """The money that is left of a budget in the books.

    Attributes:
        name: the budget's name among the binding constraints of a reply.
        tenant: the tenant whose prompts it pays for; empty: those of all tenants.
        usd: what may still be booked, in US dollars; below 0 for a budget that costs have passed.
        is_spent: it cannot even pay for the cheapest models, and lets prompts go on with these.
    """

    name: str
    tenant: str
    usd: float
    is_spent: bool = False


@dataclass(frozen=True, slots=True)
class MoneyRow:
    """One limit on the costs of some prompts.

    Attributes:
        name: its name among the binding constraints.
        limit_usd: sum of the costs, at most.
        prompts: int, the prompts that count, ascending; None: all.
        is_booked: the costs count as the books round them.
    """

    name: str
    limit_usd: float
    prompts: NDArray[np.intp] | None
    is_booked: bool = False


@dataclass(frozen=True, slots=True)
class MoneyRows:
    """The rows of a batch of n prompts; of rows over the same prompts only the tightest.

    Attributes:
        prompts: n.
        rows: the rows; those over all prompts come first.
    """

    prompts: int
    rows: tuple[MoneyRow, ...]

    @classmethod
    def of(
        cls,
        tenants: Sequence[str],
        reserved_usd: NDArray[np.float64],
        budget_usd: float | None,
        tenant_budgets_usd: Mapping[str, float],
        left: Sequence[BudgetLeft],
    ) -> MoneyRows:
        """Makes the rows.

        Args:
            tenants: [n], the tenant of each prompt.
            reserved_usd: float64 [n, m], what the books would reserve; 0 in cells that are not
                eligible.
            budget_usd: the caller's limit on all costs; None: none.
            tenant_budgets_usd: the caller's limits on the costs of tenants.
            left: what is left of the budgets in the books. A budget that can pay for the most
                expensive choice makes no row.
        """
        n = len(tenants)
        of_books = {one.tenant for one in left if one.tenant}
        groups = _groups(tenants, {*tenant_budgets_usd, *of_books})
        dearest = reserved_usd.max(axis=1)
        found: list[MoneyRow] = []
        if budget_usd is not None:
            found.append(MoneyRow(BUDGET, budget_usd, None))
        for tenant, limit_usd in tenant_budgets_usd.items():
            found.append(MoneyRow(f"tenant_budgets_usd[{tenant}]", limit_usd, groups[tenant]))
        for one in left:
            if one.is_spent:
                continue
            prompts = groups[one.tenant] if one.tenant else None
            most_usd = dearest if prompts is None else dearest[prompts]
            # The books round each cost up.
            most = float(most_usd.sum()) + len(most_usd) / NANO_PER_USD
            if most_usd.size and one.usd < most:
                found.append(MoneyRow(one.name, one.usd, prompts, is_booked=True))
        return cls(n, _tightest(n, found))

    def resources(
        self, costs_usd: NDArray[np.float64], reserved_usd: NDArray[np.float64]
    ) -> tuple[Resource, ...]:
        """Returns the rows of the program.

        Args:
            costs_usd: float64 [n, m], predicted, which the caller's limits are on.
            reserved_usd: float64 [n, m], what the books would reserve.
        """
        booked_usd = costs_usd
        if any(row.is_booked for row in self.rows):
            booked_usd = booked(reserved_usd)
        found = []
        for row in self.rows:
            usage = booked_usd if row.is_booked else costs_usd
            if row.prompts is None:
                found.append(Resource(row.name, usage, row.limit_usd))
            else:
                found.append(tenant_budget(row.name, row.prompts, usage, row.limit_usd))
        return tuple(found)

    def of_all(self, prices: NDArray[np.float64]) -> float:
        """Returns the price of money for any prompt, from the prices of the rows, float64 [k]."""
        return sum(
            float(price)
            for row, price in zip(self.rows, prices, strict=True)
            if row.prompts is None
        )

    def of_prompts(self, prices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the price of money for each prompt, float64 [n]."""
        found = np.zeros(self.prompts)
        for row, price in zip(self.rows, prices, strict=True):
            found[slice(None) if row.prompts is None else row.prompts] += price
        return found

    def bindings(self, binding: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Returns per prompt the binding constraints that include it."""
        own = {row.name: row.prompts for row in self.rows if row.prompts is not None}
        of_all = tuple(name for name in binding if name not in own)
        found = [of_all] * self.prompts
        for name in binding:
            for prompt in own[name].tolist() if name in own else ():
                found[prompt] = (*found[prompt], name)
        return found


def booked(costs_usd: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns costs in USD as the books round them: up to whole nano-USD, in any shape."""
    return nano_usd(costs_usd) / NANO_PER_USD


def spent_prompts(tenants: Sequence[str], left: Iterable[BudgetLeft]) -> NDArray[np.bool_]:
    """Returns the prompts, bool [n], that a spent budget lets go on with their cheapest model."""
    spent = {one.tenant for one in left if one.is_spent}
    if not spent:
        return np.zeros(len(tenants), np.bool_)
    return np.array(["" in spent or tenant in spent for tenant in tenants], np.bool_)


def _groups(tenants: Sequence[str], wanted: set[str]) -> dict[str, NDArray[np.intp]]:
    """Returns the prompts of each wanted tenant, ascending; empty for one without prompts."""
    if not wanted:
        return {}
    index = {name: at for at, name in enumerate(sorted(wanted))}
    of_rows = np.array([index.get(tenant, -1) for tenant in tenants], np.intp)
    order = np.argsort(of_rows, kind="stable")
    bounds = np.searchsorted(of_rows[order], np.arange(len(index) + 1))
    return {name: order[bounds[at] : bounds[at + 1]] for name, at in index.items()}


def _tightest(n: int, rows: Iterable[MoneyRow]) -> tuple[MoneyRow, ...]:
    """Keeps the tightest of the rows over the same prompts; rows over all prompts come first."""
    kept: dict[bytes, MoneyRow] = {}
    for row in rows:
        is_all = row.prompts is None or len(row.prompts) == n
        one = replace(row, prompts=None) if is_all else row
        key = b"" if one.prompts is None else b"p" + one.prompts.tobytes()
        if key not in kept or one.limit_usd < kept[key].limit_usd:
            kept[key] = one
    return tuple(sorted(kept.values(), key=lambda row: row.prompts is not None))
