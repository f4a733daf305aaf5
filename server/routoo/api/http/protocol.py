"""HTTP/1.1 on one connection: uvicorn's protocol with bounds on heads, pipelines and time."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import httptools
import orjson
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from routoo.api.http.call import CERTIFICATE, WHOLE_REPLY
from routoo.api.http.problem import PROBLEM

if TYPE_CHECKING:
    import asyncio

    from uvicorn.config import Config
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
    from uvicorn.server import ServerState

    from routoo.api.http.call import Headers

MOST_HEAD_BYTES: Final = 64 * 1024
"""Greatest length of a request's line and headers together."""
_UPGRADE_HEADERS: Final = frozenset({b"upgrade", b"connection", b"http2-settings"})
_CLOSE: Final = b"connection: close\r\n\r\n"
_MOST_PIPELINED: Final = 64
"""Most requests that wait behind the one that is answered, in one connection."""


class _HeadTooLongError(Exception):
    """Ends the parsing of a head that is too long."""


class _PipelineFullError(Exception):
    """Ends the parsing of a connection with too many requests at once."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection.

    Attributes:
        since_s: when the request that is arriving began, or the connection, on the loop's clock;
            0: none is arriving.
        opened_s: when the connection began, on the loop's clock.

    Args:
        config: of uvicorn.
        state: what all connections of a server share.
        most_connections: how many may be open; one more is refused.
    """

    def __init__(self, config: Config, state: ServerState, most_connections: int) -> None:
        super().__init__(config, state, {})
        self.since_s = self.opened_s = self.loop.time()
        self._most_connections = most_connections
        self._in_head = True
        self._moved = False
        self._head_bytes = 0
        self._head_without_upgrade = b""
        self._unsent_bytes = 0
        self._unsent_since_s = 0.0
        self._certificate: dict[str, Any] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins a connection; refuses it where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self._most_connections:
            self.refuse(503, "too many connections are open; close some, or retry later")
            return
        secure = transport.get_extra_info("ssl_object")
        shown = None if secure is None else secure.getpeercert(binary_form=True)
        if shown:
            self._certificate = certificate_facts(shown)

    def data_received(self, data: bytes) -> None:
        """Takes what has arrived."""
        if self.transport.is_closing():
            return
        if not self.since_s:
            self.since_s = self.loop.time()
        self._unset_keepalive_if_required()
        self._moved = False
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self.refuse(400, f"the request is no HTTP: {error}; send HTTP/1.1")
        # A header counts when it has ended; one that never ends is told by what has come. The same
        # goes for what stands between pieces of a body, and for trailers.
        if self.since_s and not self._moved:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse_head()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The parser takes no body of a request whose client would rather speak another
            # protocol, and nothing after it. So the request is read again without that wish.
            head, self._head_without_upgrade = self._head_without_upgrade, b""
            if head:
                self.parser = httptools.HttpRequestParser(self)
                self._feed(head + data[upgrade.args[0] :])

    def on_message_begin(self) -> None:
        """Begins a request."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        if self._certificate is not None:
            self.scope["state"][CERTIFICATE] = self._certificate

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header. Trailers are left out, as they must not pass for headers."""
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Takes a piece of the body."""
        self._moved = True
        self._head_bytes = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """Begins to answer a request, whose body may still be on its way."""
        self._in_head = False
        self._moved = True
        self._head_bytes = 0
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MOST_HEAD_BYTES:
            self._refuse_head()
            raise _HeadTooLongError
        if len(self.pipeline) >= _MOST_PIPELINED:
            self.refuse(400, "too many requests at once in one connection; wait for replies")
            raise _PipelineFullError
        if self.parser.should_upgrade() and not self._is_websocket():
            self._head_without_upgrade = self._head()
            return
        super().on_headers_complete()
        self.scope["state"][WHOLE_REPLY] = partial(send_whole, self.cycle)
        if self.parser.should_upgrade():
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Notes that a request has arrived."""
        if self._head_without_upgrade:
            return
        self.since_s = 0.0
        self._in_head = True
        self._head_bytes = 0
        super().on_message_complete()

    def _is_websocket(self) -> bool:
        return self.parser.get_method() == b"CONNECT" or self._get_upgrade() == b"websocket"

    def _head(self) -> bytes:
        """Returns line and headers of a request without its wish for another protocol."""
        lines = [b"%s %s HTTP/1.1" % (self.parser.get_method(), self.url)]
        lines += [
            b"%s: %s" % header for header in self.headers if header[0] not in _UPGRADE_HEADERS
        ]
        return b"\r\n".join((*lines, b"", b""))

    def expire(self, now_s: float, longest_s: float) -> None:
        """Ends a connection on which nothing has moved for too long.

        Args:
            now_s: on the loop's clock.
            longest_s: for a request to arrive, and for a caller to take some of its reply.
        """
        unsent_bytes = self.transport.get_write_buffer_size()
        if not unsent_bytes or unsent_bytes != self._unsent_bytes:
            self._unsent_bytes = unsent_bytes
            self._unsent_since_s = now_s
        elif now_s - self._unsent_since_s > longest_s:
            self.transport.abort()
            return
        if not self.since_s or now_s - self.since_s <= longest_s:
            return
        self.refuse(
            408,
            f"the request was not there within {longest_s:g} s; send it at once, or set"
            " http.transfer_timeout_s",
        )

    def refuse(self, status: int, detail: str) -> None:
        """Replies with a problem and closes; where another reply is due, closes after that."""
        transport = self.transport
        if transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body or cycle.response_started:
                cycle.keep_alive = False
                return
            # Nothing more of its body comes. Its answer is told that the caller has gone.
            self.since_s = 0.0
        title = HTTPStatus(status).phrase
        body = orjson.dumps(
            {"type": "about:blank", "title": title, "status": status, "detail": detail}
        )
        transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%s" % (status, title.encode(), PROBLEM, len(body), body)
        )
        transport.close()

    def _refuse_head(self) -> None:
        self.refuse(431, f"line and headers have more than {MOST_HEAD_BYTES} bytes; send less")


