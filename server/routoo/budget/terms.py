"""What a budget promises, and money as whole nano-USD, so that sums are exact."""

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
# A sliding period is watched in this many steps.
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
        tenant: whose requests it bounds; "" bounds all tenants together.
        limit_nano_usd: 1e-9 USD.
        period_ns: length of the period.
        sliding: whether any stretch of that length keeps to the limit.
        on_exhausted: what becomes of a request for which nothing is left.
    """

    name: str
    tenant: str
    limit_nano_usd: int
    period_ns: int
    sliding: bool
    on_exhausted: Literal["cheapest", "refuse"]

    @property
    def step_ns(self) -> int:
        """The grain of time: what is spent in one step counts, and stops counting, as one."""
        if not self.sliding:
            return self.period_ns
        # Whole microseconds: that is what Redis' clock tells.
        return -(-self.period_ns // (SLIDING_STEPS * 1000)) * 1000

    @property
    def steps(self) -> int:
        """How many steps count, the current one included."""
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
    """Turns USD into whole nano-USD, rounded up.

    Args:
        amounts_usd: float64 [n], each from 0 to 9,000,000.

    Returns:
        int64 [n].

    Raises:
        InvalidRequestError: an amount that is negative, NaN or too large.
    """
    amounts = np.asarray(amounts_usd, dtype=np.float64)
    # A NaN makes both extremes NaN, and so neither comparison true.
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
    """``nano_usd`` of one amount."""
    if not 0.0 <= amount_usd <= MAX_USD:
        raise InvalidRequestError(
            f"is {amount_usd}; an amount in USD has to be from 0 to {MAX_USD:,.0f}",
            field="cost_usd",
        )
    exact = amount_usd * NANO_PER_USD
    whole = round(exact)
    return whole if abs(exact - whole) <= exact * _FLOAT_ERROR else math.ceil(exact)


def usd(amount_nano_usd: int) -> float:
    """USD of nano-USD."""
    return amount_nano_usd / NANO_PER_USD


def applying(terms: Sequence[BudgetTerms], tenant: str) -> tuple[int, ...]:
    """Indices of the budgets that bound a tenant's requests, those of all tenants first."""
    return tuple(
        [index for index, budget in enumerate(terms) if not budget.tenant]
        + [index for index, budget in enumerate(terms) if budget.tenant and budget.tenant == tenant]
    )


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
