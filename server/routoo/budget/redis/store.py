"""The books in Redis: keys, scripts and failures. Every call is one script, run as a whole.

All keys share one hash tag, so that a cluster keeps them in one slot. Scripts are in ``scripts/``;
``common.lua`` describes the keys.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from itertools import count
from typing import TYPE_CHECKING, Any

from routoo.budget.ledger import Settled
from routoo.budget.redis.clients import Clients
from routoo.budget.redis.failures import guarded, lost, of_other_version
from routoo.budget.redis.replies import (
    Look,
    Renewal,
    Reply,
    Restored,
    Told,
    refusals_from,
    reports_from,
    seen_from,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from routoo.budget.memory.books import Keeping
    from routoo.budget.redis.connecting import Connecting
    from routoo.budget.redis.lease import Leasing
    from routoo.budget.redis.replies import BudgetClaim, Seen
    from routoo.budget.scopes import Scopes

# Most rows of one script call, during which Redis serves nobody else.
ROWS_AT_ONCE = 500
_EXPIRED_AT_ONCE = 64
# Least timeout of the calls that no request waits for.
_STEADY_TIMEOUT_S = 1.0
_FORMAT = 2  # of the books, see ``common.lua``
_SCRIPTS = ("reserve", "settle", "adopt", "cancel", "look", "lease", "restore")
_SETTLED = (Settled.UNKNOWN, Settled.SETTLED, Settled.TWICE, Settled.EXPIRED)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A call that was sent: when, by the clock of leases, and for which books."""

    sent_ns: int
    epoch: str

    def told(self, seen: dict[int, Seen], version: bytes, now_us: bytes) -> Told:
        return Told(seen, int(version), int(now_us), self.sent_ns, self.epoch)


