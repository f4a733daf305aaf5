"""Checks that confine a caller's messages to its own tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.errors import PermissionDeniedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from routoo.api.security.caller import Caller
    from routoo.v1 import batch_pb2, budget_pb2, route_pb2


def own_route(message: route_pb2.RouteRequest, caller: Caller) -> None:
    """Sets the request's tenant to the caller's.

    Raises:
        PermissionDeniedError: the request names another tenant.
    """
    if caller.tenant is not None:
        message.tenant = caller.tenant_for(message.tenant)


def own_requests(
    messages: Iterable[route_pb2.RouteRequest], caller: Caller
) -> Iterator[route_pb2.RouteRequest]:
    """Yields the prompts of a batch with their tenants set to the caller's.

    Raises:
        PermissionDeniedError: a prompt names another tenant.
    """
    for message in messages:
        own_route(message, caller)
        yield message


def own_budgets(message: batch_pb2.RouteBatchRequest, caller: Caller) -> None:
    """Checks the tenants that a batch sets limits to.

    Raises:
        PermissionDeniedError: a limit names another tenant.
    """
    if caller.tenant is not None:
        for tenant in message.tenant_budgets_usd:
            caller.tenant_for(tenant)


def budgets_shown(message: budget_pb2.GetBudgetRequest, caller: Caller) -> tuple[str, bool]:
    """Finds the tenant whose budgets a caller may see.

    The budgets that all tenants share tell what others spend, so only admins see them.

    Returns:
        The tenant (empty: all), and whether only its own budgets are shown.

    Raises:
        PermissionDeniedError: the caller asks for another tenant's budgets, or has no tenant and is
            no admin.
    """
    if caller.is_admin:
        return message.tenant, False
    tenant = caller.tenant_for(message.tenant)
    if not tenant:
        raise PermissionDeniedError(
            "your token or certificate has no tenant; the budgets of all need the role admin"
        )
    return tenant, True


def decisions_shown(caller: Caller) -> str | None:
    """Finds the tenant whose decisions a caller may look at; None: those of all.

    Raises:
        PermissionDeniedError: the caller has no tenant and is no admin.
    """
    if caller.is_admin:
        return None
    if not caller.tenant:
        raise PermissionDeniedError(
            "your token or certificate has no tenant; the decisions of all need the role admin"
        )
    return caller.tenant
