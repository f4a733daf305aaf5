"""Calls whose message is on its way.

gRPC keeps what has arrived of a message, up to ``limits.max_message_bytes``, and does not tell how
much that is. A message that is there soon needs no bound. One that is not, as it is long or its
sender is slow, is counted with its greatest length, and those may have half of the memory of calls
in progress. Beyond that the newest are refused; or the oldest, if it has had ``_PATIENCE_S``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from routoo.errors import QueueFullError

if TYPE_CHECKING:
    import asyncio

    from routoo.api.memory.in_flight import InFlight

_SOON_S: Final = 0.25
_LOOK_S: Final = 0.1
_PATIENCE_S: Final = 10.0
_SHARE: Final = 0.5


@dataclass(slots=True)
class _Arriving:
    """A message on its way.

    Attributes:
        since_s: when it was waited for first, on the loop's clock.
        held_bytes: what is reserved for it; 0: nothing yet.
        refused: whether its call was ended.
    """

    since_s: float
    held_bytes: int = 0
    refused: bool = False


class Arrivals:
    """Bounds the messages that are on their way. Lives on one event loop.

    Args:
        in_flight: the memory of calls in progress.
    """

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._longest_bytes = longest_bytes = min(
            in_flight.longest_message_bytes, in_flight.most_bytes
        )
        self._most = max(1, int(in_flight.most_bytes * _SHARE) // longest_bytes)
        # In the order in which they began.
        self._arriving: dict[asyncio.Task[Any], _Arriving] = {}
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, task: asyncio.Task[Any]) -> None:
        """Notes that a task waits for the message of its call; ``leave`` has to follow."""
        loop = task.get_loop()
        self._arriving[task] = _Arriving(loop.time())
        if self._timer is None:
            self._timer = loop.call_later(_LOOK_S, self._look, loop)

    def leave(self, task: asyncio.Task[Any]) -> QueueFullError | None:
        """Notes that the message is there, or the call has ended.

        Returns:
            Why the task was cancelled here; None: it was not. It is no longer being cancelled.
        """
        found = self._arriving.pop(task)
        if found.held_bytes:
            self._in_flight.give(found.held_bytes)
        if not found.refused:
            return None
        task.uncancel()
        return QueueFullError(
            f"the messages of {self._most} calls are on their way, which may take"
            f" {self._longest_bytes} bytes each; send the message at once, retry later, or set"
            " limits.max_in_flight_bytes"
        )

    def relieve(self) -> None:
        """Ends the calls whose messages have not arrived soon."""
        for task, one in self._arriving.items():
            if one.held_bytes and not one.refused:
                self._refuse(task, one)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        slow = [
            (task, one)
            for task, one in self._arriving.items()
            if not one.refused and now_s - one.since_s > _SOON_S
        ]
        while len(slow) > self._most:
            patient = now_s - slow[0][1].since_s < _PATIENCE_S
            self._refuse(*slow.pop(-1 if patient else 0))
        for task, one in slow:
            if one.held_bytes:
                continue
            try:
                self._in_flight.take(self._longest_bytes, "a message on its way")
            except QueueFullError:
                self._refuse(task, one)
            else:
                one.held_bytes = self._longest_bytes
        self._timer = loop.call_later(_LOOK_S, self._look, loop) if self._arriving else None

    def _refuse(self, task: asyncio.Task[Any], one: _Arriving) -> None:
        one.refused = True
        task.cancel()