class RedisStore:
    """Calls the scripts. Thread-safe.

    Every call carries the number of the latest one whose answer has come. Books that do not know
    that call are an older state of themselves, and count as lost.

    Attributes:
        epoch: name of the books that the ledger knows; a call finds other ones lost. Empty: any.
    """

    def __init__(
        self, connecting: Connecting, scopes: Scopes, keeping: Keeping, leasing: Leasing
    ) -> None:
        """Prepares the clients, without a connection yet.

        Args:
            connecting: the connection.
            scopes: the budgets.
            keeping: the time that decisions are kept.
            leasing: size and duration of leases.

        Raises:
            ConfigError: the URL cannot be understood.
        """
        names = ("meta", "decisions", "open", "known")
        self._keys = [connecting.tagged(name) for name in names]
        self._prefix = connecting.tagged("budget:")
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
        self._hot = Clients(connecting, connecting.timeout_s, connecting.connections)
        self._steady = Clients(connecting, max(_STEADY_TIMEOUT_S, connecting.timeout_s), 2)
        self._leasing = leasing
        self._index = {suffix: index for index, suffix in enumerate(self._suffixes)}
        self._replica = uuid.uuid4().hex[:16]
        self._calls = count(1)
        self._answered = 0
        self._holds_leases = False
        self.epoch = ""

    @property
    def process(self) -> str:
        """The name of the process of Redis that is called; empty: not known."""
        return self._steady.process

    def reserve(
        self,
        ids: Sequence[str],
        groups: Sequence[int],
        amounts: Sequence[int],
        mode: str,
        *,
        takes: bool = True,
    ) -> Reply:
        """Books up to ``ROWS_AT_ONCE`` rows, each of a group with budgets.

        Args:
            ids: [n].
            groups: [n], see ``Scopes``.
            amounts: [n], nano-USD.
            mode: any, all or over, see ``reserve.lua``.
            takes: what the leases of this replica hold may be taken.

        Raises:
            StoreError: nothing was booked, unless it is ``doubtful``.
        """
        indices, scopes, places = self._layout(groups)
        rows: list[str | int] = []
        for decision_id, group, amount in zip(ids, groups, amounts, strict=True):
            rows += (decision_id, amount, places[group])
        limits = [self._scopes.terms[index].limit_nano_usd for index in indices]
        values = [mode, int(takes), *scopes, *limits, *rows]
        sent, reply = self._call("reserve", self._hot, values, rows=len(ids))
        now_us, version, codes, totals, waiting = reply
        seen = dict(zip(indices, seen_from(totals), strict=True))
        return Reply(
            refused_by=refusals_from(codes, indices, len(ids)),
            told=sent.told(seen, version, now_us),
            waiting=bool(waiting),
        )

    def settle(
        self, costs: Iterable[tuple[str, int]], *, steady: bool = False
    ) -> tuple[list[Settled], Told]:
        """Books true costs.

        Args:
            costs: decision ids and nano-USD.
            steady: waits longer for Redis; for calls that no request waits for.

        Raises:
            StoreError: the costs may not be booked; repeating the call is safe.
        """
        pairs = [part for pair in costs for part in pair]
        clients = self._steady if steady else self._hot
        sent, reply = self._call("settle", clients, pairs, rows=len(pairs) // 2)
        *told, codes = reply
        return [_SETTLED[code] for code in codes], self._touched(told, sent)

    def adopt(
        self, rows: Sequence[tuple[str, int, int, int, bool]], *, leased: bool = False
    ) -> Told:
        """Books what was decided without Redis.

        Args:
            rows: decision id, group, nano-USD, time in microseconds, whether it is overdraft.
            leased: granted out of the leases while Redis answered, which are lowered by it.

        Raises:
            StoreError: the call has to be repeated, which is safe.
        """
        _, scopes, places = self._layout([row[1] for row in rows])
        values: list[str | int] = []
        for decision_id, group, amount, time_us, overdrawn in rows:
            values += (decision_id, amount, time_us, "v" if overdrawn else "o", places[group])
        sent, reply = self._call(
            "adopt", self._steady, [int(leased), *scopes, *values], rows=len(rows)
        )
        return self._touched(reply, sent)

    def cancel(self, ids: Sequence[str]) -> Told:
        """Takes decisions back, those too that have still to arrive from an earlier call.

        Raises:
            StoreError: the call has to be repeated, which is safe.
        """
        sent, reply = self._call("cancel", self._steady, ids, rows=len(ids))
        return self._touched(reply, sent)

    def look(self, *, first: bool = False) -> Look:
        """Reads all budgets.

        Args:
            first: the first call after a time without Redis, for which no request waits: it asks
                whether the books are those that the same process of Redis has written.

        Raises:
            StoreError: Redis does not answer, or has lost the books.
        """
        clients = self._steady if first else self._hot
        head = [uuid.uuid4().hex, self.process if first else ""]
        sent, reply = self._call("look", clients, [*head, *self._suffixes], rows=0)
        now_us, version, epoch, totals, oldest, reports = reply
        sent = replace(sent, epoch=epoch.decode())
        return Look(
            told=sent.told(dict(enumerate(seen_from(totals))), version, now_us),
            reports=reports_from(reports),
            oldest=[int(step) or None for step in oldest.split(b",")],
        )

    def days(self, days: Iterable[int]) -> list[dict[bytes, bytes]]:
        """Reads the sums of days since 1970, as ``common.lua`` describes them; changes nothing.

        Raises:
            StoreError: Redis does not answer, or refuses.
        """
        self._guard(self._steady.locate, "connect")
        client, key = self._steady.client, self._prefix.removesuffix("budget:") + "day:"
        return [self._guard(partial(client.hgetall, f"{key}{day}"), "days") for day in days]

    def renew(self, most: Sequence[int]) -> Renewal:
        """Renews the leases of all budgets.

        Args:
            most: per budget the most that this replica spends of its present lease, nano-USD.

        Raises:
            StoreError: the leases may be larger than before, and end later; never smaller than
                ``most``.
        """
        sent, reply = self._lease("renew" if self._holds_leases else "take", most)
        self._holds_leases = True
        now_us, version, totals, allowed, peers, waiting = reply
        return Renewal(
            told=sent.told(dict(enumerate(seen_from(totals))), version, now_us),
            allowed=[int(amount) for amount in allowed.split(b",")],
            peers=tuple(peers.decode().split()),
            waiting=bool(waiting),
        )

    def give_back(self) -> None:
        """Ends the leases, when this replica spends nothing any more.

        Raises:
            StoreError: the leases may last until they expire.
        """
        self._lease("return", [0] * len(self._suffixes))

    def restore(
        self, claims: Sequence[BudgetClaim], *, version: int, peers: Sequence[str], now_us: int
    ) -> Restored:
        """Tells books that Redis has lost what is known of them, and takes on their epoch.

        Args:
            claims: one per budget.
            version: the latest version that is known.
            peers: names of other replicas that may know more.
            now_us: Redis' time, by this replica's reckoning.

        Raises:
            StoreError: the call has to be repeated, which is safe.
        """
        values: list[str | int] = [self.epoch, uuid.uuid4().hex, version, self._lasts_us]
        values += [" ".join(peers), self.process, now_us]
        values.append(int(self._leasing.waits_longer))
        for suffix, claim in zip(self._suffixes, claims, strict=True):
            seen = claim.seen
            spent = (0, -1) if seen is None else (seen.step, seen.reserved + seen.settled)
            values += (suffix, *spent, claim.version, claim.lease)
        sent, reply = self._call("restore", self._steady, values, rows=0)
        now, new_version, epoch, totals, awaited = reply
        self.epoch = epoch.decode()
        self._holds_leases = True
        sent = replace(sent, epoch=self.epoch)
        return Restored(
            told=sent.told(dict(enumerate(seen_from(totals))), new_version, now),
            awaited=tuple(awaited.decode().split()),
        )

    def prepare(self) -> None:
        """Finds the server, loads the scripts and opens the connections.

        So no request has to wait for that.

        Raises:
            StoreError: Redis does not answer.
        """
        self._guard(self._steady.locate, "connect")
        for name, text in self._texts.items():
            self._guard(partial(self._steady.client.script_load, text), name)
        self._hot.follow(self._steady)
        self._guard(self._hot.open_all, "connect")

    def forgets(self) -> str | None:
        """Returns what Redis' persistence lacks to keep the books over a restart, or None.

        Raises:
            StoreError: Redis does not answer, or refuses.
        """
        if self._info("persistence").get("aof_enabled"):
            return None
        saves = self._guard(partial(self._steady.client.config_get, "save"), "config")
        if saves.get("save"):
            return f"it saves snapshots only (save {saves['save']}), which are older than the books"
        return "it saves nothing"

    def evicts(self) -> str | None:
        """Returns Redis' eviction policy if it may delete the books to make room, else None.

        Raises:
            StoreError: Redis does not answer, or refuses.
        """
        memory = self._info("memory")
        policy = str(memory.get("maxmemory_policy", "noeviction"))
        return policy if memory.get("maxmemory") and policy.startswith("allkeys") else None

    def close(self) -> None:
        """Closes the connections."""
        self._hot.close()
        self._steady.close()

    def _info(self, section: str) -> dict[str, Any]:
        info: dict[str, Any] = self._guard(partial(self._steady.client.info, section), "info")
        return info

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
        self, name: str, clients: Clients, values: Sequence[str | int], rows: int
    ) -> tuple[_Sent, list[Any]]:
        # Each call expires more decisions than it adds, so that expired ones do not accumulate.
        most = _EXPIRED_AT_ONCE + 2 * rows
        known = "" if name == "restore" else self.epoch
        number = next(self._calls)
        books = (self._prefix, known, self._ttl_us, self._kept, most)
        head = (*books, self._replica, number, self._answered)
        sent = _Sent(self._leasing.clock_ns(), known)
        reply = self._guard(
            lambda: clients.client.evalsha(
                self._hashes[name], len(self._keys), *self._keys, *head, *values
            ),
            name,
        )
        if reply[0] == b"FORMAT":
            raise of_other_version(earlier=int(reply[1]) < _FORMAT)
        if reply[0] == b"LOST":
            raise lost()
        # Two threads may write in either order: a lower number finds less, and never too much.
        self._answered = max(self._answered, number)
        return sent, list(reply[1:])

    def _lease(self, what: str, most: Sequence[int]) -> tuple[_Sent, list[Any]]:
        values: list[str | int] = [what, repr(self._leasing.share), self._lasts_us]
        for suffix, terms, amount in zip(self._suffixes, self._scopes.terms, most, strict=True):
            values += (suffix, terms.limit_nano_usd, amount)
        return self._call("lease", self._steady, values, rows=0)

    @property
    def _lasts_us(self) -> int:
        return self._leasing.lasts_ns // 1000

    def _touched(self, reply: list[Any], sent: _Sent) -> Told:
        """Returns the budgets of a script that replies their suffixes; others' are left out."""
        now_us, version, suffixes, totals = reply
        seen = {
            self._index[suffix]: one
            for suffix, one in zip(suffixes.decode().split(","), seen_from(totals), strict=False)
            if suffix in self._index
        }
        return sent.told(seen, version, now_us)

    def _guard(self, call: Callable[[], Any], name: str) -> Any:
        return guarded(call, name, self._prefix.removesuffix("budget:"))


def _script(name: str) -> str:
    folder = resources.files("routoo.budget.redis") / "scripts"
    return "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in ("common", name))
