"""Overload: which calls are let in, and which are refused at the door so that the rest is in time.

A queue that stands is not yet overload: sixty callers that wait for each other's answers keep sixty
calls in the house for ever, and lose nothing by it. Overload is when more comes than goes. So the
calls in the house are counted from the moment their handler runs, before anything is parsed, and
the pace at which they leave is measured while there are any:

- As long as no more comes than goes, only calls are refused that would wait longer than
  ``max_wait_s``, or than their deadline allows.
- When more comes than goes, no more are let in than can be served within a small multiple of what
  a call takes without load, or a small share of the time that its caller leaves. What waits then is
  a few milliseconds' work where callers are in a hurry, as CoDel (Nichols and Jacobson 2012, RFC
  8289) keeps a queue, and the bound on calls in flight is that of BBR (Cardwell et al. 2016): pace
  times latency without load, some more for bursts.
- When nothing had to be refused for a tenth of a second, all is as before.

The order of service stays first come, first served: the newest first would answer some at once and
let the rest run into their deadlines, and here what waits is short.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from time import monotonic
from typing import TYPE_CHECKING

from routoo.errors import QueueFullError

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW_S, _LONGEST_WINDOW_S = 0.025, 0.25
"""More coming than going is looked for in stretches of this length, and longer ones until enough
calls have come to tell."""
_WINDOW_CALLS = 20
# So many more coming than going are chance.
_GROWTH, _GROWTH_CALLS = 1.5, 10
# Callers that begin all at once are more coming than going once, not twice in a row.
_GROWN_WINDOWS = 2
_QUIET_S = 0.1
_PACE_MEMORY_S = 0.5
_LATENCY_STEP = 0.02
_FIRST_LATENCY_S = 0.002
# What is let in under overload: enough for this many times the latency without load, so that a
# batch waits while another one is at work.
_LATENCIES = 2.0
_SHORTEST_WAIT_S = 0.004
# Or for this share of the time that a caller leaves: who sends six hundred prompts at once and
# waits ten seconds for them is better served late than refused.
_PATIENCE = 0.05
# Of less time than this, a smaller share: who leaves one second waits a fiftieth of it.
_PATIENT_FROM_S = 2.5
_FEWEST = 4
# A pace that was measured over less than this is not one.
_LEAST_BUSY_S = 0.02
# A call counts for the latency without load when it was at most the second one.
_ALONE = 2
# Deadlines are kept although the pace is only known so well.
_DEADLINE_SAFETY = 1.5
_LEAST_RETRY_S, _MOST_RETRY_S = 0.01, 5.0


@dataclass(frozen=True, slots=True)
class OverloadTerms:
    """What is let in.

    Attributes:
        max_wait_s: longest that a call may be expected to wait, overload or not.
        overloaded_wait_s: likewise while more comes than goes; None: from the latency without load
            and the time until the deadline.
        batch: so many are served at once, and are not too many as long as no more comes than goes:
            a machine that stands still for a moment makes the pace look slow.
    """

    max_wait_s: float
    overloaded_wait_s: float | None = None
    batch: int = 64


class Overload:
    """Counts calls in and out. On one thread, that of the event loop.

    Attributes:
        in_flight: calls that were let in and have not left.
        overloaded: whether more comes than goes.

    Args:
        terms: the bounds.
        clock_s: seconds on a clock that never goes back.
    """

    def __init__(self, terms: OverloadTerms, clock_s: Callable[[], float] = monotonic) -> None:
        self._terms = terms
        self._clock_s = clock_s
        self.in_flight = 0
        self.overloaded = False
        self._latency_s = _FIRST_LATENCY_S
        # While there are calls: how many left in how long, the older the less they count.
        self._left, self._busy_s = 0.0, 0.0
        self._counted_s = self._window_s = clock_s()
        self._pressed_s = -_QUIET_S
        self._came = self._gone = self._grown_windows = 0
        self._left_since = 0
        self._pressure = 1.0

    @property
    def pace_per_s(self) -> float | None:
        """Calls that leave per second while there are any; None: not known yet."""
        known = self._busy_s >= _LEAST_BUSY_S and self._left > 0.0
        return self._left / self._busy_s if known else None

    @property
    def retry_after_s(self) -> float:
        """When another call is likely to be let in: what waits has gone, and others retry, too."""
        pace = self.pace_per_s
        wait_s = 0.0 if pace is None else self.in_flight / pace
        return min(max(wait_s * self._pressure, _LEAST_RETRY_S), _MOST_RETRY_S)

    def check(self, remaining_s: float | None = None) -> None:
        """A call has come, of which nothing is read yet: whether it would be let in.

        Args:
            remaining_s: until its deadline; None: it has none.

        Raises:
            QueueFullError: says when to come again.
        """
        now_s = self._clock_s()
        window_s = now_s - self._window_s
        if window_s >= WINDOW_S and (self._came >= _WINDOW_CALLS or window_s >= _LONGEST_WINDOW_S):
            self._look(now_s)
        if now_s - self._pressed_s > _QUIET_S:
            self.overloaded = False
        self._came += 1
        self._check(remaining_s)

    def enter(self, remaining_s: float | None = None) -> float:
        """Lets a call in that was checked, and that can be answered now; ``leave`` has to follow.

        Those that others keep from being read are not counted as in the house: they could fill it.

        Args:
            remaining_s: as ``check``.

        Returns:
            When it came in, for ``leave``.

        Raises:
            QueueFullError: others came first meanwhile; says when to come again.
        """
        self._check(remaining_s)
        now_s = self._clock_s()
        if not self.in_flight:
            self._counted_s = now_s
        self.in_flight += 1
        return now_s

    def leave(self, entered_s: float) -> None:
        """A call that was let in has been answered, or has failed."""
        now_s = self._clock_s()
        self._gone += 1
        self._left_since += 1
        self.in_flight -= 1
        if self.in_flight < _ALONE and not self.overloaded:
            # Towards the median: a moment in which the machine stands still must not count.
            slower = now_s - entered_s > self._latency_s
            self._latency_s *= 1.0 + (_LATENCY_STEP if slower else -_LATENCY_STEP)
        # Counted when the house is empty, or now and then: not an exponential per call.
        if not self.in_flight or now_s - self._counted_s >= WINDOW_S:
            self._count(now_s)

    def _check(self, remaining_s: float | None) -> None:
        pace = self.pace_per_s
        if pace is None or self.in_flight < _FEWEST:
            return
        wait_s = self.in_flight / pace
        enough = self.overloaded or self.in_flight >= self._terms.batch
        if enough and wait_s > self._longest_s(remaining_s):
            self._refuse("more requests come than can be answered")
        if remaining_s is not None and wait_s * _DEADLINE_SAFETY > remaining_s:
            self._refuse("the deadline would pass while the request waits")

    def _longest_s(self, remaining_s: float | None) -> float:
        """Longest that a call may be expected to wait now."""
        most_s = self._terms.max_wait_s
        if not self.overloaded or remaining_s is None:
            return most_s
        if self._terms.overloaded_wait_s is not None:
            return self._terms.overloaded_wait_s
        share = _PATIENCE * min(1.0, remaining_s / _PATIENT_FROM_S)
        patient_s = min(most_s, share * remaining_s)
        return max(_LATENCIES * self._latency_s, _SHORTEST_WAIT_S, patient_s)

    def _refuse(self, why: str) -> None:
        self._pressed_s = self._clock_s()
        error = QueueFullError(f"{why}; retry later or add replicas")
        error.retry_after_s = self.retry_after_s
        raise error

    def _count(self, now_s: float) -> None:
        """Takes the busy time since the last count, and who left in it, into the pace."""
        elapsed_s = now_s - self._counted_s
        kept = exp(-elapsed_s / _PACE_MEMORY_S)
        self._left = self._left * kept + self._left_since
        self._busy_s = self._busy_s * kept + elapsed_s
        self._left_since = 0
        self._counted_s = now_s

    def _look(self, now_s: float) -> None:
        """At the end of a window: whether more came than went."""
        if self.in_flight:
            self._count(now_s)
        came, gone = self._came, self._gone
        self._window_s = now_s
        self._came = self._gone = 0
        self._pressure = max(1.0, came / max(1, gone))
        grown = came > _GROWTH * gone + _GROWTH_CALLS and self.in_flight > _FEWEST
        self._grown_windows = self._grown_windows + 1 if grown else 0
        if self._grown_windows >= _GROWN_WINDOWS:
            self.overloaded = True
            self._pressed_s = now_s
