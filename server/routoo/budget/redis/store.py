"""The books in Redis: keys, scripts and failures. Every call is one script, run as a whole.

All keys share one hash tag, so that a cluster keeps them in one slot. Scripts are in ``scripts/``;
``common.lua`` describes the keys.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from routoo.budget.ledger import Settled
from routoo.budget.memory.books import PeriodSums
from routoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from routoo.budget.memory.books import Keeping
    from routoo.budget.scopes import Scopes

# Most rows of one script call, during which Redis serves nobody else.
ROWS_AT_ONCE = 500
_EXPIRED_AT_ONCE = 64
# Least timeout of the calls that no request waits for.
_STEADY_TIMEOUT_S = 1.0
# Share of the timeout for the answer; the rest is for a connection. Connections are opened in
# advance, so only a few calls have to open one or wait for one.
_ANSWER_SHARE = 0.6
_SCRIPTS = ("reserve", "settle", "adopt", "cancel", "look", "restore")
_SETTLED = (Settled.UNKNOWN, Settled.SETTLED, Settled.TWICE, Settled.EXPIRED)


class StoreError(Exception):
    """A call to Redis failed; the message tells why and what to do.

    Attributes:
        kind: away, full, garbage, lost (its books are gone) or refused (anything else).
        doubtful: Redis may have executed the call, or may still do so.
    """

    def __init__(self, kind: str, message: str, *, doubtful: bool) -> None:
        self.kind = kind
        self.doubtful = doubtful
        super().__init__(message)


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


@dataclass(frozen=True, slots=True)
class Seen:
    """A budget as Redis held it.

    Attributes:
        reserved: nano-USD, over the steps that count.
        settled: nano-USD.
        overdraft: nano-USD.
        granted: number of requests granted.
        step: the step of time, see ``BudgetTerms.step_ns``.
    """

    reserved: int
    settled: int
    overdraft: int
    granted: int
    step: int


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to ``RedisStore.reserve``.

    Attributes:
        refused_by: per row, -1 or the index of a budget.
        seen: the budgets that were asked, by index, as they were after the call.
        version: grows with every call of any replica.
        now_us: Redis' time, microseconds since 1970.
    """

    refused_by: list[int]
    seen: dict[int, Seen]
    version: int
    now_us: int


@dataclass(frozen=True, slots=True)
class Look:
    """The answer to ``RedisStore.look``.

    Attributes:
        seen: all budgets, by index.
        reports: per budget the sums of what was reported, over the steps that count; the others
            are 0.
        oldest: per budget the oldest step in which something was booked; None: nothing counts.
        version: grows with every call of any replica.
        now_us: Redis' time, microseconds since 1970.
        epoch: name of the books, which changes when Redis loses them.
    """

    seen: dict[int, Seen]
    reports: tuple[PeriodSums, ...]
    oldest: list[int | None]
    version: int
    now_us: int
    epoch: str


