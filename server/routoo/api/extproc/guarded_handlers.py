"""Handlers behind the gate: a call without a credential is refused before its body is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from routoo.api.status import status_of
from routoo.errors import UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from routoo.api.security.gate import Gate
    from routoo.telemetry.metrics import Metrics

    Handler = grpc.RpcMethodHandler[bytes, bytes]


class GuardedHandlers(grpc.GenericRpcHandler):  # type: ignore[type-arg] # not so at run time
    """Handlers behind the gate: a call without a credential is refused before its body is read.

    Args:
        handlers: answer the calls; they ask the gate again for what needs the whole call.
        gate: lets calls in.
        metrics: told of the refused ones.
    """

    def __init__(
        self, handlers: grpc.GenericRpcHandler[bytes, bytes], gate: Gate, metrics: Metrics
    ) -> None:
        self._handlers = handlers
        self._gate = gate
        self._metrics = metrics

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """The handler of a call; None when there is none."""
        handler = self._handlers.service(handler_call_details)
        if handler is None:
            return None
        try:
            self._gate.check_unread(handler_call_details.invocation_metadata)
        except UnauthenticatedError as error:
            return self._refusal(handler_call_details.method.rpartition("/")[2], error)
        return handler

    def _refusal(self, rpc: str, error: UnauthenticatedError) -> Handler:
        async def refuse(_: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            status, line = status_of(error)
            self._metrics.answered(rpc, status.name, 0.0)
            await context.abort(status, line)
            yield b""  # never reached: it makes this a stream, of which nothing is read

        return grpc.stream_stream_rpc_method_handler(refuse)
