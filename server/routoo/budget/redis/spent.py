"""Reads what was spent by tenant and day from the books in Redis."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from routoo.budget.memory.books import DAYS_KEPT, NS_A_DAY, PeriodSums
from routoo.budget.redis.replies import StoreError
from routoo.budget.spent import DaySpent
from routoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.budget.redis.store import RedisStore
    from routoo.budget.terms import BudgetTerms

_SUMS = {
    "r": "reserved",
    "s": "settled",
    "o": "overdraft",
    "g": "granted",
    "m": "reported",
    "n": "reported_reserved",
    "u": "expired",
}


def redis_spending(
    store: RedisStore, terms: Sequence[BudgetTerms], now_ns: int, days: int = DAYS_KEPT
) -> list[DaySpent]:
    """Returns what the decisions of all replicas cost, by day and tenant.

    Args:
        store: Redis; only read.
        terms: the budgets, which tell the tenants.
        now_ns: the time, nanoseconds since 1970.
        days: so many days are read, the present one is the last.

    Raises:
        ConfigError: Redis does not answer, or holds something else.
    """
    tenants = {one.name: one.tenant for one in terms}
    # Theirs is a part of what their decisions cost, which are there.
    apart = {one.name for one in terms if one.is_apart}
    today = now_ns // NS_A_DAY
    # A day more, as the clock of Redis may be ahead.
    numbers = range(today - days + 1, today + 2)
    found: dict[tuple[str, int], PeriodSums] = {}
    try:
        for day, fields in zip(numbers, store.days(numbers), strict=True):
            for field, value in fields.items():
                letter, _, scope = field.decode().partition(" ")
                if scope.lstrip("=").partition(":")[0] in apart:
                    continue
                sums = PeriodSums(**{_SUMS[letter]: int(value)})
                key = (_tenant(scope, tenants), day)
                found.setdefault(key, PeriodSums()).add(sums)
    except (StoreError, KeyError, ValueError) as error:
        raise ConfigError(f"ledger: the days cannot be read from Redis: {error}") from None
    return [
        DaySpent.of(tenant, datetime.fromtimestamp(day * NS_A_DAY // 10**9, UTC).date(), sums)
        for (tenant, day), sums in sorted(found.items())
    ]


def _tenant(scope: str, tenants: dict[str, str]) -> str:
    """Returns the tenant whose decisions are booked in some budgets, or a name for it."""
    names = [one.lstrip("=").partition(":")[0] for one in scope.split(",")]
    own = [tenants[name] for name in names if tenants.get(name)]
    unknown = [f"budget {name}" for name in names if name not in tenants]
    return next(iter([*own, *unknown]), "")
