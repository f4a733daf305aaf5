"""The caller of a call: its name, its tenant and its roles."""

from __future__ import annotations

from dataclasses import dataclass

from routoo.errors import PermissionDeniedError

ROUTE = "route"
ADMIN = "admin"
PROXY = "proxy"


@dataclass(frozen=True, slots=True)
class Caller:
    """A client that makes a call, and the roles that it has.

    Attributes:
        name: tells clients apart, for their limits: a token's id or a certificate's subject, no
            secret; empty without authentication.
        tenant: the tenant that pays; None without authentication: the one that the request names.
        roles: ``ROUTE``, ``ADMIN``, ``PROXY``.
    """

    name: str
    tenant: str | None
    roles: frozenset[str]

    @property
    def is_admin(self) -> bool:
        """True if it may see the data of all tenants."""
        return ADMIN in self.roles

    @property
    def confined_to(self) -> str | None:
        """The tenant whose decisions it may settle; None: any tenant's."""
        return None if PROXY in self.roles else self.tenant

    def tenant_for(self, requested: str) -> str:
        """Returns the tenant that a request counts for.

        Args:
            requested: the tenant that the request names; empty: none.

        Raises:
            PermissionDeniedError: the request names another tenant than the caller's own, and the
                caller is no proxy.
        """
        if self.tenant is None:
            return requested
        if PROXY in self.roles:
            # A proxy has authenticated its callers, and is trusted in that.
            return requested or self.tenant
        if requested and requested != self.tenant:
            # Not replaced by the caller's own: its costs would be booked on a tenant that the
            # caller does not expect.
            raise PermissionDeniedError(
                "tenant: another than that of your token or certificate; leave it empty"
            )
        return self.tenant


ANYONE = Caller("", None, frozenset({ROUTE, ADMIN}))
"""The caller of every call to a service without authentication."""
