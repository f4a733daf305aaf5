"""The money of a grading run: a cap that is never exceeded, kept over restarts."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Final

import numpy as np

from routoo.budget.memory.books import Keeping
from routoo.budget.memory.journal import Journal
from routoo.budget.memory.ledger import MemoryLedger
from routoo.budget.memory.persistence import Journaling
from routoo.budget.terms import NANO_PER_USD, BudgetTerms, one_nano_usd

if TYPE_CHECKING:
    from pathlib import Path

_CENTURY_NS: Final = 100 * 365 * 86_400 * 1_000_000_000
_MOST_CALLS: Final = 10_000_000


class GradingPurse:
    """Reserves before each call what it may cost at most, and settles what it has cost.

    The books are a ledger's with a journal. What was reserved by a run that was killed, and was
    never answered, stays spent: the provider may have billed it. A greater cap in a later run adds
    money; what was spent before counts.

    Args:
        journal: the file.
        cap_usd: the most that all runs with this journal may spend together.

    Raises:
        ConfigError: the journal is damaged, or another process has it open.
    """

    def __init__(self, journal: Path, cap_usd: float) -> None:
        terms = BudgetTerms(
            name="grade",
            tenant="",
            limit_nano_usd=one_nano_usd(cap_usd),
            period_ns=_CENTURY_NS,
            sliding=False,
            on_exhausted="refuse",
            is_paced=False,
        )
        keeping = Keeping(ttl_ns=_CENTURY_NS, releases_expired=False, max_decisions=_MOST_CALLS)
        self._ledger = MemoryLedger(
            (terms,), keeping, time.time_ns, Journaling(Journal(journal), "interval")
        )

    def reserve(self, most_usd: float) -> str:
        """Reserves the most that a call can cost.

        Returns:
            The reservation's id; empty: the cap leaves no room for it.
        """
        reservation = uuid.uuid4().hex
        granted = self._ledger.reserve([reservation], [""], np.array([most_usd]))
        return reservation if granted.refused_by[0] < 0 else ""

    def settle(self, reservation: str, cost_usd: float) -> None:
        """Books a cost in place of its reservation; the second time, nothing happens."""
        self._ledger.settle(reservation, cost_usd)

    @property
    def spent_usd(self) -> float:
        """Settled and reserved money of all runs, in USD."""
        state = self._ledger.states()[0]
        return state.reserved_usd + state.settled_usd

    @property
    def cap_usd(self) -> float:
        """The cap, in USD."""
        return self._ledger.terms[0].limit_nano_usd / NANO_PER_USD

    def close(self) -> None:
        """Writes the books to the disk."""
        self._ledger.close()
