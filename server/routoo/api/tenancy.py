"""What a caller may do with a message: its own tenant's business, and no other's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.errors import PermissionDeniedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from routoo.api.security.caller import Caller
    from routoo.v1 import batch_pb2, budget_pb2, route_pb2


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
