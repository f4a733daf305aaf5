"""The guard of providers' limits: it counts what decisions take, and refuses what is too much.

A decision counts from the moment that it is made: its request and its tokens for a minute, as
predicted, and its place among the concurrent ones until its report or a time-out. A report corrects
the tokens, and moves all of them where another model answered.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from itertools import repeat
from math import ceil
from time import monotonic
from typing import TYPE_CHECKING, Final

import numpy as np

from routoo.engine.limits.minute import SLOT_S, LastMinute
from routoo.routing.arms.limit_rows import LimitState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.routing.arms.limit_rows import LimitRows
    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray

MOST_OPEN: Final = 200_000
"""Decisions that are kept for their reports, some 0.3 kB each; beyond it, the oldest count as if
their time was out."""
_MINUTE_S: Final = 60.0
# Nobody can tell when an answer ends.
_CONCURRENT_WAIT_S: Final = 1.0
# The row of a decision in its batch takes so many bits of its number; no batch has more prompts.
_ROW_BITS: Final = 20
_ROWS: Final = (1 << _ROW_BITS) - 1
# A limit of which less than this part is left is scarce.
_SCARCE: Final = 0.1


@dataclass(slots=True)
class _Batch:
    """Decisions that were made together.

    Attributes:
        ids: [r].
        used: float64 [r, K], what each counts.
        columns: int [r].
        amounts: float64 [r, 3], see ``LimitRows.counted``.
        slot: the slot of the minute in which they count.
        open: bool [r], whether each waits for its report.
    """

    ids: Sequence[str]
    used: FloatArray
    columns: IndexArray
    amounts: FloatArray
    slot: int
    open: BoolArray


class LimitGuard:
    """Counts the use of the limits of a pool. Thread-safe; never waits for anything outside.

    Attributes:
        rows: the limits.
        limits: float64 [K], the parts of them that this process may use, whole numbers.
        is_scarce: whether little was left of a limit when it was last looked at.

    Args:
        rows: the K limits.
        limits: float64 [K], the part of each that this process may use.
        columns: the names of the m columns.
        timeout_s: after so many seconds without a report a request is no longer in progress.
        clock_s: seconds on a clock that never goes back.
    """

    def __init__(
        self,
        rows: LimitRows,
        limits: FloatArray,
        columns: Sequence[str],
        timeout_s: float,
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        self.rows = rows
        self.limits = limits
        self.is_scarce = False
        self._few = np.maximum(_SCARCE * limits, 1.0)
        self._index = {name: column for column, name in enumerate(columns)}
        # By column, what its amounts count in each row, float64 [m + 1, 3, K]. Column -1
        # counts nowhere: a model that left the pool.
        counts = rows.members.T[:, None, :] * rows.counted.T
        self._counts = np.concatenate((counts, np.zeros((1, *counts.shape[1:]))))
        self._concurrent = rows.concurrent
        self._by_minute = (~rows.concurrent).astype(np.float64)
        # Without limits on concurrent requests, a report that comes after a minute tells nothing.
        kept_s = timeout_s if self._concurrent.any() else min(timeout_s, _MINUTE_S + SLOT_S)
        self._kept_slots = max(1, int(kept_s / SLOT_S))
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._minute = LastMinute(len(rows), clock_s())
        self._left = limits.copy()
        self._refused = np.zeros(len(rows), np.int64)
        # By their numbers, the oldest first. Where a decision stands is one whole number, the
        # batch's and the row: of objects for each, the garbage collector would look at all.
        self._batches: OrderedDict[int, _Batch] = OrderedDict()
        self._made = 0
        self._at: dict[str, int] = {}
        self._next: _Next | None = None

    def go_on_from(self, other: LimitGuard) -> None:
        """Takes over what was used, and is in progress, of limits with the same names.

        The other guard passes on here what an engine that finishes its requests still asks it.
        """
        old = {name: row for row, name in enumerate(other.rows.names)}
        rows = np.array([old.get(name, -1) for name in self.rows.names], np.intp)
        known = rows >= 0
        columns = np.array([self._index.get(name, -1) for name in (*other._index, "")], np.intp)
        with other._lock, self._lock:
            other._advance()
            self._minute.taken_from(other._minute, rows)
            self._left[known] -= (other.limits - other._left)[rows[known]]
            self._refused[known] = other._refused[rows[known]]
            for number, batch in other._batches.items():
                used = np.zeros((len(batch.ids), len(rows)))
                used[:, known] = batch.used[:, rows[known]]
                moved = replace(
                    batch, used=used, columns=columns[batch.columns], open=batch.open.copy()
                )
                self._batches[number] = moved
            self._made, self._at = other._made, dict(other._at)
            self._look()
            other._next = _Next(self, np.flatnonzero(known), rows[known], columns)
            other.is_scarce = True  # so that whoever asks it looks

    def left(self) -> FloatArray:
        """Returns what is left of each limit, float64 [K], whole numbers; below 0 after reports."""
        with self._lock:
            if self._next is None:
                self._advance()
                return self._left.copy()
        left = np.full(len(self.limits), np.inf)
        left[self._next.old_rows] = self._next.guard.left()[self._next.rows]
        return left

    def reserve(
        self,
        ids: Sequence[str],
        columns: IndexArray,
        amounts: FloatArray,
        *,
        all_or_nothing: bool = False,
    ) -> BoolArray:
        """Counts decisions, in their order, as far as they fit.

        Args:
            ids: [r], their ids.
            columns: int [r], their models' columns; -1: of no limit.
            amounts: float64 [r, 3], see ``LimitRows.counted``; whole numbers.
            all_or_nothing: unless all fit, none is counted.

        Returns:
            bool [r], those that are counted. Where not all fit, one that would just fit may be left
            for another call.
        """
        used = self._used(columns, amounts)
        with self._lock:
            if self._next is None:
                return self._reserve(ids, columns, amounts, used, all_or_nothing=all_or_nothing)
        after = self._next
        return after.guard.reserve(
            ids, after.columns[columns], amounts, all_or_nothing=all_or_nothing
        )

    def release(self, ids: Sequence[str]) -> None:
        """Takes back what decisions count that nobody received."""
        with self._lock:
            if self._next is None:
                self._advance()
                for one in ids:
                    found = self._ended(one)
                    if found is not None:
                        batch, row = found
                        self._correct(batch.slot, -batch.used[row])
                self._look()
                return
        self._next.guard.release(ids)

    def ended(
        self,
        decision_id: str,
        answered: str = "",
        input_tokens: float | None = None,
        output_tokens: float | None = None,
    ) -> None:
        """Takes note that a request is no longer in progress; of a decision, the first time counts.

        Args:
            decision_id: its decision; one that is not known, or too old, changes nothing.
            answered: the name of the column that answered; empty: the decided one.
            input_tokens: of the request; None: not known, so the predicted ones still count.
            output_tokens: of the answer.
        """
        with self._lock:
            if self._next is None:
                self._advance()
                found = self._ended(decision_id)
                if found is not None:
                    self._correct_by_report(*found, answered, (1, input_tokens, output_tokens))
                    self._look()
                return
        self._next.guard.ended(decision_id, answered, input_tokens, output_tokens)

    def returning(self, within_s: float) -> tuple[FloatArray, FloatArray]:
        """Returns what is left of each limit, and what comes back of it by the passing of time.

        Args:
            within_s: the seconds that may pass, at most a minute.

        Returns:
            Two arrays, float64 [K].
        """
        with self._lock:
            self._advance()
            return self._left.copy(), self._minute.returning(within_s)

    def refused(self, row: int, amount: float) -> float:
        """Takes note of a request that was refused for the sake of a limit.

        Args:
            row: the limit.
            amount: what the request would count in it.

        Returns:
            The seconds after which another try may succeed.
        """
        with self._lock:
            self._advance()
            self._refused[row] += 1
            if self._concurrent[row]:
                return _CONCURRENT_WAIT_S
            return self._minute.wait_s(row, amount - float(self._left[row]))

    def states(self, prices: FloatArray) -> list[LimitState]:
        """Returns each limit and what is used of it; with its price, of float64 [K]."""
        with self._lock:
            self._advance()
            return [
                LimitState(*figures)
                for figures in zip(
                    self.rows.names,
                    self.rows.scopes,
                    self.rows.kind_names,
                    self.limits.tolist(),
                    (self.limits - self._left).tolist(),
                    prices.tolist(),
                    self._refused.tolist(),
                    strict=True,
                )
            ]

    def _used(self, columns: IndexArray, amounts: FloatArray) -> FloatArray:
        """Returns what cells count in each row, float64 [r, K]; exact, as all numbers are whole."""
        used: FloatArray = np.matmul(amounts[:, None, :], self._counts[columns])[:, 0, :]
        return used

    def _reserve(
        self,
        ids: Sequence[str],
        columns: IndexArray,
        amounts: FloatArray,
        used: FloatArray,
        *,
        all_or_nothing: bool,
    ) -> BoolArray:
        self._advance()
        left = self._left
        granted = np.ones(len(ids), np.bool_)
        total = np.add.reduce(used, axis=0)
        if (total > left).any():
            if all_or_nothing:
                return ~granted
            fits = (used.cumsum(axis=0) <= left) | (used == 0.0)
            granted = np.logical_and.reduce(fits, axis=1)
            used = used * granted[:, None]
            total = np.add.reduce(used, axis=0)
        counted = np.logical_or.reduce(used, axis=1)
        if not counted.all():
            at = np.flatnonzero(counted)
            ids = [ids[row] for row in at.tolist()]
            used, columns, amounts = used[at], columns[at], amounts[at]
        if ids:
            slot = self._minute.slot
            batch = _Batch(ids, used, columns, amounts, slot, np.ones(len(ids), np.bool_))
            self._batches[self._made] = batch
            first = self._made << _ROW_BITS
            self._at.update(zip(ids, range(first, first + len(ids)), strict=True))
            self._made += 1
            self._minute.add(slot, total * self._by_minute)
            left -= total
            self._look()
        return granted

    def _look(self) -> None:
        self.is_scarce = bool(np.logical_or.reduce(self._left < self._few))

    def _advance(self) -> None:
        forgotten = self._minute.advance(self._clock_s())
        if forgotten is None and len(self._at) <= MOST_OPEN:
            return
        if forgotten is not None:
            self._left += forgotten
        oldest = self._minute.slot - self._kept_slots
        while self._batches:
            number, batch = next(iter(self._batches.items()))
            if batch.slot >= oldest and len(self._at) <= MOST_OPEN:
                break
            del self._batches[number]
            if batch.open.any():
                used = batch.used[batch.open].sum(axis=0)
                self._left += np.where(self._concurrent, used, 0.0)
                deque(map(self._at.pop, batch.ids, repeat(None)), maxlen=0)
        self._look()

    def _ended(self, decision_id: str) -> tuple[_Batch, int] | None:
        """Ends a decision's place among those in progress; None: it has ended, or is not known."""
        at = self._at.pop(decision_id, None)
        if at is None:
            return None
        batch, row = self._batches[at >> _ROW_BITS], at & _ROWS
        batch.open[row] = False
        self._left += np.where(self._concurrent, batch.used[row], 0.0)
        return batch, row

    def _correct(self, slot: int, amounts: FloatArray) -> None:
        """Adds amounts, float64 [K], to what counts in a slot of the minute."""
        by_minute = amounts * self._by_minute
        if self._minute.add(slot, by_minute):
            self._left -= by_minute

    def _correct_by_report(
        self, batch: _Batch, row: int, answered: str, told: tuple[float | None, ...]
    ) -> None:
        decided = int(batch.columns[row])
        column = self._index.get(answered, -1) if answered else decided
        amounts = np.array(
            [
                predicted if known is None else float(ceil(known))
                for predicted, known in zip(batch.amounts[row].tolist(), told, strict=True)
            ]
        )
        if column != decided or (amounts != batch.amounts[row]).any():
            used = self._used(np.array([column]), amounts[None])[0]
            self._correct(batch.slot, used - batch.used[row])


@dataclass(frozen=True, slots=True)
class _Next:
    """The guard that has taken over.

    Attributes:
        guard: that guard.
        rows: int [k], its rows that were taken over.
        old_rows: int [k], the same in the guard before.
        columns: int [m + 1], its column for each of those before; -1: none. The last is for none.
    """

    guard: LimitGuard
    rows: IndexArray
    old_rows: IndexArray
    columns: IndexArray
