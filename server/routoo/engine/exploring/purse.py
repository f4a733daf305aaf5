"""The money at hand for exploring, let out of its budget little by little.

At an interval the purse books what was spent, and reserves in the ledger what is at hand and what
the next interval may add: the even share of what the budget has left for the rest of its period. It
begins full, so that a service that has started explores at once.
So the budget lasts for the period, its limit holds over all replicas and restarts, and no decision
waits for the books. The share of decisions that are explored falls as the purse empties, until what
is spent is what comes in: a feedback that needs no forecast of requests or costs. Every model is
explored more seldom then, the expensive ones not more than others.
"""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import numpy as np
import structlog

from routoo.budget.terms import apart_tenant
from routoo.interval_thread import IntervalThread

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.budget.ledger import BudgetState, Ledger

_log = structlog.get_logger("routoo.exploration")
INTERVAL_S: Final = 0.5
_STEPS_A_PERIOD: Final = 60.0
_FULL: Final = 0.02
"""Part of the limit from which the purse counts as full, and what a period may leave unspent."""
_SLIDING_HELD: Final = 0.04
"""Part of a sliding budget's limit that is at hand at most: what is spent at once comes back at
once, and would be lacking until then."""
# One request may take this part of what is at hand, and the requests that are decided with it are
# taken to be explored so many times as often as on the average, so that hardly ever a drawn model
# finds that another one has taken its money: the probabilities would not be those of the choice.
_PART: Final = 0.5
_MORE: Final = 4.0
_NANO: Final = 1e-9


class Purse:
    """Money for exploring. Thread-safe; ``step`` is for one thread.

    Args:
        ledger: has the budget.
        budget: its name.
        share: most of the decisions that are explored.
        clock_s: seconds on a clock that never goes back.

    Attributes:
        left_usd: what is at hand; reading it needs no lock.
        share: share of decisions to explore at present.
    """

    def __init__(
        self,
        ledger: Ledger,
        budget: str,
        share: float,
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        self.left_usd = 0.0
        self.share = 0.0
        self._ledger = ledger
        self._most_share = share
        self._tenant = apart_tenant(budget)
        (self._index,) = ledger.applies(self._tenant)
        terms = ledger.terms[self._index]
        self._full_usd = _FULL * terms.limit_usd
        self._interval_s = min(INTERVAL_S, terms.period_s / _STEPS_A_PERIOD)
        self._clock_s = clock_s
        self._stepped_s = clock_s() - self._interval_s
        self._spent_usd = 0.0
        self._reserved = ""
        self._is_filled = False
        self._lock = threading.Lock()
        self._thread = IntervalThread(
            "routoo-explore",
            self.step,
            lambda: self._interval_s,
            _log,
            "the money for exploring could not be booked",
        )

    def pay(self, usd: float) -> bool:
        """Takes an amount, at least 0; False: it is not at hand, and nothing was taken."""
        with self._lock:
            if usd > self.left_usd:
                return False
            self.left_usd -= usd
            self._spent_usd += usd
            self._set_share()
            return True

    def give_back(self, usd: float) -> None:
        """Puts back what was taken for a decision that was not made."""
        with self._lock:
            # What was booked meanwhile stays spent: the budget may be out of money that it had.
            back = min(usd, self._spent_usd)
            self._spent_usd -= back
            self.left_usd += back
            self._set_share()

    def step(self) -> None:
        """Books what was spent, and takes what may be spent until the next step."""
        now_s = self._clock_s()
        elapsed_s, self._stepped_s = now_s - self._stepped_s, now_s
        kept_usd = self._settled()
        state = self._ledger.states()[self._index]
        wanted_usd = self._wanted_usd(state, kept_usd, elapsed_s)
        if wanted_usd < _NANO:
            return
        name = f"explore-{uuid4().hex}"
        grants = self._ledger.reserve([name], [self._tenant], np.array([wanted_usd]))
        if grants.refused_by[0] >= 0:
            return  # another replica was faster; the next step sees what it left
        with self._lock:
            self._reserved = name
            # What is at hand is never more than what is reserved, which is rounded up.
            self.left_usd = wanted_usd
            self._set_share()

    def start(self) -> None:
        """Takes a step, and further ones in a thread, at an interval, until ``close``."""
        self._thread.step()
        self._thread.start()

    def close(self) -> None:
        """Ends the thread, books what was spent, and gives back the rest."""
        self._thread.close()
        self._settled()

    def _settled(self) -> float:
        """Books what was spent; returns what was left, which is no longer at hand."""
        with self._lock:
            kept_usd, spent_usd, name = self.left_usd, self._spent_usd, self._reserved
            self.left_usd = self._spent_usd = 0.0
            self._reserved = ""
            self._set_share()
        if name:
            self._ledger.settle(name, spent_usd)
        return kept_usd

    def _wanted_usd(self, state: BudgetState, kept_usd: float, elapsed_s: float) -> float:
        """Returns what to hold until the next step: what was left, and what a step may add."""
        limit_usd = state.terms.limit_usd
        left_usd = max(0.0, limit_usd - state.reserved_usd - state.settled_usd)
        kept_usd = min(kept_usd, left_usd)
        if not self._is_filled:
            self._is_filled = True
            return min(left_usd, self._full_usd)
        if state.terms.sliding:
            added_usd = limit_usd * elapsed_s / state.terms.period_s
            return min(
                left_usd, max(kept_usd, min(kept_usd + added_usd, _SLIDING_HELD * limit_usd))
            )
        ahead_s = max(state.period_left_s, elapsed_s)
        return kept_usd + (left_usd - kept_usd) * min(1.0, elapsed_s / ahead_s)

    def _set_share(self) -> None:
        self.share = self._most_share * min(1.0, self.left_usd / self._full_usd)


def most_extra_usd(left_usd: float, explored: float) -> float:
    """Returns what an explored request may cost beyond the best model.

    Args:
        left_usd: what is at hand.
        explored: expected number of explored requests that are decided together.
    """
    return left_usd * _PART / max(1.0, _MORE * explored)
