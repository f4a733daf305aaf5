"""HTTP/1.1 on one connection: uvicorn's protocol with bounds on heads, pipelines and time."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from routoo.api.http.call import CERTIFICATE
from routoo.api.http.problem import PROBLEM

if TYPE_CHECKING:
    import asyncio

    from uvicorn.config import Config
    from uvicorn.server import ServerState

MOST_HEAD_BYTES: Final = 64 * 1024
"""Greatest length of a request's line and headers together."""
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
        self._head_bytes = 0
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
        super().data_received(data)
        # A header counts when it has ended; one that never ends is told by what has come.
        if self._in_head and self.since_s:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse_head()

    def on_message_begin(self) -> None:
        """Begins a request."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        if self._certificate is not None:
            self.scope["state"][CERTIFICATE] = self._certificate

    def on_headers_complete(self) -> None:
        """Begins to answer a request, whose body may still be on its way."""
        self._in_head = False
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MOST_HEAD_BYTES:
            self._refuse_head()
            raise _HeadTooLongError
        if len(self.pipeline) >= _MOST_PIPELINED:
            self.refuse(400, "too many requests at once in one connection; wait for replies")
            raise _PipelineFullError
        super().on_headers_complete()
        if self.parser.should_upgrade():
            # The parser takes nothing more of a connection whose client has asked for another
            # protocol.
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Notes that a request has arrived."""
        self.since_s = 0.0
        self._in_head = True
        self._head_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no HTTP, unless it was refused already."""
        self.refuse(400, f"{msg.rstrip('.')}; send HTTP/1.1")

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
        if self._in_head:
            self.refuse(408, "the request was not there in time; send it at once")
        else:
            self.transport.close()

    def refuse(self, status: int, detail: str) -> None:
        """Replies with a problem and closes; where another reply is due, closes after that."""
        transport = self.transport
        if transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False
            return
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
