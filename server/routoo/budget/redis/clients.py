"""Clients of Redis, each with connections and timeouts of its own, to the server of the books."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from routoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.budget.redis.connecting import Connecting

# redis-py leaves these untyped.
_parse_url: Any = redis.connection.parse_url
_ClusterFrom: Any = redis.RedisCluster.from_url
_Pool: Any = redis.BlockingConnectionPool
_Sentinel: Any = Sentinel

# Share of the timeout for the answer; the rest is for a connection. Connections are opened in
# advance, so only a few calls have to open one or wait for one.
_ANSWER_SHARE = 0.6


class Clients:
    """A client with connections and timeouts of its own. It does not retry by itself.

    All its connections are to one process of Redis: the one that sentinels name as the master, or
    the node of a cluster that has the keys, when ``locate`` was called last. A connection to
    another process, as one that has been restarted, fails.
    """

    def __init__(self, connecting: Connecting, timeout_s: float, connections: int) -> None:
        """Prepares a client, without a connection yet.

        Args:
            connecting: the connection; ``timeout_s`` and ``connections`` are those below.
            timeout_s: longest duration of a call.
            connections: most connections.

        Raises:
            ConfigError: a URL cannot be understood.
        """
        self._connecting = connecting
        self._connections = connections
        self._connect_s = (1.0 - _ANSWER_SHARE) * timeout_s
        self._options: dict[str, Any] = {
            "socket_timeout": _ANSWER_SHARE * timeout_s,
            "socket_connect_timeout": self._connect_s,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,  # needs no handshake, for which a call would have to wait
            "driver_info": None,
        }
        self._process = ""
        self._cluster: Any = None  # made at the first use: it then asks for the layout
        self._sentinel: Any = None
        try:
            self._at: dict[str, Any] = _parse_url(connecting.url)
            if connecting.sentinels:
                self._sentinel = _Sentinel([])
                self._sentinel.sentinels = [
                    redis.Redis.from_url(url, **self._options) for url in connecting.sentinels
                ]
        except ValueError as error:
            raise ConfigError(f"ledger.redis_url: {error}") from None
        self.client = self._client_to(self._at, self._connections, self._greet)

    @property
    def process(self) -> str:
        """The name of the process of Redis; empty before ``locate``, or where INFO is forbidden."""
        return self._process

    def locate(self) -> None:
        """Finds the server, and keeps to its present process from now on.

        Raises:
            redis.exceptions.RedisError: nobody answers.
        """
        at = {**self._at, **self._address()}
        client = self._client_to(at, 1)
        try:
            info: Any = client.info("server")
        except redis.exceptions.ResponseError:  # the command may be forbidden
            info = {}
        finally:
            client.connection_pool.disconnect()
        self._keep_to(at, str(info.get("run_id", "")))

    def follow(self, other: Clients) -> None:
        """Keeps to the process that another one keeps to."""
        self._keep_to(other._at, other.process)

    def open_all(self) -> None:
        """Opens every connection.

        Raises:
            redis.exceptions.RedisError: one of them cannot be opened.
        """
        pool = self.client.connection_pool
        held: list[Any] = []
        try:
            for _ in range(self._connections):
                held.append(pool.get_connection())  # noqa: PERF401 - keeps those before a failure
        finally:
            for connection in held:
                pool.release(connection)

    def close(self) -> None:
        """Closes the connections."""
        self.client.close()
        self.client.connection_pool.disconnect()
        if self._cluster is not None:
            self._cluster.close()
        for one in self._sentinel.sentinels if self._sentinel is not None else ():
            one.close()

    def _address(self) -> dict[str, Any]:
        """Returns the host and port of the server, where it is not the one of the URL."""
        if self._sentinel is not None:
            host, port = self._sentinel.discover_master(self._connecting.master)
            return {"host": str(host), "port": int(port)}
        if not self._connecting.cluster:
            return {}
        if self._cluster is None:
            self._cluster = _ClusterFrom(self._connecting.url, **self._options)
        key = self._connecting.tagged("meta")
        # The call learns of nodes that have changed; a layout alone is kept as it was.
        self._cluster.exists(key)
        node = self._cluster.get_node_from_key(key)
        return {"host": str(node.host), "port": int(node.port)}

    def _keep_to(self, at: dict[str, Any], process: str) -> None:
        moved, self._at = at != self._at, at
        changed, self._process = process != self._process, process
        before = self.client
        if moved:
            self.client = self._client_to(at, self._connections, self._greet)
        if moved or changed:
            # Connections to the process of before must not be used again.
            before.connection_pool.disconnect()

    def _client_to(
        self, at: dict[str, Any], connections: int, greet: Callable[[Any], None] | None = None
    ) -> redis.Redis:
        pool = _Pool(
            max_connections=connections,
            timeout=self._connect_s,
            redis_connect_func=greet,
            **self._options,
            **at,
        )
        return redis.Redis(connection_pool=pool)

    def _greet(self, connection: Any) -> None:
        """Prepares a connection that has been opened, and refuses one to another process."""
        connection.on_connect()
        if not self._process:
            return
        connection.send_command("INFO", "server")
        if f"run_id:{self._process}".encode() not in connection.read_response():
            raise redis.ConnectionError("another process of Redis answers than before")
