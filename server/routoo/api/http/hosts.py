"""The names by which the HTTP front may be reached.

A web page of a stranger can have its own name resolved to 127.0.0.1 (DNS rebinding), and can send
simple requests to other sites without asking first. A browser tells both: by the header ``host``
the name that it has looked up, by ``origin`` the page that sends the request.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from routoo.api.http.problem import HttpError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from routoo.api.http.call import HttpCall

_MOST_KNOWN: Final = 256
_MOST_SHOWN_CHARS: Final = 80


class KnownHosts:
    """Refuses requests under a name that is not the front's, and those of other sites' pages.

    Numbers are never refused, as nobody can have them resolved to another address.

    Args:
        names: in lower case; ``localhost`` is always known.
        any_name: whether every name is known, as of a front that other machines may reach.
    """

    def __init__(self, names: Iterable[str], *, any_name: bool) -> None:
        self._names = frozenset((*names, "localhost"))
        self._any_name = any_name
        self._known: set[bytes] = set()

    def check(self, call: HttpCall) -> None:
        """Refuses a request by its headers ``host`` and ``origin``.

        Raises:
            HttpError: the front is not known by that name, or a page of another site sends it.
        """
        host = call.headers.get(b"host")
        if host is None:
            # HTTP/1.0 has no such header, and no browser speaks it.
            if call.scope["http_version"] != "1.0":
                raise HttpError(400, "the header host is missing; HTTP/1.1 needs one", closes=True)
        elif sum(name == b"host" for name, _ in call.scope["headers"]) > 1:
            raise HttpError(400, "the header host stands twice; send it once", closes=True)
        elif host not in self._known:
            self._look(host)
        origin = call.headers.get(b"origin")
        if origin is not None and origin.partition(b"://")[2] != host:
            raise HttpError(403, "pages of other sites may not call here; call from a program")

    def _look(self, host: bytes) -> None:
        name = _name_of(host.decode("latin-1").lower())
        if not name:
            raise HttpError(400, "the header host is empty; name this service", closes=True)
        if not (self._any_name or self._is_ours(name)):
            raise HttpError(
                421,
                f"{name[:_MOST_SHOWN_CHARS]} is no name of this service; call localhost or its"
                " number, or list the name under http.hosts",
            )
        if len(self._known) < _MOST_KNOWN:
            self._known.add(host)

    def _is_ours(self, name: str) -> bool:
        if name in self._names or name.endswith(".localhost"):
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True


def _name_of(host: str) -> str:
    """Returns the name or number of a header ``host``, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
