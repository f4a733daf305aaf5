"""Headers of requests to a provider, and of its replies to the caller."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from routoo.api.llm.headers import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from routoo.api.http.proxy.provider import Provider
    from routoo.api.llm.headers import Header

    RawHeader = tuple[bytes, bytes]

# RFC 9110, 7.6.1: they are about one connection. The rest of the first two rows is about the body
# as it came, or about this service.
_NOT_FORWARDED: Final = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization"),
        *(b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect"),
        *(b"host", b"content-length", b"content-encoding", b"cookie", b"origin", b"referer"),
        *(b"forwarded", b"via", b"x-real-ip", b"x-request-timeout-ms"),
    }
)
# The account that pays goes with the key.
_CREDENTIALS: Final = frozenset(
    {
        *(b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"),
        *(b"openai-organization", b"openai-project", b"x-goog-user-project"),
    }
)
_NOT_RETURNED: Final = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization"),
        *(b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
        # About the provider's site, its clock and its server, which are not the caller's.
        *(b"set-cookie", b"alt-svc", b"strict-transport-security", b"date", b"server"),
        # Whose account it is.
        *(b"openai-organization", b"openai-project", b"anthropic-organization-id"),
    }
)
_PREFIX: Final = PREFIX.encode()
# Which pages may read the reply is not the provider's business.
_OF_PAGES: Final = b"access-control-"
# RFC 9110, 5.5; some providers send other bytes, for which no reply is to be lost.
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_ANTHROPIC_VERSION: Final = ("anthropic-version", "2023-06-01")


def to_provider(
    headers: Iterable[RawHeader], provider: Provider, added: Iterable[Header], *, identity: bool
) -> list[Header]:
    """Returns the headers of a request for a provider.

    The caller's credentials are left out, unless the provider's settings forward them: they are
    the service's own tokens.

    Args:
        headers: those of the caller, names in lower case.
        provider: its key and its own headers are added.
        added: further headers; they replace the caller's.
        identity: whether the reply is asked for without compression.
    """
    settings = provider.settings
    own = {**dict(added), **settings.headers}
    key = provider.key.value
    if key:
        anthropic = provider.apis == {"messages"}
        own.setdefault(*(("x-api-key", key) if anthropic else ("authorization", f"Bearer {key}")))
    gone = _of_connection(headers)
    found: list[Header] = []
    for name, value in headers:
        if name in _NOT_FORWARDED or name.startswith((_PREFIX, b"x-forwarded-")) or name in gone:
            continue
        if name in _CREDENTIALS and (key or not settings.forward_authorization):
            continue
        if identity and name == b"accept-encoding":
            continue
        text = name.decode("latin-1")
        if text not in own:
            found.append((text, value.decode("latin-1")))
    if "messages" in provider.apis and not any(name == "anthropic-version" for name, _ in found):
        own.setdefault(*_ANTHROPIC_VERSION)
    if identity:
        own.setdefault("accept-encoding", "identity")
    found += own.items()
    return found


def to_caller(headers: Sequence[RawHeader], added: Iterable[Header]) -> list[RawHeader]:
    """Returns the headers of a reply for the caller.

    What only the service knows is never taken from a provider.

    Args:
        headers: those of the provider's reply, names in lower case.
        added: headers that tell of the decision.
    """
    gone = _of_connection(headers)
    found = [
        (name, value)
        for name, value in headers
        if name not in _NOT_RETURNED
        and not name.startswith((_PREFIX, _OF_PAGES))
        and name not in gone
        and _VALUE.fullmatch(value)
    ]
    found += [(name.encode(), value.encode("latin-1", "replace")) for name, value in added]
    return found


def _of_connection(headers: Iterable[RawHeader]) -> frozenset[bytes]:
    """Returns the names that the header ``connection`` lists."""
    listed = [value for name, value in headers if name == b"connection"]
    if not listed:
        return frozenset()
    return frozenset(one.strip().lower() for value in listed for one in value.split(b","))