def send_whole(cycle: RequestResponseCycle, status: int, headers: Headers, body: bytes) -> bool:
    """Sends head and body of a reply in one packet, which wakes the caller once and not twice.

    Args:
        cycle: the request; its reply has not begun.
        status: of HTTP.
        headers: all headers, the length of the body among them.
        body: the whole body.

    Returns:
        False where nothing was sent, as the caller has not taken earlier replies yet.

    Raises:
        ValueError: a header would end its line.
    """
    if cycle.flow.write_paused:
        return False
    head = [STATUS_LINE[status]]
    for name, value in (*cycle.default_headers, *headers):
        if b"\n" in value or b"\r" in value:
            raise ValueError("a header of a reply has more than one line")
        head += (name, b": ", value, b"\r\n")
        if name == b"connection" and value == b"close":
            cycle.keep_alive = False
    head.append(b"\r\n" if cycle.keep_alive or b"connection" in head else _CLOSE)
    if cycle.scope["method"] != "HEAD":
        head.append(body)
    cycle.response_started = True
    cycle.waiting_for_100_continue = False
    if not cycle.disconnected:
        cycle.transport.write(b"".join(head))
    cycle.response_complete = True
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True


def certificate_facts(certificate: bytes) -> dict[str, Any]:
    """Returns the facts about a client's certificate under the names that gRPC has for them.

    Args:
        certificate: as DER; its signature was verified.
    """
    parsed = x509.load_der_x509_certificate(certificate)
    names: list[bytes] = []
    try:
        extension = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        pass
    else:
        for kind in (x509.DNSName, x509.UniformResourceIdentifier, x509.RFC822Name):
            names += [one.encode() for one in extension.value.get_values_for_type(kind)]
        names += [str(one).encode() for one in extension.value.get_values_for_type(x509.IPAddress)]
    common = parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return {
        "x509_subject_alternative_name": names,
        "x509_common_name": [str(one.value).encode() for one in common],
        "x509_pem_cert": [parsed.public_bytes(Encoding.PEM)],
    }