class RedisStore:
    """Calls the scripts. Thread-safe.

    Attributes:
        epoch: name of the books that the ledger knows; a call finds other ones lost. Empty: any.
    """

    def __init__(self, connecting: Connecting, scopes: Scopes, keeping: Keeping) -> None:
        """Prepares the clients, without a connection yet.

        Args:
            connecting: the connection.
            scopes: the budgets.
            keeping: the time that decisions are kept.

        Raises:
            ConfigError: the URL cannot be understood.
        """
        tag = f"{{{connecting.key_prefix}}}"
        self._keys = [f"{tag}:{name}" for name in ("meta", "decisions", "open", "known")]
        self._prefix = f"{tag}:budget:"
        self._scopes = scopes
        self._suffixes = [
            f"{terms.name}:{terms.step_ns // 1000}:{terms.steps}" for terms in scopes.terms
        ]
        self._ttl_us = str(keeping.ttl_ns // 1000)
        self._kept = "0" if keeping.releases_expired else "1"
        self._texts = {name: _script(name) for name in _SCRIPTS}
        self._hashes = {
            name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
            for name, text in self._texts.items()
        }
        self._hot = _Clients(connecting, connecting.timeout_s, connecting.connections)
        self._steady = _Clients(connecting, max(_STEADY_TIMEOUT_S, connecting.timeout_s), 2)
        self.epoch = ""

    def reserve(
        self, ids: Sequence[str], groups: Sequence[int], amounts: Sequence[int], mode: str
    ) -> Reply:
        """Books up to ``ROWS_AT_ONCE`` rows, each of a group with budgets.

        Args:
            ids: [n].
            groups: [n], see ``Scopes``.
            amounts: [n], nano-USD.
            mode: any, all or over, see ``reserve.lua``.

        Raises:
            StoreError: nothing was booked, unless it is ``doubtful``.
        """
        indices, scopes, places = self._layout(groups)
        rows: list[str | int] = []
        for decision_id, group, amount in zip(ids, groups, amounts, strict=True):
            rows += (decision_id, amount, places[group])
        limits = [self._scopes.terms[index].limit_nano_usd for index in indices]
        reply = self._call("reserve", self._hot, [mode, *scopes, *limits, *rows], rows=len(ids))
        now_us, version, codes, totals = reply
        return Reply(
            refused_by=_refusals(codes, indices, len(ids)),
            seen=dict(zip(indices, _seen(totals), strict=True)),
            version=int(version),
            now_us=int(now_us),
        )

    def settle(self, costs: Iterable[tuple[str, int]], *, steady: bool = False) -> list[Settled]:
        """Books true costs.

        Args:
            costs: decision ids and nano-USD.
            steady: waits longer for Redis; for calls that no request waits for.

        Raises:
            StoreError: the costs may not be booked; repeating the call is safe.
        """
        pairs = [part for pair in costs for part in pair]
        clients = self._steady if steady else self._hot
        reply = self._call("settle", clients, pairs, rows=len(pairs) // 2)
        return [_SETTLED[code] for code in reply[0]]

    def adopt(self, rows: Sequence[tuple[str, int, int, int, bool]]) -> None:
        """Books what was decided without Redis.

        Args:
            rows: decision id, group, nano-USD, time in microseconds, whether it is overdraft.

        Raises:
            StoreError: the call has to be repeated, which is safe.
        """
        _, scopes, places = self._layout([row[1] for row in rows])
        values: list[str | int] = []
        for decision_id, group, amount, time_us, overdrawn in rows:
            values += (decision_id, amount, time_us, "v" if overdrawn else "o", places[group])
        self._call("adopt", self._steady, [*scopes, *values], rows=len(rows))

    def cancel(self, ids: Sequence[str]) -> None:
        """Takes decisions back, those too that have still to arrive from an earlier call.

        Raises:
            StoreError: the call has to be repeated, which is safe.
        """
        self._call("cancel", self._steady, ids, rows=len(ids))

    def look(self, *, steady: bool = False) -> Look:
        """Reads all budgets.

        Args:
            steady: waits longer for Redis; for calls that no request waits for.

        Raises:
            StoreError: Redis does not answer, or has lost the books.
        """
        clients = self._steady if steady else self._hot
        reply = self._call("look", clients, [uuid.uuid4().hex, *self._suffixes], rows=0)
        now_us, version, epoch, totals, oldest, reports = reply
        return Look(
            seen=dict(enumerate(_seen(totals))),
            reports=tuple(_reports(one) for one in reports.split(b",")),
            oldest=[int(step) or None for step in oldest.split(b",")],
            version=int(version),
            now_us=int(now_us),
            epoch=epoch.decode(),
        )

    def days(self, days: Iterable[int]) -> list[dict[bytes, bytes]]:
        """Reads the sums of days since 1970, as ``common.lua`` describes them; changes nothing.

        Raises:
            StoreError: Redis does not answer, or refuses.
        """
        client, key = self._steady.client, self._prefix.removesuffix("budget:") + "day:"
        return [self._guard(partial(client.hgetall, f"{key}{day}"), "days") for day in days]

    def restore(self, seen: dict[int, Seen]) -> None:
        """Books what was last seen into books that Redis has lost, and takes on their epoch.

        Raises:
            StoreError: the call has to be repeated, which is safe.
        """
        rows: list[str | int] = []
        for index, budget in seen.items():
            rows += (self._suffixes[index], budget.step, budget.reserved + budget.settled)
        reply = self._call("restore", self._steady, [uuid.uuid4().hex, *rows], rows=0)
        self.epoch = reply[0].decode()

    def prepare(self) -> None:
        """Loads the scripts and opens the connections, so that no request has to wait for that.

        Raises:
            StoreError: Redis does not answer.
        """
        for name, text in self._texts.items():
            self._guard(partial(self._steady.client.script_load, text), name)
        self._guard(self._hot.open_all, "connect")

    def evicts(self) -> str | None:
        """Returns Redis' eviction policy if it may delete the books to make room, else None.

        Raises:
            StoreError: Redis does not answer, or refuses.
        """
        info = self._guard(partial(self._steady.client.info, "memory"), "info")
        # A cluster answers with one section per node, unless one node is asked alone.
        sections = info.values() if isinstance(next(iter(info.values())), dict) else [info]
        for section in sections:
            policy = str(section.get("maxmemory_policy", "noeviction"))
            if section.get("maxmemory") and policy.startswith("allkeys"):
                return policy
        return None

    def close(self) -> None:
        """Closes the connections."""
        self._hot.close()
        self._steady.close()

    def _layout(self, groups: Sequence[int]) -> tuple[list[int], list[str | int], dict[int, int]]:
        """Returns the budgets of a call, the scripts' arguments for them, and places of groups."""
        present = list(dict.fromkeys(groups))
        members = self._scopes.members
        indices = list(dict.fromkeys(index for group in present for index in members[group]))
        place = {index: at for at, index in enumerate(indices, start=1)}
        scopes: list[str | int] = [len(indices), *(self._suffixes[index] for index in indices)]
        scopes.append(len(present))
        terms = self._scopes.terms
        strict = {index for index in indices if terms[index].on_exhausted == "refuse"}
        scopes += (
            ",".join(f"{'=' * (index in strict)}{place[index]}" for index in members[group])
            for group in present
        )
        return indices, scopes, {group: at for at, group in enumerate(present, start=1)}

    def _call(
        self, name: str, clients: _Clients, values: Sequence[str | int], rows: int
    ) -> list[Any]:
        # Each call expires more decisions than it adds, so that expired ones do not accumulate.
        most = _EXPIRED_AT_ONCE + 2 * rows
        known = "" if name == "restore" else self.epoch
        head = (self._prefix, known, self._ttl_us, self._kept, most)
        reply = self._guard(
            lambda: clients.client.evalsha(
                self._hashes[name], len(self._keys), *self._keys, *head, *values
            ),
            name,
        )
        if reply[0] == b"LOST":
            raise StoreError(
                "lost",
                "Redis has lost the books of the budgets; was it restarted without persistence?",
                doubtful=False,
            )
        return list(reply[1:])

    def _guard(self, call: Callable[[], Any], name: str) -> Any:
        try:
            return call()
        except redis.exceptions.NoScriptError:
            raise StoreError("away", "Redis was restarted", doubtful=False) from None
        except redis.exceptions.OutOfMemoryError:
            raise StoreError(
                "full", "Redis is out of memory; raise its maxmemory", doubtful=False
            ) from None
        except (
            redis.exceptions.ConnectionError,
            redis.exceptions.TimeoutError,
            redis.exceptions.RedisClusterException,
            OSError,
        ) as error:
            raise StoreError("away", f"{name}: {error}", doubtful=True) from None
        except redis.exceptions.RedisError as error:
            raise self._refused(str(error)) from None

    def _refused(self, text: str) -> StoreError:
        if found := re.search(r"GARBAGE (\S+)", text):
            key = found[1]
        elif "WRONGTYPE" in text:
            key = f"{self._prefix.removesuffix('budget:')}*"
        elif "OOM" in text:
            return StoreError("full", "Redis is out of memory; raise its maxmemory", doubtful=False)
        else:
            # Redis loads its data, is a replica, lacks a permission, ...: its own message tells.
            return StoreError("refused", f"Redis refuses: {text}", doubtful=False)
        return StoreError(
            "garbage",
            f"Redis holds something that is not ours under {key}; delete it there, or set"
            " another ledger.key_prefix",
            doubtful=False,
        )


class _Clients:
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
        if self._client is not None:
            client: Any = self._client
            client.close()
            pool = getattr(client, "connection_pool", None)
            if pool is not None:
                pool.disconnect()


def _script(name: str) -> str:
    folder = resources.files("routoo.budget.redis") / "scripts"
    return "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in ("common", name))


def _seen(totals: bytes) -> list[Seen]:
    return [Seen(*map(int, budget.split())) for budget in totals.split(b",")]


def _reports(sums: bytes) -> PeriodSums:
    reported, reserved, expired = map(int, sums.split())
    return PeriodSums(reported=reported, reported_reserved=reserved, expired=expired)


def _refusals(codes: bytes, indices: list[int], rows: int) -> list[int]:
    if not codes:
        return [-1] * rows
    return [indices[int(code) - 1] if code != b"0" else -1 for code in codes.split(b",")]
