"""Reads what was spent by tenant and day from a journal, which a service may be writing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from routoo.budget.memory.books import NS_A_DAY, Books
from routoo.budget.memory.journal import records
from routoo.budget.memory.persistence import apply, of_another_version, tenants_of
from routoo.budget.scopes import Scopes
from routoo.budget.spent import DaySpent
from routoo.budget.terms import MAX_USD, NANO_PER_USD, BudgetTerms, is_apart_tenant
from routoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from routoo.budget.memory.books import Keeping


def journal_spending(path: Path, keeping: Keeping) -> list[DaySpent]:
    """Returns what the decisions in a journal cost, by tenant and day, as of its last record.

    The file is read as it is, without a lock and without any change to it.

    Args:
        path: the journal.
        keeping: the time until unreported decisions expire, as the service has it.

    Raises:
        ConfigError: the file cannot be read, is damaged, or was written by another version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"ledger.journal: {path} cannot be read: {error.strerror}; name the file that"
            " ledger.journal of a service names"
        ) from None
    found = [record for record, _ in records(content, path)]
    try:
        # The file does not tell the limits, and no decision in it is tried against them.
        terms = tuple(_of(tenant) for tenant in ("", *sorted(_tenants(found) - {""})))
        books = Books(Scopes(terms), keeping)
        for record in found:
            apply(record, books, corrects_expired=True)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise of_another_version(path, error) from None
    return [
        DaySpent.of(tenant, datetime.fromtimestamp(day * NS_A_DAY // 10**9, UTC).date(), sums)
        for (tenant, day), sums in sorted(books.days.sums.items())
        if not is_apart_tenant(tenant)  # a part of what its decisions cost, which are there
    ]


def _tenants(found: Iterable[dict[str, Any]]) -> set[str]:
    """Returns the tenants that records name."""
    named: set[str] = set()
    for record in found:
        if record["k"] == "snapshot":
            named.update(record["tenants"])
        elif "n" in record:
            named.update(tenants_of(record))
    return named


def _of(tenant: str) -> BudgetTerms:
    return BudgetTerms(
        name=tenant,
        tenant=tenant,
        limit_nano_usd=int(MAX_USD * NANO_PER_USD),
        period_ns=NS_A_DAY,
        sliding=False,
        on_exhausted="cheapest",
    )
