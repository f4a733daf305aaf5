"""Clients of Redis, each with connections and timeouts of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from routoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

# Share of the timeout for the answer; the rest is for a connection. Connections are opened in
# advance, so only a few calls have to open one or wait for one.
_ANSWER_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Connecting:
    """The connection to Redis.

    Attributes:
        url: redis://, rediss:// or unix://.
        cluster: the URL names a node of a cluster.
        timeout_s: longest duration of a call that a request waits for.
        connections: most connections for those calls.
        key_prefix: the hash tag of all keys.
    """

    url: str
    cluster: bool
    timeout_s: float
    connections: int
    key_prefix: str


class Clients:
    """A client with connections and timeouts of its own. It does not retry by itself."""

    def __init__(self, connecting: Connecting, timeout_s: float, connections: int) -> None:
        self._connections = connections
        options: dict[str, Any] = {
            "socket_timeout": _ANSWER_SHARE * timeout_s,
            "socket_connect_timeout": (1.0 - _ANSWER_SHARE) * timeout_s,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,  # needs no handshake, for which a call would have to wait
            "driver_info": None,
        }
        from_url: Any = redis.RedisCluster.from_url  # redis-py leaves it untyped
        self._client: Any = None
        self._make: Callable[[], Any] = lambda: from_url(
            connecting.url,
            max_connections=connections,
            **options,
        )
        if connecting.cluster:
            return
        try:
            pool = redis.BlockingConnectionPool.from_url(
                connecting.url,
                max_connections=connections,
                timeout=(1.0 - _ANSWER_SHARE) * timeout_s,
                **options,
            )
        except ValueError as error:
            raise ConfigError(f"ledger.redis_url: {error}") from None
        self._client = redis.Redis(connection_pool=pool)

    @property
    def client(self) -> Any:
        """redis-py's client, made at the first use: one for a cluster then asks for the layout."""
        if self._client is None:
            self._client = self._make()
        return self._client

    def open_all(self) -> None:
        """Opens every connection."""
        client = self.client
        pool: Any = getattr(client, "connection_pool", None)
        if pool is None:
            client.ping()
            return
        held: list[Any] = []
        try:
            for _ in range(self._connections):
                held.append(pool.get_connection())  # noqa: PERF401 - keeps those before a failure
        finally:
            for connection in held:
                pool.release(connection)

    def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            client: Any = self._client
            client.close()
            pool = getattr(client, "connection_pool", None)
            if pool is not None:
                pool.disconnect()
