"""One HTTP request, as the gate sees it, and the reply to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from routoo.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routoo.api.security.gate import Admission

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

CERTIFICATE: Final = "routoo.certificate"
"""Key of a scope's ``state`` with the facts about the client's certificate."""
WHOLE_REPLY: Final = "routoo.whole_reply"
"""Key of a scope's ``state`` with a function that sends head and body of a reply in one packet, as
far as it can; it gets status, headers and body, and returns whether it has sent them."""
TIMEOUT_HEADER: Final = b"x-request-timeout-ms"
"""The time in milliseconds, from the request's arrival on, after which nobody waits for a reply."""
_LONGEST_TIMEOUT_DIGITS: Final = 9
JSON: Final = b"application/json"


class HttpCall:
    """One HTTP request and its reply. It stands in for gRPC's context of a call at the gate.

    Attributes:
        scope: of ASGI.
        method: ``GET``, ``POST``, ...
        path: without the query.
        headers: names in lower case, and values; of a name that comes twice, the last value.
        receive: of ASGI; for answers that read the body by themselves.
        send: of ASGI.
        admission: the caller, once it is let in.
        body: the whole body, once it is read.
        complete: whether the request has arrived to its end.
        begun: whether the reply has begun.
        closes: whether the connection ends with the reply.
        held_bytes: what is reserved for the call in ``InFlight``.
        handed_s: when the service had done its part and a provider was asked, on the same clock as
            ``arrived_s``; 0: at the end of the call.
        arrived_s: seconds of ``time.monotonic`` when the request's headers were there.
    """

    __slots__ = (
        "_deadline_s",
        "admission",
        "arrived_s",
        "begun",
        "body",
        "closes",
        "complete",
        "handed_s",
        "headers",
        "held_bytes",
        "method",
        "path",
        "receive",
        "scope",
        "send",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.receive = receive
        self.send = send
        self.admission: Admission | None = None
        self.body = b""
        self.complete = False
        self.begun = False
        self.held_bytes = 0
        self.handed_s = 0.0
        self.closes = False
        self.arrived_s = monotonic()
        self._deadline_s: float | None = None

    def header(self, name: bytes) -> str:
        """Returns the value of a header, as Latin-1; empty: the request has none."""
        return self.headers.get(name, b"").decode("latin-1")

    def read_deadline(self) -> None:
        """Reads the header ``x-request-timeout-ms``.

        Raises:
            InvalidRequestError: it is no whole number of at least 1.
        """
        text = self.headers.get(TIMEOUT_HEADER)
        if text is None:
            return
        if not text.isdigit() or len(text) > _LONGEST_TIMEOUT_DIGITS or not int(text):
            raise InvalidRequestError(
                "has to be a whole number of milliseconds of at least 1",
                field=TIMEOUT_HEADER.decode(),
            )
        self._deadline_s = self.arrived_s + int(text) * 1e-3

    @property
    def deadline_s(self) -> float | None:
        """Seconds of ``time.monotonic`` after which nobody waits; None: there is no deadline."""
        return self._deadline_s

    def time_remaining(self) -> float | None:
        """Returns the seconds until the deadline; None: there is none."""
        return None if self._deadline_s is None else self._deadline_s - monotonic()

    def invocation_metadata(self) -> list[tuple[str, str]]:
        """Returns the credentials that the request shows, as metadata of gRPC.

        A token in ``x-api-key``, where Anthropic's clients send theirs, counts as a bearer's.
        """
        shown = [
            ("authorization", value.decode("latin-1"))
            for name, value in self.scope["headers"]
            if name == b"authorization"
        ]
        key = self.headers.get(b"x-api-key")
        if not shown and key is not None:
            shown = [("authorization", f"Bearer {key.decode('latin-1')}")]
        return shown

    def auth_context(self) -> Mapping[str, Any]:
        """Returns the facts about the client's certificate, as gRPC names them; empty: none."""
        found: Mapping[str, Any] = self.scope.get("state", {}).get(CERTIFICATE, {})
        return found

    def peer(self) -> str:
        """Returns the network address as gRPC writes it, so that both ways are one client."""
        client = self.scope.get("client")
        if client is None:
            return "unix:"
        host, port = client
        return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"

    async def begin(self, status: int, headers: Headers) -> None:
        """Sends status and headers of the reply; the body follows by ``write`` and ``end``."""
        self.begun = True
        if self.closes:
            headers = (*headers, (b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def reply(
        self, status: int, body: bytes, content_type: bytes = JSON, headers: Headers = ()
    ) -> None:
        """Sends the whole reply.

        Args:
            status: of HTTP.
            body: the reply's body.
            content_type: of the body.
            headers: further ones; their names in lower case.
        """
        of_body = (b"content-type", content_type), (b"content-length", b"%d" % len(body))
        headers = (*of_body, *headers)
        whole = self.scope["state"].get(WHOLE_REPLY)
        if whole is not None:
            closing = (*headers, (b"connection", b"close")) if self.closes else headers
            if whole(status, closing, body):
                self.begun = True
                return
        await self.begin(status, headers)
        await self.send({"type": "http.response.body", "body": body})

    async def write(self, part: bytes) -> None:
        """Sends a part of the body of a reply that has begun, once the caller takes more."""
        await self.send({"type": "http.response.body", "body": part, "more_body": True})

    async def end(self) -> None:
        """Ends the body of a reply that has begun."""
        await self.send({"type": "http.response.body", "body": b""})

    async def gone(self) -> None:
        """Waits until the caller has closed the connection; the body has to be read before."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
