"""Short forms for tests of budgets: a clock that the test sets, ledgers and reservations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from routoo.budget.memory.books import Keeping
from routoo.budget.memory.journal import Journal
from routoo.budget.memory.ledger import MemoryLedger
from routoo.budget.memory.persistence import Journaling
from routoo.config.sections.budget import BudgetSettings, LedgerSettings
from routoo.server.budgets import open_ledger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from routoo.budget.ledger import BudgetState, Grants, Ledger

S = 1_000_000_000
# A Thursday, at a whole hour.
START_NS = 1_795_690_800 * S


class FakeClock:
    """A clock that stands still until the test moves it, in nanoseconds since 1970."""

    def __init__(self, now_ns: int = START_NS) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns

    def forward_s(self, seconds: float) -> None:
        self.now_ns += round(seconds * S)


def budget(
    name: str = "everyone", usd: float = 1.0, per: str = "1h", **more: Any
) -> BudgetSettings:
    """Makes a budget that, unless ``more`` says otherwise, may be overdrawn."""
    return BudgetSettings(name=name, usd=usd, per=per, **{"on_exhausted": "cheapest", **more})


def opened(clock: FakeClock, *budgets: BudgetSettings, **settings: Any) -> Ledger:
    ledger = open_ledger(budgets or (budget(),), LedgerSettings(**settings), clock)
    assert ledger is not None
    return ledger


def reserve(ledger: Ledger, amounts: dict[str, float], tenant: str = "t", **more: Any) -> list[int]:
    """Reserves amounts by id, all for one tenant, and returns ``refused_by``."""
    return grants(ledger, amounts, tenant, **more).refused_by.tolist()


def grants(ledger: Ledger, amounts: dict[str, float], tenant: str = "t", **more: Any) -> Grants:
    return ledger.reserve(list(amounts), [tenant] * len(amounts), usd(amounts.values()), **more)


def overdraw(ledger: Ledger, amounts: dict[str, float], tenant: str = "t") -> None:
    ledger.overdraw(list(amounts), [tenant] * len(amounts), usd(amounts.values()))


def usd(amounts: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(list(amounts), np.float64)


def figures(state: BudgetState) -> tuple[float, float, float, int]:
    """Returns reserved, settled and overdraft in USD, and the number of granted requests."""
    return state.reserved_usd, state.settled_usd, state.overdraft_usd, state.granted


def all_figures(states: Sequence[BudgetState]) -> list[tuple[float, float, float, int]]:
    return [figures(state) for state in states]


def all_reports(states: Sequence[BudgetState]) -> list[tuple[float, float, int]]:
    """Returns per budget reported costs, what was reserved for them, and the unreported number."""
    return [(one.reported_usd, one.reported_reserved_usd, one.expired) for one in states]


def with_journaling(
    clock: FakeClock, path: Path, *budgets: Any, fsync: Any = "never"
) -> tuple[MemoryLedger, Journaling]:
    """Makes a ledger whose journal the test tends: its own thread sleeps for an hour."""
    journaling = Journaling(Journal(path), fsync, tend_interval_s=3600)
    keeping = Keeping(ttl_ns=60 * 10**9, releases_expired=False, max_decisions=1 << 14)
    ledger = MemoryLedger(tuple(one.terms() for one in budgets), keeping, clock, journaling)
    return ledger, journaling
