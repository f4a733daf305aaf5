"""Decisions that may still be reported or escalated: kept for a while, by their ids."""

from __future__ import annotations

import threading
from collections import OrderedDict
from hashlib import blake2b
from itertools import count
from os import urandom
from time import monotonic_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from routoo.routing.decision import Decision


_TAG_BYTES = 4
_TAG_SIGNS = 2 * _TAG_BYTES
_MARK_BYTES = 3


def made_for(decision_id: str, tenant: str) -> bool:
    """Returns whether a decision was made for a tenant, by what its id says.

    So a replica can tell for decisions that it has not made itself. Of another tenant's decisions,
    one in 16 million passes; their ids have to be known besides.
    """
    tag = decision_id.partition("-")[2].partition("-")[0]
    return tag[_TAG_SIGNS:] == _mark(tag[:_TAG_SIGNS], tenant)


def _mark(tag: str, tenant: str) -> str:
    """Returns what an id says of its tenant; without the tag, it would tell tenants apart."""
    said = f"{tag} {tenant}".encode("utf-8", "surrogatepass")
    return blake2b(said, digest_size=_MARK_BYTES).hexdigest()


class DecisionIds:
    """Makes ids of the form ``PREFIX-TAG-NUMBER``. Thread-safe: ``itertools.count`` is atomic.

    The tag is random, so that no caller can guess the id of another caller's decision. It ends with
    a mark of the tenant, see ``made_for``.

    Args:
        prefix: unique to the process.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._tickets = count(1)

    def tickets(self, n: int) -> list[int]:
        """Returns the next n numbers."""
        return [next(self._tickets) for _ in range(n)]

    def named(self, tickets: Sequence[int], tenants: Sequence[str]) -> list[str]:
        """Returns an id for each number and the tenant of its decision."""
        random = urandom(_TAG_BYTES * len(tickets)).hex()
        tags = [random[at : at + _TAG_SIGNS] for at in range(0, len(random), _TAG_SIGNS)]
        return [
            f"{self.prefix}-{tag}{_mark(tag, tenant)}-{ticket:x}"
            for tag, tenant, ticket in zip(tags, tenants, tickets, strict=True)
        ]

    def new(self, tenant: str) -> str:
        """Returns the next id, of a decision for a tenant."""
        return self.named([next(self._tickets)], [tenant])[0]


class OpenDecisions:
    """Keeps decisions for a while, and drops the oldest first. Thread-safe. Holds no prompts.

    Args:
        max_count: most decisions kept.
        max_age_s: seconds for which a decision is kept.
        clock_ns: the clock of the decisions' times, ``monotonic_ns``.
    """

    def __init__(
        self, max_count: int, max_age_s: float, clock_ns: Callable[[], int] = monotonic_ns
    ) -> None:
        self._max_count = max_count
        self._max_age_ns = max_age_s * 1e9
        self._clock_ns = clock_ns
        self._decisions: OrderedDict[str, Decision] = OrderedDict()
        self._answered: dict[str, int | None] = {}
        self._graded: set[str] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._decisions)

    def bound(self, max_count: int, max_age_s: float) -> None:
        """Sets new limits, which apply from the next added decision on."""
        with self._lock:
            self._max_count, self._max_age_ns = max_count, max_age_s * 1e9

    def add(self, decisions: Iterable[Decision]) -> None:
        """Adds decisions, oldest first, and drops those that are too old or too many."""
        kept = self._decisions
        with self._lock:
            for decision in decisions:
                kept[decision.decision_id] = decision
            while len(kept) > self._max_count:
                self._forget(kept.popitem(last=False)[0])
            while kept and self._is_old(next(iter(kept.values()))):
                self._forget(kept.popitem(last=False)[0])

    def get(self, decision_id: str) -> Decision | None:
        """Returns the decision; None when it is unknown or too old."""
        with self._lock:
            return self._known(decision_id)

    def was_reported(self, decision_id: str) -> bool:
        """Returns whether a decision was marked as reported."""
        with self._lock:
            return decision_id in self._answered

    def was_graded(self, decision_id: str) -> bool:
        """Returns whether a decision was marked as graded."""
        with self._lock:
            return decision_id in self._graded

    def answered(self, decision_id: str) -> int | None:
        """Returns the column that answered, as reported; None: not reported, or not known."""
        with self._lock:
            return self._answered.get(decision_id)

    def grade(self, decision_id: str) -> bool:
        """Marks a decision as graded; False when it is unknown, too old, or was marked before."""
        with self._lock:
            if self._known(decision_id) is None or decision_id in self._graded:
                return False
            self._graded.add(decision_id)
            return True

    def report(self, decision_id: str, column: int | None = None) -> bool:
        """Marks a decision as reported; False when it is unknown, too old, or was marked before.

        Args:
            decision_id: the decision.
            column: the column of its pool that answered; None: not known.
        """
        with self._lock:
            if self._known(decision_id) is None or decision_id in self._answered:
                return False
            self._answered[decision_id] = column
            return True

    def discard(self, decision_ids: Iterable[str]) -> None:
        """Forgets decisions that nobody received."""
        with self._lock:
            for decision_id in decision_ids:
                self._decisions.pop(decision_id, None)
                self._forget(decision_id)

    def _forget(self, decision_id: str) -> None:
        self._answered.pop(decision_id, None)
        self._graded.discard(decision_id)

    def _known(self, decision_id: str) -> Decision | None:
        decision = self._decisions.get(decision_id)
        return None if decision is None or self._is_old(decision) else decision

    def _is_old(self, decision: Decision) -> bool:
        return self._clock_ns() - decision.batch.timing.finished_ns > self._max_age_ns
