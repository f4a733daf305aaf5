"""Tests of the tenants for which a caller may make requests."""

from __future__ import annotations

import pytest

from routoo.api.security.caller import ADMIN, ANYONE, PROXY, ROUTE, Caller
from routoo.errors import PermissionDeniedError


def test_a_caller_speaks_for_its_tenant_alone() -> None:
    caller = Caller("t1", "team-a", frozenset({ROUTE, ADMIN}))
    assert caller.tenant_for("") == caller.tenant_for("team-a") == "team-a"
    assert caller.confined_to == "team-a"
    with pytest.raises(PermissionDeniedError, match="tenant: another than"):
        caller.tenant_for("team-b")


def test_a_proxy_speaks_for_whom_it_names() -> None:
    proxy = Caller("t1", "team-a", frozenset({PROXY}))
    assert proxy.tenant_for("team-b") == "team-b"
    assert proxy.tenant_for("") == "team-a"
    assert proxy.confined_to is None
    assert not proxy.is_admin


def test_where_nobody_is_asked_requests_say_who_pays() -> None:
    assert ANYONE.tenant_for("team-b") == "team-b"
    assert ANYONE.confined_to is None
