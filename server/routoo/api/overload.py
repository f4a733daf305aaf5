"""Admission under overload: some calls are refused early, so that the rest is answered in time.

A constant queue is not overload: sixty callers that each send the next call when the last one is
answered keep sixty calls in flight all the time, and no call is late. Overload means that calls
arrive faster than they are answered. So calls in flight are counted from the moment their handler
runs, before anything is parsed, and the pace at which they leave is measured while there are any:

- Without overload, a call is refused only if it would wait longer than ``max_wait_s``, or than its
  deadline allows.
- Under overload, a call is let in only if its expected wait is below a small multiple of the
  latency without load, or below a small share of the time until its deadline. With short deadlines
  the queue then holds a few milliseconds of work, as with CoDel (Nichols and Jacobson 2012, RFC
  8289). The bound on calls in flight is that of BBR (Cardwell et al. 2016): pace times latency
  without load, with some reserve for bursts.
- Overload ends when no call had to be refused for a tenth of a second.

Calls are served first come, first served. To serve the newest first would answer some at once and
let the others run into their deadlines, and the queue is short anyway.
"""

from __future__ import annotations

from math import exp
from time import monotonic
from typing import TYPE_CHECKING

from routoo.errors import QueueFullError

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.config.sections.operations import OverloadSettings

WINDOW_S, _LONGEST_WINDOW_S = 0.025, 0.25
"""Seconds of a window in which arriving calls are compared with leaving ones. A window with fewer
than ``_WINDOW_CALLS`` calls is longer, up to ``_LONGEST_WINDOW_S``."""
_WINDOW_CALLS = 20
# More calls may arrive than leave by chance, up to this factor and this number.
_GROWTH, _GROWTH_CALLS = 1.5, 10
# Callers that all begin at once make one such window, but not two in a row.
_GROWN_WINDOWS = 2
_QUIET_S = 0.1
_PACE_MEMORY_S = 0.5
_LATENCY_STEP = 0.02
_FIRST_LATENCY_S = 0.002
# Under overload, the longest wait is this many times the latency without load, so that one batch
# waits while another one is computed.
_LATENCIES = 2.0
_SHORTEST_WAIT_S = 0.004
# Or it is this share of the time until the deadline: a caller that sends six hundred prompts at
# once and waits ten seconds for them prefers a late answer to a refusal.
_PATIENCE = 0.05
# With less time than this, the share is smaller: with a deadline of one second it is a fiftieth.
_PATIENT_FROM_S = 2.5
_FEWEST = 4
# A pace that was measured over less busy time than this is not used.
_LEAST_BUSY_S = 0.02
# The latency without load is measured when fewer calls than this remain in flight.
_ALONE = 2
# The pace is only known roughly, so the expected wait is multiplied by this for deadlines.
_DEADLINE_SAFETY = 1.5
_LEAST_RETRY_S, _MOST_RETRY_S = 0.01, 5.0


