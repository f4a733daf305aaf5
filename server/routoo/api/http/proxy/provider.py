"""One provider: its connections, and the requests that are sent on them.

The client is aiohttp's. At 32 requests at once it takes 0.08 ms of CPU time a request, where httpx
took 1.8 and httpcore 2.4 (``benchmarks/envoy.py --front`` has the figures of the whole door).
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from io import BytesIO
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from routoo.errors import ConfigError
from routoo.routing.health.failures import Cause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from routoo.api.http.proxy.keys import ProviderKey
    from routoo.api.llm.body import Api
    from routoo.config.sections.proxy import ApiForm, UpstreamSettings

    Header = tuple[str, str]

# Servers close idle connections after a minute or more. One that is used just then fails.
_KEEP_ALIVE_S: Final = 15.0
_READ_BYTES: Final = 64 * 1024
_MOST_HEADER_BYTES: Final = 64 * 1024
# aiohttp sends larger bytes in one piece, which holds the loop.
_STREAMED_BYTES: Final = 512 * 1024
_STATUSES: Final = {Cause.TIMEOUT: 504, Cause.NONE: 503}
_SPOKEN: Final[Mapping[ApiForm, tuple[Api, ...]]] = {
    "openai": ("chat", "responses", "completions"),
    "chat": ("chat",),
    "responses": ("responses",),
    "completions": ("completions",),
    "anthropic": ("messages",),
}
_OURS: Final = ("user-agent", "accept", "accept-encoding", "content-type")


class AttemptError(Exception):
    """A provider gave no reply, or none that is HTTP.

    Attributes:
        cause: the way in which it failed; NONE: it was not asked.
        status: the HTTP status with which the caller is told.
        may_have_worked: whether the request may have reached the provider, which then bills it.
    """

    def __init__(self, cause: Cause, message: str, *, may_have_worked: bool = True) -> None:
        self.cause = cause
        self.status = _STATUSES.get(cause, 502)
        self.may_have_worked = may_have_worked
        super().__init__(message)


class ProviderReply:
    """A reply whose headers are there, and whose body comes in pieces, as it was sent.

    Attributes:
        status: of HTTP.
        headers: names in lower case, and values.
    """

    __slots__ = ("_closed", "_idle_s", "_reply", "headers", "status")

    def __init__(self, reply: aiohttp.ClientResponse, idle_s: float) -> None:
        self._reply = reply
        self._idle_s = idle_s
        # Of a body that turns into garbage, aiohttp closes the connection and tells no reader.
        connection = reply.connection
        protocol = None if connection is None else connection.protocol
        self._closed = None if protocol is None else protocol.closed
        if self._closed is not None:
            self._closed.add_done_callback(self._end)
        self.status = reply.status
        self.headers: list[tuple[bytes, bytes]] = [
            (name.lower(), value) for name, value in reply.raw_headers
        ]

    def header(self, name: bytes) -> str:
        """Returns the value of a header; empty: the reply has none."""
        found = next((value for one, value in self.headers if one == name), b"")
        return found.decode("latin-1")

    @property
    def ended(self) -> bool:
        """Whether no further piece follows, as far as is known already."""
        return self._reply.content.at_eof()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yields the body as it comes.

        Raises:
            AttemptError: it ends before its end, or nothing comes for too long.
        """
        content = self._reply.content
        try:
            while True:
                async with asyncio.timeout(self._idle_s):
                    piece = await content.readany()
                if not piece:
                    return
                yield piece
        except TimeoutError:
            raise AttemptError(Cause.TIMEOUT, "no byte came for too long") from None
        except (aiohttp.ClientError, OSError) as error:
            raise AttemptError(Cause.RESET, type(error).__name__) from None

    async def drop(self, most_bytes: int) -> None:
        """Reads the rest of a reply that nobody wants, if it is short, or ends its connection."""
        left = most_bytes
        try:
            async with asyncio.timeout(1.0):
                while left > 0 and (piece := await self._reply.content.readany()):
                    left -= len(piece)
        except (TimeoutError, aiohttp.ClientError, OSError):
            pass
        finally:
            self.close()

    def _end(self, _: object) -> None:
        content = self._reply.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the connection was closed"))

    def close(self) -> None:
        """Ends the connection, unless the whole reply was read."""
        if self._closed is not None:
            self._closed.remove_done_callback(self._end)
        self._reply.close() if not self._reply.content.is_eof() else self._reply.release()


