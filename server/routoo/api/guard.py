"""What a caller may do with a message: its own tenant's business, and no other's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from routoo.api.status import status_of
from routoo.errors import PermissionDeniedError, UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from routoo.security.caller import Caller
    from routoo.security.gate import Gate
    from routoo.telemetry.metrics import Metrics
    from routoo.v1 import batch_pb2, budget_pb2, route_pb2

    Handler = grpc.RpcMethodHandler[bytes, bytes]


def own_route(message: route_pb2.RouteRequest, caller: Caller) -> None:
    """Makes the request one of the caller's tenant.

    Raises:
        PermissionDeniedError: it names another.
    """
    if caller.tenant is not None:
        message.tenant = caller.tenant_for(message.tenant)


def own_requests(messages: Iterable[route_pb2.RouteRequest], caller: Caller) -> None:
    """As ``own_route``, for the prompts of a batch."""
    if caller.tenant is not None:
        for message in messages:
            message.tenant = caller.tenant_for(message.tenant)


def own_batch(message: batch_pb2.RouteBatchRequest, caller: Caller) -> None:
    """As ``own_route``, for a batch and the limits it sets to tenants."""
    own_requests(message.requests, caller)
    for tenant in message.tenant_budgets_usd:
        caller.tenant_for(tenant)


def budgets_shown(message: budget_pb2.GetBudgetRequest, caller: Caller) -> tuple[str, bool]:
    """Which budgets the caller is shown: those of this tenant, and whether of it alone.

    Those of all tenants together tell what others spend: they are for admins.

    Raises:
        PermissionDeniedError: it asks for another tenant's, or has none and is no admin.
    """
    if caller.is_admin:
        return message.tenant, False
    tenant = caller.tenant_for(message.tenant)
    if not tenant:
        raise PermissionDeniedError(
            "your token or certificate has no tenant; the budgets of all need the role admin"
        )
    return tenant, True


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