class Overload:
    """Counts calls in and out, and refuses some under overload. Lives on one event loop.

    Attributes:
        in_flight: calls that were let in and have not left.
        overloaded: whether calls arrive faster than they leave.

    Args:
        settings: the longest expected waits.
        batch: the number of calls that are served at once. Without overload, fewer calls than this
            in flight are never too many, because a machine that pauses for a moment makes the pace
            look slow.
        clock_s: seconds on a clock that never goes back.
    """

    def __init__(
        self,
        settings: OverloadSettings,
        batch: int,
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        self._max_wait_s = settings.max_wait_ms * 1e-3
        within_ms = settings.overloaded_wait_ms
        self._overloaded_wait_s = None if within_ms is None else within_ms * 1e-3
        self._batch = batch
        self._clock_s = clock_s
        self.in_flight = 0
        self.overloaded = False
        self._latency_s = _FIRST_LATENCY_S
        # The calls that left, and the seconds in which there were any; both decay with age.
        self._left, self._busy_s = 0.0, 0.0
        self._counted_s = self._window_s = clock_s()
        self._pressed_s = -_QUIET_S
        self._came = self._gone = self._grown_windows = 0
        self._left_since = 0
        self._pressure = 1.0

    @property
    def pace_per_s(self) -> float | None:
        """The number of calls that leave per second while there are any; None: not known yet."""
        known = self._busy_s >= _LEAST_BUSY_S and self._left > 0.0
        return self._left / self._busy_s if known else None

    @property
    def retry_after_s(self) -> float:
        """The seconds after which another call is likely to be let in.

        By then the calls in flight have left; it is longer while others retry, too.
        """
        pace = self.pace_per_s
        wait_s = 0.0 if pace is None else self.in_flight / pace
        return min(max(wait_s * self._pressure, _LEAST_RETRY_S), _MOST_RETRY_S)

    def check(self, remaining_s: float | None = None) -> None:
        """Counts a call that has arrived, and refuses it if it would not be let in.

        To be called before the call's message is read.

        Args:
            remaining_s: seconds until its deadline; None: it has none.

        Raises:
            QueueFullError: the call is refused; the error says when to retry.
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
        """Lets in a call that was checked and whose message was read; ``leave`` has to follow.

        A call whose message is still to come is not in flight: callers that send none could
        otherwise take all the room.

        Args:
            remaining_s: seconds until its deadline; None: it has none.

        Returns:
            The time at which it was let in, for ``leave``.

        Raises:
            QueueFullError: others were let in meanwhile; the error says when to retry.
        """
        self._check(remaining_s)
        now_s = self._clock_s()
        if not self.in_flight:
            self._counted_s = now_s
        self.in_flight += 1
        return now_s

    def leave(self, entered_s: float) -> None:
        """Counts the end of a call that was let in: it was answered, or has failed."""
        now_s = self._clock_s()
        self._gone += 1
        self._left_since += 1
        self.in_flight -= 1
        if self.in_flight < _ALONE and not self.overloaded:
            # Steps towards the median, so that a pause of the machine has little effect.
            slower = now_s - entered_s > self._latency_s
            self._latency_s *= 1.0 + (_LATENCY_STEP if slower else -_LATENCY_STEP)
        # Not at each call, as it computes an exponential: when none is left, or once a window.
        if not self.in_flight or now_s - self._counted_s >= WINDOW_S:
            self._count(now_s)

    def _check(self, remaining_s: float | None) -> None:
        pace = self.pace_per_s
        if pace is None or self.in_flight < _FEWEST:
            return
        wait_s = self.in_flight / pace
        enough = self.overloaded or self.in_flight >= self._batch
        if enough and wait_s > self._longest_s(remaining_s):
            self._refuse("more requests come than can be answered")
        if remaining_s is not None and wait_s * _DEADLINE_SAFETY > remaining_s:
            self._refuse("the deadline would pass while the request waits")

    def _longest_s(self, remaining_s: float | None) -> float:
        """Returns the longest expected wait with which a call is let in now, in seconds."""
        most_s = self._max_wait_s
        if not self.overloaded or remaining_s is None:
            return most_s
        if self._overloaded_wait_s is not None:
            return self._overloaded_wait_s
        share = _PATIENCE * min(1.0, remaining_s / _PATIENT_FROM_S)
        patient_s = min(most_s, share * remaining_s)
        return max(_LATENCIES * self._latency_s, _SHORTEST_WAIT_S, patient_s)

    def _refuse(self, why: str) -> None:
        self._pressed_s = self._clock_s()
        error = QueueFullError(f"{why}; retry later or add replicas")
        error.retry_after_s = self.retry_after_s
        raise error

    def _count(self, now_s: float) -> None:
        """Adds the busy time since the last count, and the calls that left in it, to the pace."""
        elapsed_s = now_s - self._counted_s
        kept = exp(-elapsed_s / _PACE_MEMORY_S)
        self._left = self._left * kept + self._left_since
        self._busy_s = self._busy_s * kept + elapsed_s
        self._left_since = 0
        self._counted_s = now_s

    def _look(self, now_s: float) -> None:
        """Ends a window: compares the calls that arrived with those that left."""
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
