"""The account of one budget: its money by the step of time in which it was decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routoo.budget.terms import BudgetTerms


@dataclass(slots=True)
class PeriodSums:
    """Sums over a step or a period, or a change of such sums.

    Python's integers do not overflow.

    Attributes:
        reserved: nano-USD granted to decisions whose cost is not known yet.
        settled: nano-USD of known costs.
        overdraft: nano-USD spent beside the budget.
        granted: number of requests granted.
    """

    reserved: int = 0
    settled: int = 0
    overdraft: int = 0
    granted: int = 0

    def add(self, other: PeriodSums, sign: int = 1) -> None:
        """Adds other sums; with ``sign`` -1, subtracts them."""
        self.reserved += sign * other.reserved
        self.settled += sign * other.settled
        self.overdraft += sign * other.overdraft
        self.granted += sign * other.granted


class Account:
    """The sums of one budget over the present period, by steps.

    Attributes:
        terms: the budget.
        total: the sums over the steps that count.
        steps: the sums of each step that counts and in which something was booked.
    """

    __slots__ = ("_now", "steps", "terms", "total")

    def __init__(self, terms: BudgetTerms) -> None:
        self.terms = terms
        self.total = PeriodSums()
        self.steps: dict[int, PeriodSums] = {}
        self._now = 0

    @property
    def left(self) -> int:
        """Nano-USD that may still be reserved; below 0 after a cost far above its reservation."""
        return self.terms.limit_nano_usd - self.total.reserved - self.total.settled

    def advance(self, now_ns: int) -> None:
        """Removes the steps that no longer count. Time must not go back between calls."""
        now = now_ns // self.terms.step_ns
        if now == self._now:
            return
        self._now = now
        for step in [step for step in self.steps if not self.counts(step)]:
            self.total.add(self.steps.pop(step), sign=-1)

    def counts(self, step: int) -> bool:
        """Returns whether a step still counts."""
        return step > self._now - self.terms.steps

    def book(self, step: int, sums: PeriodSums) -> None:
        """Adds sums to a step, if it counts."""
        if self.counts(step):
            self.steps.setdefault(step, PeriodSums()).add(sums)
            self.total.add(sums)

    def left_ns(self, now_ns: int) -> int:
        """Returns the ns until a fixed period ends, or the oldest step with money stops counting.

        For a sliding period in which nothing is booked that is the whole period.
        """
        if not self.terms.sliding:
            oldest = self._now
        elif self.steps:
            oldest = min(self.steps)
        else:
            return self.terms.period_ns
        return (oldest + self.terms.steps) * self.terms.step_ns - now_ns
