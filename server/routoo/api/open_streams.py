"""Streams that last: their callers are asked again who they are."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from routoo.errors import RoutooError, UnauthenticatedError

if TYPE_CHECKING:
    from routoo.api.security.caller import Caller

Context = Any  # grpc.aio.ServicerContext[bytes, bytes]
RECHECK_S = 2.0
"""The time between two checks of a stream. The file of the tokens is read again a second after it
has changed at the latest, so that a stream outlives a token by some 3 seconds at most."""


class Identifies(Protocol):
    """Tells who makes a call, as ``routoo.api.security.gate.Gate`` does."""

    anyone: Any

    def identify(self, context: Context, rpc: str) -> Caller:
        """Returns the caller of a call that may make it now."""
        ...


@dataclass(slots=True)
class _Open:
    """A stream that is open, and why it was ended, if it was."""

    context: Context
    rpc: str
    caller: Caller | None
    refusal: RoutooError | None = None


class OpenStreams:
    """Ends the streams of callers whose credentials no longer hold. Lives on one event loop.

    Where nobody is asked who they are, it knows the streams and leaves them open.

    Args:
        gate: tells who makes a call.
    """

    def __init__(self, gate: Identifies) -> None:
        self._gate = gate
        self._open: dict[asyncio.Task[Any], _Open] = {}
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, context: Context, rpc: str) -> None:
        """Adds the stream that the running task answers."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - grpc.aio runs each call in one
        self._open[task] = _Open(context, rpc, None)
        if self._timer is None and self._gate.anyone is None:
            self._timer = asyncio.get_running_loop().call_later(RECHECK_S, self._recheck)

    def leave(self) -> RoutooError | None:
        """Removes the stream of the running task, and returns why it was ended; None: it was not.

        A task that was ended here is no longer being cancelled afterwards.
        """
        if not self._open:
            return None
        task = asyncio.current_task()
        found = None if task is None else self._open.pop(task, None)
        if found is None or found.refusal is None or task is None:
            return None
        task.uncancel()
        return found.refusal

    def contexts(self, rpc: str) -> list[Context]:
        """Returns the contexts of the open streams of an RPC."""
        return [one.context for one in self._open.values() if one.rpc == rpc]

    def _recheck(self) -> None:
        self._timer = None
        for task, one in self._open.items():
            if one.refusal is not None:
                continue
            try:
                caller = self._gate.identify(one.context, one.rpc)
            except RoutooError as error:
                one.refusal = error
            else:
                if one.caller not in (None, caller):
                    one.refusal = UnauthenticatedError(
                        "the tenant or roles of your token have changed; open a new stream"
                    )
                one.caller = caller
            if one.refusal is not None:
                task.cancel()
        if self._open:
            self._timer = asyncio.get_running_loop().call_later(RECHECK_S, self._recheck)
