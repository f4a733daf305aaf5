"""Real Redis servers that replicate: a cluster of three masters, and a master under a Sentinel.

In both, one replica follows the master that has the keys, and can be made to lag behind it.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

import redis

from support.peers.redis_server import (
    REPLY_TIMEOUT_S,
    RedisServer,
    executable,
    free_port_below_the_bus,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLOTS = 16384
MASTER_NAME = "books"


class Replicated:
    """A master and its replica.

    Attributes:
        master: the server that has the keys.
        replica: the one that follows it.
    """

    def __init__(self, master: RedisServer, replica: RedisServer) -> None:
        self.master = master
        self.replica = replica

    def wait_for_the_replica(self) -> None:
        """Waits until the replica has all that the master has."""
        self.replica.wait_until(
            lambda: self.replica.client.info("replication").get("master_link_status") == "up"
        )
        assert self.master.client.wait(1, int(REPLY_TIMEOUT_S * 500)) == 1

    def lag(self) -> None:
        """Makes the replica stay as it is now."""
        self.wait_for_the_replica()
        # It gives the master a password that it does not have, and so never gets a link again.
        self.replica.client.config_set("masterauth", "unknown")
        self.master.client.execute_command("CLIENT", "KILL", "TYPE", "replica")
        self.replica.wait_until(
            lambda: self.replica.client.info("replication")["master_link_status"] == "down"
        )


class Cluster(Replicated):
    """Three masters, and a replica of the one that has the keys.

    Attributes:
        masters: all three.
        url: names a node that does not have the keys.
    """

    def __init__(
        self, masters: list[RedisServer], replica: RedisServer, ports: list[int], key: str
    ) -> None:
        share = -(-SLOTS // len(masters))
        for at, server in enumerate(masters):
            slots = range(at * share, min(SLOTS, (at + 1) * share))
            server.client.execute_command("CLUSTER", "ADDSLOTS", *slots)
            server.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
        for port in ports[1:]:
            masters[0].client.execute_command("CLUSTER", "MEET", "127.0.0.1", port)
        everyone = [*masters, replica]
        for server in everyone:
            server.wait_until(lambda: server.cluster_state() == "ok")  # noqa: B023 - called now
            server.wait_until(lambda: self._known(server) == len(everyone))  # noqa: B023
        slot = int(masters[0].client.execute_command("CLUSTER", "KEYSLOT", key))
        owner = masters[slot // share]
        name = owner.client.execute_command("CLUSTER", "MYID")
        replica.client.execute_command("CLUSTER", "REPLICATE", name)
        super().__init__(owner, replica)
        self.masters = masters
        self.url = f"redis://127.0.0.1:{ports[masters.index(owner) - 1]}"

    def fail_over(self) -> None:
        """Makes the replica a master in the place of its own, which then follows it."""
        self.replica.client.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
        self.master.wait_until(lambda: self.master.client.info("replication")["role"] == "slave")

    @staticmethod
    def _known(server: RedisServer) -> int:
        return int(server.client.execute_command("CLUSTER INFO")["cluster_known_nodes"])


@contextmanager
def cluster(folder: Path, key: str) -> Iterator[Cluster]:
    """Yields a cluster of three masters, and a replica of the one that has the key."""
    with ExitStack() as stack:
        servers, ports = [], []
        for at in range(4):
            own, port = folder / f"node-{at}", free_port_below_the_bus()
            own.mkdir()
            options = ("--port", str(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes")
            # A replica that lags is promoted, however far it lags.
            more = ("--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0")
            servers.append(stack.enter_context(RedisServer(own, *options, *more)))
            ports.append(port)
        yield Cluster(servers[:3], servers[3], ports, key)


class Sentinel:
    """A Sentinel that watches a master, and promotes a replica when it is gone."""

    def __init__(self, folder: Path, master_port: int) -> None:
        self.port = free_port_below_the_bus()
        self.url = f"redis://127.0.0.1:{self.port}"
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor {MASTER_NAME} 127.0.0.1 {master_port} 1\n"
            # A machine that stalls loses no master: see ``lose_patience``.
            f"sentinel down-after-milliseconds {MASTER_NAME} 120000\n"
            f"sentinel failover-timeout {MASTER_NAME} 5000\n"
        )
        with (folder / "sentinel.log").open("wb") as log:
            self.process = subprocess.Popen(
                [executable(), str(config), "--sentinel"], stdout=log, stderr=log
            )

    def lose_patience(self) -> None:
        """Has it take a master that is gone for gone after a few seconds.

        It promotes no replica whose link has been down for more than ten times as long.
        """
        with redis.Redis(port=self.port, retry=None) as client:
            client.execute_command(
                *("SENTINEL", "SET", MASTER_NAME, "down-after-milliseconds", 3000)
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def under_a_sentinel(folder: Path) -> Iterator[tuple[Replicated, Sentinel]]:
    """Yields a master with a replica, and the Sentinel that knows both."""
    with ExitStack() as stack:
        servers = []
        ports = [free_port_below_the_bus() for _ in range(2)]
        follows = ("--replicaof", "127.0.0.1", str(ports[0]), "--repl-diskless-sync-delay", "0")
        for port, more in zip(ports, ((), follows), strict=True):
            own = folder / str(port)
            own.mkdir()
            options = ("--port", str(port), "--bind", "127.0.0.1", *more)
            servers.append(stack.enter_context(RedisServer(own, *options)))
        pair = Replicated(*servers)
        pair.wait_for_the_replica()
        sentinel = stack.enter_context(Sentinel(folder, ports[0]))
        _wait_until_known(sentinel, pair)
        yield pair, sentinel


def _wait_until_known(sentinel: Sentinel, pair: Replicated) -> None:
    with redis.Redis(port=sentinel.port, retry=None) as client:

        def known() -> bool:
            try:
                found = client.execute_command("SENTINEL", "SLAVES", MASTER_NAME)
            except redis.exceptions.ConnectionError:  # not yet started
                return False
            return bool(found)

        pair.master.wait_until(known)
