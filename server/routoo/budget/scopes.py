"""Which budgets bound which tenant, as one small number per tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from routoo.budget.terms import applying

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from routoo.budget.terms import BudgetTerms


class Scopes:
    """Tenants bounded by the same budgets are one group.

    Attributes:
        terms: the budgets.
        members: per group, the indices of its budgets, those of all tenants first. Group 0 is that
            of every tenant without a budget of its own.
        tenants: per group, its tenant; "" for group 0.
        bounded: bool [groups], whether a group has budgets at all.
    """

    def __init__(self, terms: tuple[BudgetTerms, ...]) -> None:
        self.terms = terms
        tenants = list(dict.fromkeys(budget.tenant for budget in terms if budget.tenant))
        self.tenants = ["", *tenants]
        self.members = [applying(terms, ""), *(applying(terms, tenant) for tenant in tenants)]
        self.bounded = np.array([bool(members) for members in self.members])
        self._group = {tenant: index for index, tenant in enumerate(tenants, start=1)}

    def budgets(self, tenant: str) -> tuple[int, ...]:
        """Indices of the budgets of a tenant."""
        return self.members[self._group.get(tenant, 0)]

    def groups(self, tenants: Sequence[str]) -> NDArray[np.intp]:
        """The group of each tenant, intp [n]."""
        find = self._group.get
        # Tenants are strings: there is no array to compute on.
        return np.array([find(tenant, 0) for tenant in tenants], dtype=np.intp)
