"""The site under test: replicas, Redis, Triton and Envoy as processes, an upstream, and proxies."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

import redis
import yaml

from chaos.books import shared_sums, told_sums
from chaos.clients import Clients
from chaos.proxy import Proxy
from chaos.records import Evidence, Trouble
from chaos.replica import Replica
from chaos.site_files import (
    ALL,
    JOINING,
    JOURNAL,
    SHARED,
    Plan,
    envoy_settings,
    limits,
    pool_text,
    quiet_port,
    settings_of,
    write_tokens,
)
from chaos.upstream import ScriptedUpstream
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.peers.real_envoy import running_envoy
from support.peers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from chaos.records import Sums
    from chaos.site_files import Tenant
    from chaos.triton import TritonPeer

_START_S = 240.0
"""Longest start: of a machine that is busy otherwise, it says nothing of the service."""
_REST_S = 40.0
"""Longest time that the site may take to come to rest once all faults are taken back."""
_LOOK_S = 0.25
_STILL_LOOKS = 3
_APPENDED = "appendonly.aof"


class World:
    """A site in a folder of its own.

    Attributes:
        evidence: what has been seen so far.
        replicas: by name.
        to_redis: the replicas' ways to Redis, by replica.
        to_triton: the way to Triton; None: there is none.
        upstream: the provider.
        redis: the shared books.
        clients: the clients.
        tokens: the clients' tokens, by tenant.
    """

    def __init__(
        self, folder: Path, seed: int, seconds: float, *, envoy: bool, triton: TritonPeer | None
    ) -> None:
        self.folder = folder
        self.seconds = seconds
        self.plan = Plan.of(seed)
        self.evidence = Evidence(limits(seconds), goes_on=self.plan.on_loss == "go_on")
        self.replicas: dict[str, Replica] = {}
        self.to_redis: dict[str, Proxy] = {}
        self.to_triton: Proxy | None = None
        self.upstream = ScriptedUpstream(seed)
        self.redis: RedisServer
        self.clients: Clients
        self.tokens: dict[str, str] = {}
        self.triton = triton
        self._seed = seed
        self._has_envoy = envoy
        self._envoy_port = 0
        self._envoy = AsyncExitStack()
        # Faults overlap: one may want to start what another one just starts or ends.
        self._one_envoy, self._one_redis = asyncio.Lock(), asyncio.Lock()
        self._troubles: dict[tuple[str, str, int], int] = {}
        self._tokens_text = ""
        self._watch: asyncio.Task[None] | None = None

    @property
    def envoy_address(self) -> str:
        """HOST:PORT of Envoy; empty: there is none."""
        return f"127.0.0.1:{self._envoy_port}" if self._has_envoy else ""

    async def start(self) -> None:
        """Starts everything but the replica that joins later, and waits until it serves."""
        write_tiny_artifact(self.folder / "repository" / "predictor" / "1")
        self.tokens = write_tokens(self.folder / "tokens.jsonl")
        self._tokens_text = (self.folder / "tokens.jsonl").read_text(encoding="utf-8")
        self.redis = await asyncio.to_thread(self._new_redis)
        await self.upstream.start()
        if self.triton is not None:
            self.to_triton = Proxy(self._open_triton)
            await self.to_triton.start()
        for name in ALL:
            await self._prepare(name)
        self.clients = Clients(self._seed, self.tokens, self.evidence, self.reachable)
        async with asyncio.timeout(_START_S):
            for name in (*SHARED, JOURNAL):
                self.replicas[name].start()
            for name in (*SHARED, JOURNAL):
                await self.replicas[name].came_up()
            if self._has_envoy:
                self._envoy_port = quiet_port()
                ports = [self.replicas[name].port for name in SHARED]
                envoy_settings(
                    self._envoy_port, ports, self.upstream.port, self.tokens["proxy"], self.folder
                )
                await self.start_envoy()
        self._watch = asyncio.create_task(self._look_steadily())

    async def all_serve(self) -> None:
        """Waits until all replicas serve that should, for as long as a start may take."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                for name in (*SHARED, JOURNAL):
                    await self.replicas[name].came_up()

    async def close(self) -> None:
        """Ends everything."""
        if self._watch is not None:
            self._watch.cancel()
        for replica in self.replicas.values():
            await replica.close()
        await self.stop_envoy()
        for proxy in (*self.to_redis.values(), *([self.to_triton] if self.to_triton else [])):
            await proxy.close()
        await self.upstream.close()
        if hasattr(self, "redis"):
            await asyncio.to_thread(self.redis.stop)

    def reachable(self, tenant: Tenant) -> list[tuple[str, str]]:
        """Returns names and addresses of the replicas that a tenant's clients know."""
        if tenant.name == "alone":
            names: Iterable[str] = (JOURNAL,)
        else:
            joined = (JOINING,) if self.replicas[JOINING].is_up else ()
            names = (*SHARED, *joined)
        return [(name, self.replicas[name].address) for name in names]

    def begin(self, kind: str, target: str = "", event: int = -1) -> None:
        """Notes that a trouble begins, unless it is on already.

        Args:
            kind: its kind, as in ``Trouble``.
            target: its target.
            event: number of the event, where events of one kind and target may overlap.
        """
        self._troubles.setdefault((kind, target, event), time.time_ns())

    def end(self, kind: str, target: str = "", event: int = -1) -> None:
        """Notes that a trouble is over."""
        since = self._troubles.pop((kind, target, event), None)
        if since is not None:
            self.evidence.troubles.append(Trouble(kind, target, since, time.time_ns()))

    def note(self, kind: str, target: str = "") -> None:
        """Notes a trouble of a moment."""
        now_ns = time.time_ns()
        self.evidence.troubles.append(Trouble(kind, target, now_ns, now_ns))

    async def start_envoy(self) -> None:
        """Starts Envoy, again if it runs, and waits until it listens."""
        async with self._one_envoy:
            await self._envoy.aclose()
            await self._start_envoy()

    async def _start_envoy(self) -> None:
        config = yaml.safe_load((self.folder / "envoy.yaml").read_text(encoding="utf-8"))
        await self._envoy.enter_async_context(running_envoy(config, self.folder, self._envoy_port))

    async def stop_envoy(self) -> None:
        """Ends Envoy at once."""
        async with self._one_envoy:
            await self._envoy.aclose()

    def write_settings(self, name: str) -> None:
        """Writes a replica's settings as they should be."""
        replica, way = self.replicas[name], self.to_redis.get(name)
        settings = settings_of(
            name,
            replica.port,
            self.seconds,
            self.plan,
            redis=way.port if way else 0,
            triton=self.to_triton.port if self.to_triton and name == "a" else 0,
            folder=self.folder,
        )
        text = yaml.safe_dump(settings)
        _put(replica.folder / "config.yaml", text)

    def write_pool(self, name: str, milliseconds: int = 0) -> None:
        """Writes a replica's pool; with other latencies it is a change that decides alike."""
        _put(self.replicas[name].folder / "pool.yaml", pool_text(milliseconds))

    def copy_redis(self) -> None:
        """Keeps a copy of what Redis has on the disk now."""
        shutil.copy(self.folder / "redis" / _APPENDED, self.folder / "older.aof")

    async def stop_redis(self) -> None:
        """Ends Redis at once."""
        async with self._one_redis:
            self.redis.stop()

    async def restart_redis(self, *, with_data: str) -> None:
        """Starts Redis again, after ending it if it runs.

        Args:
            with_data: kept: what it had; older: the copy of ``copy_redis``; none: nothing.
        """
        file = self.folder / "redis" / _APPENDED
        async with self._one_redis:
            self.redis.stop()
            if with_data == "older" and (self.folder / "older.aof").exists():
                shutil.copy(self.folder / "older.aof", file)
            elif with_data == "none":
                file.unlink(missing_ok=True)
            await asyncio.to_thread(self.redis.start)

    async def tell_redis(self, *words: str) -> None:
        """Sends Redis a command; a Redis that does not answer gets none."""
        with suppress(redis.exceptions.RedisError):
            await asyncio.to_thread(self.redis.client.execute_command, *words)

    def revoke(self, tenant: str) -> None:
        """Takes the tenant's token back."""
        path = self.folder / "tokens.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["tenant"] != tenant]
        _put(path, "".join(kept))
        self.begin("revoked", tenant)

    def restore_tokens(self) -> None:
        """Gives all tokens back."""
        _put(self.folder / "tokens.jsonl", self._tokens_text)
        for key in list(self._troubles):
            if key[0] == "revoked":
                self.end(*key)

    async def come_to_rest(self) -> None:
        """Waits until all replicas tell the same books, again and again, and writes them down.

        The replica that joined has left by then: its books are those of the others.
        """
        names = (*SHARED, JOURNAL)
        end_s = time.monotonic() + _REST_S
        last: Any = None
        still, reason = 0, "the site was not looked at"
        while time.monotonic() < end_s and still < _STILL_LOOKS:
            await asyncio.sleep(_LOOK_S)
            found, reason = await self._look(names)
            if not reason:
                reason = self._difference(found)
            if reason:
                still, last = 0, None
                continue
            steady = {name: self._lasting(sums) for name, sums in found.items()}
            still = still + 1 if steady == last else 0
            last = steady
            self.evidence.books = found
        self.evidence.unquiet = "" if still >= _STILL_LOOKS else reason or "the books keep changing"

    def finish(self) -> None:
        """Ends what is noted as a trouble still."""
        for key in list(self._troubles):
            self.end(*key)

    async def _look(self, names: Iterable[str]) -> tuple[dict[str, dict[str, Sums]], str]:
        found: dict[str, dict[str, Sums]] = {}
        for name in names:
            replica = self.replicas[name]
            if not replica.is_up:
                return found, f"{name} does not serve"
            told = await told_sums(replica.address, self.tokens["admin"])
            if isinstance(told, str):
                return found, f"{name}: {told}"
            found[name] = told
        try:
            found["redis"] = await asyncio.to_thread(
                shared_sums, self.redis.client, limits(self.seconds)
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, Redis does not serve
            return found, f"redis: {error!r}"
        return found, ""

    def _lasting(self, sums: dict[str, Sums]) -> dict[str, Sums]:
        """Returns the sums of the budgets whose period does not end within a run."""
        lasting = [limit.name for limit in self.evidence.limits if limit.lasts]
        return {name: sums[name] for name in lasting if name in sums}

    def _difference(self, found: dict[str, dict[str, Sums]]) -> str:
        for limit in self.evidence.limits:
            if JOURNAL in limit.replicas or not limit.lasts:
                continue
            sums = {name: found[name][limit.name] for name in (*SHARED, "redis")}
            if len(set(sums.values())) > 1:
                return f"{limit.name} differs: {sums}"
        return ""

    async def _look_steadily(self) -> None:
        """Keeps the highest sums that any replica tells while the load runs."""
        highest = self.evidence.highest
        while True:
            for name in (*SHARED, JOURNAL):
                if not self.replicas[name].is_up:
                    continue
                told = await told_sums(self.replicas[name].address, self.tokens["admin"])
                if isinstance(told, str):
                    continue
                for budget, sums in told.items():
                    highest[budget] = max(highest.get(budget, 0), sums.booked)
            await asyncio.sleep(1.0)

    def _new_redis(self) -> RedisServer:
        folder = self.folder / "redis"
        folder.mkdir()
        return RedisServer(folder, "--appendonly", "yes", "--appendfsync", "everysec")

    async def _prepare(self, name: str) -> None:
        folder = self.folder / name
        folder.mkdir()
        self.replicas[name] = Replica(name, folder, quiet_port(), self._changed)
        if name != JOURNAL:
            self.to_redis[name] = Proxy(self._open_redis)
            await self.to_redis[name].start()
        self.write_settings(name)
        self.write_pool(name)

    def _changed(self, name: str) -> None:
        if self.replicas[name].is_up:
            self.end("gone", name)
        else:
            self.begin("gone", name)

    async def _open_redis(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.folder / "redis" / "redis.sock"))

    async def _open_triton(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert self.triton is not None
        host, _, port = self.triton.address.rpartition(":")
        return await asyncio.open_connection(host, int(port))


def _put(path: Path, text: str) -> None:
    """Puts a file in place as a whole, readable by its owner alone."""
    beside = path.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    beside.chmod(0o600)
    beside.replace(path)
