"""The terms of a budget, and money in whole nano-USD, of which sums are exact."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from routoo.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


NANO_PER_USD = 1_000_000_000
# Redis' scripts compute in doubles: whole numbers stay exact below 2**53, about 9,007,199 USD.
MAX_USD = 9_000_000.0
# A sliding period is divided into this many steps.
SLIDING_STEPS = 60
# A product this close to a whole number is that number: 0.57 USD are 570,000,000 nano-USD, and not
# one more because 0.57 is no binary fraction.
_FLOAT_ERROR = 2.0**-52


@dataclass(frozen=True, slots=True)
class BudgetTerms:
    """One budget: at most ``limit_nano_usd`` in every period.

    A fixed period starts at whole multiples of its length since 1970 (UTC). A sliding one is any
    stretch of that length: time is cut into steps of a sixtieth, and what was spent counts until
    the step in which it was spent lies a whole period back, so up to one step longer than promised
    and never shorter.

    Attributes:
        name: unique among the budgets.
        tenant: the tenant whose requests it bounds; "": all tenants together.
        limit_nano_usd: the limit, in 1e-9 USD.
        period_ns: length of the period.
        sliding: the limit holds in every stretch of that length; else in fixed periods.
        on_exhausted: a request for which nothing is left is refused, or gets the cheapest model.
    """

    name: str
    tenant: str
    limit_nano_usd: int
    period_ns: int
    sliding: bool
    on_exhausted: Literal["cheapest", "refuse"]

    @property
    def step_ns(self) -> int:
        """Length of a step; all that is spent in one step stops counting at the same time."""
        if not self.sliding:
            return self.period_ns
        # Whole microseconds, the resolution of Redis' clock.
        return -(-self.period_ns // (SLIDING_STEPS * 1000)) * 1000

    @property
    def steps(self) -> int:
        """Number of steps that count, the current one included."""
        return SLIDING_STEPS + 1 if self.sliding else 1

    @property
    def limit_usd(self) -> float:
        """The limit in USD."""
        return self.limit_nano_usd / NANO_PER_USD

    @property
    def period_s(self) -> float:
        """The period in seconds."""
        return self.period_ns * 1e-9


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
    is_whole = np.abs(exact - whole) <= exact * _FLOAT_ERROR
    return np.where(is_whole, whole, np.ceil(exact)).astype(np.int64)


def one_nano_usd(amount_usd: float) -> int:
    """Converts one amount, from 0 to 9,000,000 USD, to whole nano-USD, rounded up.

    Raises:
        InvalidRequestError: an amount that is negative, NaN or too large.
    """
    if not 0.0 <= amount_usd <= MAX_USD:
        raise InvalidRequestError(
            f"is {amount_usd}; an amount in USD has to be from 0 to {MAX_USD:,.0f}",
            field="cost_usd",
        )
    exact = amount_usd * NANO_PER_USD
    whole = round(exact)
    return whole if abs(exact - whole) <= exact * _FLOAT_ERROR else math.ceil(exact)


def usd(amount_nano_usd: int) -> float:
    """Converts nano-USD to USD."""
    return amount_nano_usd / NANO_PER_USD


def applying(terms: Sequence[BudgetTerms], tenant: str) -> tuple[int, ...]:
    """Returns the indices of the budgets of a tenant's requests, those of all tenants first."""
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
