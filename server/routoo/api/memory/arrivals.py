"""Calls whose message is on its way.

gRPC takes in a message once it is waited for, up to ``limits.max_message_bytes``, and does not tell
how much of it is there; of others it keeps a few kilobytes. So few are waited for at a time, which
for short messages is a turn of the event loop. A message that is not there soon, as it is long or
its sender is slow, is counted with its greatest length, and those may have a quarter of the memory
of calls in progress. Beyond that the newest are refused; or the oldest, if it has had
``_PATIENCE_S``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from routoo.errors import QueueFullError

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.api.memory.in_flight import InFlight

Context = Any  # grpc.aio.ServicerContext[bytes, bytes]; the stubs' generic does not fit raw bytes
_LOOK_S: Final = 0.02
_SOON_LOOKS: Final = 3
# After the loop has stood still, what has arrived meanwhile is read first.
_LATE_S: Final = 0.05
_RETRY_AFTER_S: Final = 0.25
_PATIENCE_S: Final = 10.0
_SHARE: Final = 0.25
_AT_A_TIME: Final = 8
"""Messages that are waited for beside those that are late. A short one takes some 0.2 ms."""


@dataclass(slots=True)
class _Arriving:
    """A message on its way.

    Attributes:
        since_s: when it was waited for first, on the loop's clock.
        looks: how often it was still on its way.
        held_bytes: what is reserved for it; 0: nothing yet.
        ended: whether its call was ended.
    """

    since_s: float
    looks: int = 0
    held_bytes: int = 0
    ended: bool = False


class Arrivals:
    """Bounds the messages that are on their way. Lives on one event loop.

    Args:
        in_flight: the memory of calls in progress.
        end: ends a call, whose read then fails.
    """

    def __init__(self, in_flight: InFlight, end: Callable[[Context, QueueFullError], None]) -> None:
        self._in_flight = in_flight
        self._end = end
        self._longest_bytes = longest_bytes = min(
            in_flight.longest_message_bytes, in_flight.most_bytes
        )
        self._most = max(1, int(in_flight.most_bytes * _SHARE) // longest_bytes)
        # In the order in which they began.
        self._arriving: dict[Context, _Arriving] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._due_s = 0.0
        self._late = False
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def full(self) -> bool:
        """Whether a call has to wait for its turn before it waits for its message."""
        return len(self._arriving) >= self._most + _AT_A_TIME

    async def turn(self) -> None:
        """Waits until fewer messages are on their way."""
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            self._next()
            raise

    def enter(self, context: Context) -> None:
        """Notes that a call waits for its message; ``leave`` has to follow."""
        self._arriving[context] = _Arriving(self._loop.time())
        if self._timer is None:
            self._look_later()

    def leave(self, context: Context) -> None:
        """Notes that the message is there, or that the call has ended."""
        held_bytes = self._arriving.pop(context).held_bytes
        if held_bytes:
            self._in_flight.give(held_bytes)
        if self._queue:
            self._next()

    def _next(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def relieve(self) -> None:
        """Ends the calls whose messages have not arrived soon."""
        for context, one in self._arriving.items():
            if one.held_bytes and not one.ended:
                self._refuse(context, one)

    def _look_later(self) -> None:
        self._due_s = self._loop.time() + _LOOK_S
        self._timer = self._loop.call_at(self._due_s, self._look)

    def _look(self) -> None:
        now_s = self._loop.time()
        self._timer = None
        self._late = not self._late and now_s - self._due_s > _LATE_S
        if not self._late:
            self._bound(now_s)
        if self._arriving:
            self._look_later()

    def _bound(self, now_s: float) -> None:
        slow = []
        for context, one in self._arriving.items():
            one.looks += 1
            if one.looks >= _SOON_LOOKS and not one.ended:
                slow.append((context, one))
        while len(slow) > self._most:
            patient = now_s - slow[0][1].since_s < _PATIENCE_S
            self._refuse(*slow.pop(-1 if patient else 0))
        for context, one in slow:
            if one.held_bytes:
                continue
            try:
                one.held_bytes = self._in_flight.take(self._longest_bytes, "a message on its way")
            except QueueFullError:
                self._refuse(context, one)

    def _refuse(self, context: Context, one: _Arriving) -> None:
        one.ended = True
        error = QueueFullError(
            f"the messages of {self._most} calls are on their way, which may take"
            f" {self._longest_bytes} bytes each; send the message at once, retry later, or set"
            " limits.max_in_flight_bytes"
        )
        error.retry_after_s = _RETRY_AFTER_S
        self._end(context, error)
