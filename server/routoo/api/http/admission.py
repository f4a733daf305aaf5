"""The way of every HTTP call: it is admitted, its body is read, it is answered and counted.

Gate, overload, memory and metrics are those of gRPC's calls, so that a client's limits, the bound
on the memory of calls in progress and the counts hold for both together.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final

import structlog

from routoo.api.http.problem import HttpError
from routoo.api.memory.in_flight import message_bytes
from routoo.errors import DrainingError, QueueFullError

if TYPE_CHECKING:
    from routoo.api.calls import Calls
    from routoo.api.http.call import HttpCall
    from routoo.api.http.door import Door

_log = structlog.get_logger("routoo.http")
# Bodies of which a part is still on its way may have this share of the memory of all calls.
_SHARE: Final = 0.25
_RETRY_AFTER_S: Final = 0.25


class CallerGoneError(Exception):
    """The caller has closed the connection, and nobody reads a reply."""


class HttpAdmission:
    """Runs HTTP calls. Lives on the event loop that serves.

    Attributes:
        calls: of gRPC; its gate, overload, memory and counts are used here, too.
        draining: whether the service is about to stop, and no further call is taken.
        arriving_bytes: the memory of bodies of which a part is still on its way.
        most_arriving_bytes: how much that may be.

    Args:
        calls: see the attribute.
    """

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.draining = False
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        # The longest message may always come, however little memory there is.
        self.most_arriving_bytes = max(
            int(calls.in_flight.most_bytes * _SHARE),
            message_bytes(calls.in_flight.longest_message_bytes),
        )
        self.arriving_bytes = 0

    async def run(self, call: HttpCall, door: Door) -> None:
        """Answers one call, or refuses it."""
        if not door.rpc:
            await door.answer(call)
            return
        code = "OK"
        self._active += 1
        self._idle.clear()
        try:
            await self._admit(call, door)
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        except CallerGoneError:
            code = "CANCELLED"
        except Exception as error:  # noqa: BLE001 - it becomes a reply
            code = await self._refuse(call, door, error)
        finally:
            # The time that a provider takes does not count as the service's.
            ended_s = call.handed_s or monotonic()
            self.calls.answered(door.rpc, code, ended_s - call.arrived_s)
            self._active -= 1
            if not self._active:
                self._idle.set()

    async def _admit(self, call: HttpCall, door: Door) -> None:
        calls = self.calls
        if self.draining:
            call.closes = True
            raise DrainingError("the service is stopping; send to another replica")
        call.read_deadline()
        # Checked before anything is read: under overload, most calls end here.
        if door.sheds:
            calls.overload.check(call.time_remaining())
        admission = calls.gate.anyone
        if admission is not None:
            call.admission = admission
            await self._take(call, door)
            return
        with calls.gate.admit(call, door.rpc) as call.admission:
            await self._take(call, door)

    async def _take(self, call: HttpCall, door: Door) -> None:
        """Reads the body and answers, while memory and a place among the calls are held."""
        if door.most_bytes != 0 and call.method == "POST":
            call.held_bytes = await self._read(call, door)
        overload = self.calls.overload
        try:
            if not door.sheds:
                await door.answer(call)
                return
            entered_s = overload.enter(call.time_remaining())
            try:
                await door.answer(call)
            finally:
                overload.leave(entered_s)
        finally:
            self.calls.in_flight.give(call.held_bytes)

    async def drain(self, grace_s: float) -> None:
        """Takes no further calls, and waits until those in progress are answered.

        Args:
            grace_s: the longest wait, in seconds.
        """
        self.draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), grace_s)
        except TimeoutError:
            _log.warning("HTTP calls were still running when their time ended", calls=self._active)

    async def _refuse(self, call: HttpCall, door: Door, error: Exception) -> str:
        if call.begun:
            # Nothing but the end of the connection, which the protocol brings about, tells the
            # caller that the rest is missing.
            raise error
        if isinstance(error, QueueFullError) and error.retry_after_s is None:
            error.retry_after_s = self.calls.overload.retry_after_s
        # What is left of the body would have to be read before the next request.
        call.closes |= not call.complete and has_body(call)
        return await door.refuse(call, error, door.rpc)

    async def _read(self, call: HttpCall, door: Door) -> int:
        """Reads the body, and returns the memory that is reserved for the call.

        Raises:
            HttpError: the body is too long, or compressed.
            QueueFullError: the calls in progress have too much of the memory.
            CallerGoneError: the caller has closed the connection.
        """
        in_flight = self.calls.in_flight
        most = in_flight.longest_message_bytes if door.most_bytes is None else door.most_bytes
        declared = call.headers.get(b"content-length", b"0")
        if len(declared) > len(str(most)) or int(declared) > most:
            raise _too_long(most)
        coding = call.headers.get(b"content-encoding", b"identity")
        if coding != b"identity" and not door.decodes:
            raise HttpError(
                415, "the body is compressed; send it without content-encoding", closes=True
            )
        message = await call.receive()
        if message["type"] == "http.disconnect":
            raise CallerGoneError
        if not message["more_body"]:
            call.body = message["body"]
            if len(call.body) > most:
                raise _too_long(most)
            call.complete = True
            return in_flight.take(message_bytes(len(call.body)))
        return await self._read_slowly(call, message["body"], most)

    async def _read_slowly(self, call: HttpCall, first: bytes, most: int) -> int:
        """Reads a body that comes in parts, whose memory is reserved as it is taken."""
        arriving = _Arriving(self)
        try:
            arriving.take(first, most)
            while not call.complete:
                message = await call.receive()
                if message["type"] == "http.disconnect":
                    raise CallerGoneError  # noqa: TRY301 - what is reserved is given back below
                arriving.take(message["body"], most)
                call.complete = not message["more_body"]
        except BaseException:
            self.calls.in_flight.give(arriving.held_bytes)
            raise
        finally:
            self.arriving_bytes -= arriving.held_bytes
        call.body = b"".join(arriving.parts)
        return arriving.held_bytes


class _Arriving:
    """A body of which a part is there.

    Attributes:
        parts: what is there.
        held_bytes: the memory that is reserved for it.
    """

    __slots__ = ("_admission", "_length", "held_bytes", "parts")

    def __init__(self, admission: HttpAdmission) -> None:
        self._admission = admission
        self._length = 0
        self.parts: list[bytes] = []
        self.held_bytes = 0

    def take(self, part: bytes, most: int) -> None:
        """Adds a part of a body of at most so many bytes.

        Raises:
            HttpError: the body is longer.
            QueueFullError: there is no memory for it.
        """
        self._length += len(part)
        if self._length > most:
            raise _too_long(most)
        admission = self._admission
        more_bytes = message_bytes(self._length) - self.held_bytes
        if admission.arriving_bytes + more_bytes > admission.most_arriving_bytes:
            raise _too_many()
        self.held_bytes += admission.calls.in_flight.take(more_bytes)
        admission.arriving_bytes += more_bytes
        self.parts.append(part)


def has_body(call: HttpCall) -> bool:
    """Returns whether a request has a body."""
    length = call.headers.get(b"content-length", b"0")
    return b"transfer-encoding" in call.headers or length != b"0"


def _too_long(most: int) -> HttpError:
    return HttpError(413, f"the body has more than {most} bytes; send less at once", closes=True)


def _too_many() -> QueueFullError:
    error = QueueFullError(
        "too many bodies are on their way; send the body at once, retry later, or set"
        " limits.max_in_flight_bytes"
    )
    error.retry_after_s = _RETRY_AFTER_S
    return error
