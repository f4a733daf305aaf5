"""Streams that last: their callers are asked again who they are."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from routoo.errors import RateLimitedError, RoutooError, UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from routoo.api.security.caller import Caller
    from routoo.api.security.gate import Admission

Context = Any  # grpc.aio.ServicerContext[bytes, bytes]
RECHECK_S = 2.0
"""The time between two checks of a stream. Files of tokens and authorities are read again a second
after they have changed at the latest, so that a stream outlives a token or a certificate by some 3
seconds at most."""
# A check takes some microseconds, and other calls wait meanwhile.
_AT_ONCE = 256


class Identifies(Protocol):
    """Tells who makes a call, as ``routoo.api.security.gate.Gate`` does."""

    def identify(self, context: Context, rpc: str) -> Caller:
        """Returns the caller of a call that may make it now."""
        ...


@dataclass(slots=True)
class _Open:
    """A stream that is open, and why it was ended, if it was."""

    context: Context
    rpc: str
    caller: Caller | None
    admission: Admission | None
    refusal: RoutooError | None = None


class OpenStreams:
    """Ends the streams of callers whose credentials no longer hold. Lives on one event loop.

    A stream that counts as a call in progress is ended, too, when the limit of these was lowered:
    of a client's streams the newest first, as far as they are above the limit.

    Args:
        gate: tells who makes a call.
    """

    def __init__(self, gate: Identifies) -> None:
        self._gate = gate
        # The oldest first.
        self._open: dict[asyncio.Task[Any], _Open] = {}
        # Those that are still to be checked in this round.
        self._due: list[asyncio.Task[Any]] = []
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, context: Context, rpc: str, admission: Admission | None = None) -> None:
        """Adds the stream that the running task answers.

        Args:
            context: the context of the call.
            rpc: its name.
            admission: of a stream that is a call in progress; None: of one that is let in message
                by message.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - grpc.aio runs each call in one
        caller = None if admission is None else admission.caller
        self._open[task] = _Open(context, rpc, caller, admission)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RECHECK_S, self._recheck)

    def leave(self) -> RoutooError | None:
        """Removes the stream of the running task, and returns why it was ended; None: it was not.

        A task that was ended here is no longer being cancelled afterwards.
        """
        task = asyncio.current_task()
        found = None if task is None else self._open.pop(task, None)
        if found is None or found.refusal is None or task is None:
            return None
        task.uncancel()
        return found.refusal

    def contexts(self, rpc: str) -> list[Context]:
        """Returns the contexts of the open streams of an RPC."""
        return [one.context for one in self._open.values() if one.rpc == rpc]

    def checked(self, bodies: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Returns the messages of the running task's stream, as long as its caller may send.

        Each message is checked when it has come, in whatever task it is read; one that is refused
        ends the stream.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - grpc.aio runs each call in one
        return self._checked(task, self._open[task], bodies)

    async def _checked(
        self, task: asyncio.Task[Any], one: _Open, bodies: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        async for body in bodies:
            self._check(task, one)
            if one.refusal is not None:
                return
            yield body

    def _check(self, task: asyncio.Task[Any], one: _Open) -> None:
        """Ends a stream whose caller may no longer make it."""
        if one.refusal is not None:
            return
        try:
            caller = self._gate.identify(one.context, one.rpc)
        except RoutooError as error:
            one.refusal = error
        else:
            if one.caller not in (None, caller):
                one.refusal = UnauthenticatedError(
                    "the tenant or roles of your credential have changed; open a new stream"
                )
            one.caller = caller
        if one.refusal is not None:
            task.cancel()

    def _recheck(self) -> None:
        """Checks some streams, and comes back for the others in the loop's next turn."""
        self._timer = None
        if not self._due:
            self._due = list(self._open)
            self._end_excess()
        for task in self._due[-_AT_ONCE:]:
            one = self._open.get(task)
            if one is not None:
                self._check(task, one)
        del self._due[-_AT_ONCE:]
        if self._open:
            wait_s = 0.0 if self._due else RECHECK_S
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._recheck)

    def _end_excess(self) -> None:
        """Ends streams above a limit that was lowered; those of a client count together."""
        ended: Counter[int] = Counter()
        for task, one in reversed(self._open.items()):
            if one.admission is None:
                continue
            client = id(one.admission.client)
            if one.refusal is None and ended[client] < one.admission.excess:
                one.refusal = RateLimitedError(
                    "more streams of yours are open than one client may have now; close some"
                )
                task.cancel()
            ended[client] += one.refusal is not None
