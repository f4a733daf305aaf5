"""Opens the ledger that the settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.budget.books import Keeping
from routoo.budget.journal import Journal
from routoo.budget.journaling import Journaling
from routoo.budget.memory import MemoryLedger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.budget.ledger import Ledger
    from routoo.budget_settings import BudgetSettings, LedgerSettings


def open_ledger(
    budgets: Sequence[BudgetSettings], settings: LedgerSettings, clock_ns: Callable[[], int]
) -> Ledger | None:
    """Opens the books; the caller closes them.

    Args:
        budgets: section ``budgets``.
        settings: section ``ledger``.
        clock_ns: nanoseconds since 1970, ``time.time_ns``.

    Returns:
        None without budgets.

    Raises:
        ConfigError: the journal is in use, damaged or cannot be opened; the extra ``redis`` is not
            installed.
    """
    if not budgets:
        return None
    terms = tuple(budget.terms() for budget in budgets)
    keeping = Keeping(
        ttl_ns=round(settings.reservation_ttl_s * 1e9),
        releases_expired=settings.on_expiry == "release",
        max_decisions=settings.max_decisions,
    )
    if settings.backend == "redis":
        raise NotImplementedError
    journaling = None
    if settings.journal is not None:
        journaling = Journaling(
            Journal(settings.journal), settings.fsync, settings.fsync_interval_s
        )
    return MemoryLedger(terms, keeping, clock_ns, journaling)
