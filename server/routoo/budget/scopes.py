"""Groups of tenants with the same budgets, and arrays of money as whole nano-USD."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from routoo.budget.terms import FLOAT_ERROR, MAX_USD, NANO_PER_USD, BudgetTerms
from routoo.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def nano_usd(amounts_usd: NDArray[np.float64]) -> NDArray[np.int64]:
    """Converts USD to whole nano-USD, rounded up.

    Args:
        amounts_usd: float64 [n], each from 0 to 9,000,000.

    Returns:
        int64 [n].

    Raises:
        InvalidRequestError: an amount that is negative, NaN or too large.
    """
    amounts = np.asarray(amounts_usd, dtype=np.float64)
    # With a NaN, both extremes are NaN, and neither comparison is true.
    if len(amounts) and not (amounts.min() >= 0.0 and amounts.max() <= MAX_USD):
        wrong = amounts[~((amounts >= 0.0) & (amounts <= MAX_USD))][0]
        raise InvalidRequestError(
            f"is {wrong}; an amount in USD has to be from 0 to {MAX_USD:,.0f}", field="cost_usd"
        )
    exact = amounts * NANO_PER_USD
    whole = np.rint(exact)
    is_whole = np.abs(exact - whole) <= exact * FLOAT_ERROR
    return np.where(is_whole, whole, np.ceil(exact)).astype(np.int64)


def applying(terms: Sequence[BudgetTerms], tenant: str) -> tuple[int, ...]:
    """Returns the indices of the budgets of a tenant's requests, those of all tenants first."""
    apart = [index for index, one in enumerate(terms) if one.is_apart and one.tenant == tenant]
    if apart:
        return tuple(apart)
    return tuple(
        [index for index, budget in enumerate(terms) if not budget.tenant]
        + [index for index, budget in enumerate(terms) if budget.tenant and budget.tenant == tenant]
    )


class Scopes:
    """Groups of tenants: those with the same budgets form one group.

    Attributes:
        terms: the budgets.
        members: per group, the indices of its budgets, those of all tenants first. Group 0 holds
            every tenant without a budget of its own.
        tenants: per group, its tenant; "" for group 0.
        bounded: bool [groups], true for groups with at least one budget.
    """

    def __init__(self, terms: tuple[BudgetTerms, ...]) -> None:
        self.terms = terms
        tenants = list(dict.fromkeys(budget.tenant for budget in terms if budget.tenant))
        self.tenants = ["", *tenants]
        self.members = [applying(terms, ""), *(applying(terms, tenant) for tenant in tenants)]
        self.bounded = np.array([bool(members) for members in self.members])
        self._group = {tenant: index for index, tenant in enumerate(tenants, start=1)}

    def budgets(self, tenant: str) -> tuple[int, ...]:
        """Returns the indices of the budgets of a tenant."""
        return self.members[self._group.get(tenant, 0)]

    def groups(self, tenants: Sequence[str]) -> NDArray[np.intp]:
        """Returns the group of each tenant, intp [n]."""
        find = self._group.get
        # Tenants are strings, on which numpy cannot look up groups faster.
        return np.array([find(tenant, 0) for tenant in tenants], dtype=np.intp)
