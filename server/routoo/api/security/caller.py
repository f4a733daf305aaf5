"""Who makes a call."""

from __future__ import annotations

from dataclasses import dataclass

from routoo.errors import PermissionDeniedError

ROUTE = "route"
ADMIN = "admin"
PROXY = "proxy"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call, and what it may do.

    Attributes:
        name: tells clients apart, for their limits: a token's id or a certificate's subject, no
            secret; empty where nobody is asked who calls.
        tenant: who pays; None where nobody is asked who calls: whoever the request names.
        roles: ``ROUTE``, ``ADMIN``, ``PROXY``.
    """

    name: str
    tenant: str | None
    roles: frozenset[str]

    @property
    def is_admin(self) -> bool:
        """Whether it may see what concerns all tenants."""
        return ADMIN in self.roles

    @property
    def confined_to(self) -> str | None:
        """The tenant whose decisions it may settle; None: anybody's."""
        return None if PROXY in self.roles else self.tenant

    def tenant_for(self, requested: str) -> str:
        """The tenant that a request counts for.

        Args:
            requested: the one that the request names; empty: none.

        Raises:
            PermissionDeniedError: the request names another than the caller's own, and the
                caller is no proxy.
        """
        if self.tenant is None:
            return requested
        if PROXY in self.roles:
            # It has asked who calls, and answers for that.
            return requested or self.tenant
        if requested and requested != self.tenant:
            # Going on with the caller's own would book costs where the caller does not look.
            raise PermissionDeniedError(
                "tenant: another than that of your token or certificate; leave it empty"
            )
        return self.tenant


ANYONE = Caller("", None, frozenset({ROUTE, ADMIN}))
"""Every caller of a service that asks nobody who they are."""
