"""The terms of a budget, and money in whole nano-USD, of which sums are exact."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from routoo.errors import InvalidRequestError

NANO_PER_USD = 1_000_000_000
# Redis' scripts compute in doubles: whole numbers stay exact below 2**53, about 9,007,199 USD.
MAX_USD = 9_000_000.0
# A sliding period is divided into this many steps.
SLIDING_STEPS = 60
# A product this close to a whole number is that number: 0.57 USD are 570,000,000 nano-USD, and not
# one more because 0.57 is no binary fraction.
FLOAT_ERROR = 2.0**-52


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
        is_paced: money has a price, by which it lasts for the period; else only the limit holds.
        even_ns: what was spent more or less than evenly is made good within this time; 0: by the
            end of the period.
        is_apart: pays for no request, but for what is booked under its ``tenant``, which is
            ``apart_tenant(name)`` then, and which no request may name.
    """

    name: str
    tenant: str
    limit_nano_usd: int
    period_ns: int
    sliding: bool
    on_exhausted: Literal["cheapest", "refuse"]
    is_paced: bool = True
    is_apart: bool = False
    even_ns: int = 0

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


def apart_tenant(name: str) -> str:
    """Returns the tenant under whose name a budget is booked that pays for no request."""
    return f"[{name}]"


def is_apart_tenant(tenant: str) -> bool:
    """Returns whether a name has the form of ``apart_tenant``, which no tenant's name may have."""
    return tenant.startswith("[") and tenant.endswith("]")


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
    return whole if abs(exact - whole) <= exact * FLOAT_ERROR else math.ceil(exact)


def usd(amount_nano_usd: int) -> float:
    """Converts nano-USD to USD."""
    return amount_nano_usd / NANO_PER_USD