class Provider:
    """One provider. Lives on one event loop, from the first request on.

    Attributes:
        name: the entry of the settings.
        settings: the entry, completed.
        forms: the forms of requests that it takes.
        key: its key.

    Args:
        name: see the attribute.
        settings: see the attribute; with ``base_url``.
        key: see the attribute.

    Raises:
        ConfigError: the file of authorities cannot be used.
    """

    def __init__(self, name: str, settings: UpstreamSettings, key: ProviderKey) -> None:
        assert settings.base_url is not None  # noqa: S101 - the caller has completed the entry
        self.name = name
        self.settings = settings
        self.apis = frozenset(api for form in settings.apis or () for api in _SPOKEN[form])
        self.key = key
        self._base_url = settings.base_url
        self._proxy = _proxy_of(settings.base_url)
        self._tls = _tls_of(name, settings)
        self._session: aiohttp.ClientSession | None = None
        self._free = asyncio.Semaphore(settings.max_connections)
        self._active = 0
        self._closes = False

    async def send(
        self, path: str, body: bytes, headers: Sequence[Header], within_s: float
    ) -> ProviderReply:
        """Sends a request, and returns the reply when its headers are there.

        Only within ``connection``, which is to be left when the reply was closed.

        Args:
            path: what follows the base address, with the query.
            body: of the request.
            headers: of the request, without its length.
            within_s: the longest time until the headers are there.

        Raises:
            AttemptError: there is no reply.
        """
        try:
            async with asyncio.timeout(within_s):
                reply = await self._opened().request(
                    "POST",
                    URL(self._base_url + path, encoded=True),
                    data=body if len(body) <= _STREAMED_BYTES else BytesIO(body),
                    headers=headers,
                    allow_redirects=False,
                    proxy=self._proxy,
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise AttemptError(
                Cause.CONNECTION, "the connection was not established", may_have_worked=False
            ) from None
        except TimeoutError:
            raise AttemptError(Cause.TIMEOUT, "it did not reply in time") from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise AttemptError(
                Cause.RESET, "it closed the connection, or its reply is no HTTP"
            ) from None
        return ProviderReply(reply, self.settings.idle_timeout_s)

    @property
    def takes_callers_key(self) -> bool:
        """Whether the callers show keys of their own, as the service has none."""
        return self.settings.forward_authorization and not self.key.value

    @asynccontextmanager
    async def connection(self, within_s: float) -> AsyncIterator[None]:
        """Waits for one of the connections, which is taken until the end of the block.

        Args:
            within_s: the longest wait, in seconds.

        Raises:
            AttemptError: all of them are in use, which is no failure of the provider.
        """
        self._active += 1
        try:
            try:
                async with asyncio.timeout(within_s):
                    await self._free.acquire()
            except TimeoutError:
                raise AttemptError(
                    Cause.NONE,
                    "all connections to it are in use (proxy.upstreams.*.max_connections)",
                    may_have_worked=False,
                ) from None
            try:
                yield
            finally:
                self._free.release()
        finally:
            self._active -= 1
            if self._closes:
                await self.close()

    async def close(self) -> None:
        """Closes the connections, at once or as soon as no reply is read."""
        self._closes = True
        if self._session is not None and not self._active:
            session, self._session = self._session, None
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            settings = self.settings
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,  # waiting for one of them is no part of the time to connect
                    ssl=self._tls,
                    keepalive_timeout=_KEEP_ALIVE_S,
                ),
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    connect=settings.connect_timeout_s,
                    sock_connect=settings.connect_timeout_s,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=_OURS,
                read_bufsize=_READ_BYTES,
                max_line_size=_MOST_HEADER_BYTES,
                max_field_size=_MOST_HEADER_BYTES,
            )
        return self._session


def _tls_of(name: str, settings: UpstreamSettings) -> ssl.SSLContext | bool:
    if not settings.verify:
        return False
    if settings.ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(settings.ca))
    except (OSError, ssl.SSLError):
        raise ConfigError(
            f"proxy.upstreams.{name}.ca: {settings.ca} cannot be read, or is not a PEM file"
        ) from None


def _proxy_of(base_url: str) -> str | None:
    """Returns the proxy that the environment names for an address; None: there is none.

    Addresses of this machine go past any proxy.
    """
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return None
    try:
        if ip_address(host).is_loopback:
            return None
    except ValueError:
        pass
    proxies = getproxies()
    if proxy_bypass(host):
        return None
    return proxies.get(parts.scheme)
