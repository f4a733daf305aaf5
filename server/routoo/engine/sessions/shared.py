"""Sessions that replicas share through Redis, with those of this replica for the time without it.

A request waits for one call, which reads the sessions of its batch. Changes are written by a thread
of their own, each with its session's content of before: where another replica was faster, it is
read again and changed again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import redis
import structlog

from routoo.budget.redis.clients import Clients
from routoo.engine.sessions.encoding import decoded, encoded
from routoo.engine.sessions.memory import MemorySessions
from routoo.interval_thread import IntervalThread
from routoo.routing.sessions.state import after_report, after_turn

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from routoo.config.sections.budget import LedgerSettings
    from routoo.config.sections.sessions import SessionSettings
    from routoo.routing.sessions.state import SessionState, Turn, TurnReport

    Change = Callable[[SessionState | None, float], SessionState | None]

_log = structlog.get_logger(__name__)
_KEYS_AT_ONCE: Final = 200
_MOST_WAITING: Final = 20_000
_CONNECTIONS: Final = 2  # of the threads that decide
_STEADY_TIMEOUT_S: Final = 1.0
_FIRST_PROBE_S: Final = 0.1
_ATTEMPTS: Final = 5
_READ: Final = """
local time, values = redis.call('TIME'), {}
if #KEYS > 0 then values = redis.call('MGET', unpack(KEYS)) end
return {time[1], time[2], values}
"""
_SWAP: Final = """
local swapped = {}
for i, key in ipairs(KEYS) do
  if (redis.call('GET', key) or '') == ARGV[2 * i] then
    redis.call('SET', key, ARGV[2 * i + 1], 'PX', ARGV[1])
    swapped[i] = 1
  else
    swapped[i] = 0
  end
end
return swapped
"""
# That of a cluster without a node that answers is no RedisError.
_AWAY = (redis.exceptions.RedisError, redis.exceptions.RedisClusterException, OSError)


@dataclass(frozen=True, slots=True)
class _Copy:
    """A change that makes a session a copy of another one.

    Attributes:
        key: the other session's.
        own: what this replica knows of it, until Redis tells all of it.
    """

    key: bytes
    own: SessionState | None

    def __call__(self, state: SessionState | None, _now_s: float) -> SessionState | None:
        return state if self.own is None else self.own


class RedisSessions:
    """Implements ``SessionStore``.

    Args:
        ledger: section ``ledger``, for the connection.
        settings: section ``sessions``.
        jitter: spreads the attempts of replicas that lost Redis at the same time.

    Raises:
        ConfigError: the URL cannot be understood.
    """

    def __init__(
        self, ledger: LedgerSettings, settings: SessionSettings, jitter: random.Random
    ) -> None:
        self._tag = f"{{{ledger.key_prefix}}}:session"
        self._ttl_ms = max(1, round(settings.ttl_s * 1e3))
        self._cache_ttl_s = settings.cache_ttl_s
        self._max_probe_s = ledger.redis_max_probe_s
        self._jitter = jitter
        self._ahead_s = 0.0  # of Redis' clock before this machine's
        # What this replica has decided, in full: it answers while Redis is away.
        self._own = MemorySessions(
            max_sessions=settings.max_sessions,
            max_bytes=settings.max_bytes,
            ttl_s=settings.ttl_s,
            cache_ttl_s=settings.cache_ttl_s,
            clock_s=lambda: monotonic() + self._ahead_s,
        )
        self.secret = self._own.secret
        connecting, timeout_s = ledger.connecting(), ledger.redis_timeout_s
        self._hot = Clients(connecting, timeout_s, _CONNECTIONS)
        self._steady = Clients(connecting, max(_STEADY_TIMEOUT_S, timeout_s), 1)
        self._lock = threading.Lock()  # over _waiting
        self._waiting: OrderedDict[bytes, list[Change]] = OrderedDict()
        self._away = True
        self._pause_s = _FIRST_PROBE_S
        self._idle = threading.Event()
        self._idle.set()
        self._thread = IntervalThread(
            "routoo-sessions",
            self._step,
            self._wait_s,
            _log,
            "the sessions could not be shared",
        )
        self._meet()
        self._thread.start()

    @property
    def waits(self) -> bool:
        return True

    @property
    def degraded(self) -> bool:
        return self._away

    def read(self, keys: Sequence[bytes]) -> tuple[list[SessionState | None], float]:
        if self._away:
            return self._own.read(keys)
        for _ in range(_ATTEMPTS):
            waited = self._changes(keys)
            try:
                states, now_s = self._read(self._hot.client, keys)
            except _AWAY as error:
                self._leave(error)
                return self._own.read(keys)
            changes = self._changes(keys)
            # What was written after it was read here is in neither of the two: read it again.
            if all(len(now) >= len(was) for now, was in zip(changes, waited, strict=True)):
                break
        for at, waiting in enumerate(changes):
            for change in waiting:
                states[at] = change(states[at], now_s)
        return states, now_s

    def _changes(self, keys: Sequence[bytes]) -> list[tuple[Change, ...]]:
        with self._lock:
            return [tuple(self._waiting.get(key, ())) for key in keys]

    def turn(self, key: bytes, turn: Turn, *, begins: bool) -> None:
        self._own.turn(key, turn, begins=begins)
        ttl_s = self._cache_ttl_s
        self._change(
            key, lambda state, now_s: after_turn(None if begins else state, turn, now_s, ttl_s)
        )

    def report(self, key: bytes, report: TurnReport) -> None:
        self._own.report(key, report)
        self._change(key, lambda state, _: None if state is None else after_report(state, report))

    def link(self, key: bytes, other: bytes) -> None:
        self._own.link(key, other)
        (own,), _ = self._own.read([key])
        self._change(other, _Copy(key, own))

    def close(self) -> None:
        self._thread.close()
        if not self._away:
            self._write_all()
        self._hot.close()
        self._steady.close()

    def flushed(self, timeout_s: float) -> bool:
        """Waits until everything is in Redis; False: it took longer."""
        self._thread.wake()
        return self._idle.wait(timeout_s)

    def _change(self, key: bytes, change: Change) -> None:
        with self._lock:
            self._idle.clear()
            self._waiting.setdefault(key, []).append(change)
            while len(self._waiting) > _MOST_WAITING:
                self._waiting.popitem(last=False)
        self._thread.wake()

    def _wait_s(self) -> float | None:
        """Returns the seconds until Redis is tried again; None: it is there."""
        if not self._away:
            self._pause_s = _FIRST_PROBE_S
            return None
        pause_s = self._pause_s
        self._pause_s = min(2.0 * pause_s, self._max_probe_s)
        return pause_s * (0.5 + self._jitter.random())

    def _step(self) -> None:
        if self._away:
            self._meet()
        if not self._away:
            self._write_all()

    def _meet(self) -> None:
        """Tries to reach Redis, and takes on the secret of all replicas."""
        try:
            self._steady.locate()
            self._hot.follow(self._steady)
            client: Any = self._steady.client  # redis-py types it as one that may be asynchronous
            key = f"{self._tag}-secret"
            client.set(key, self._own.secret, nx=True)
            secret = client.get(key)
            self._read(client, ())
            self._hot.open_all()
        except _AWAY as error:
            if not self._away:
                self._leave(error)
            return
        if secret:
            self.secret = bytes(secret)
        if self._away:
            _log.info("sessions are shared through Redis")
        self._away = False

    def _leave(self, error: Exception) -> None:
        self._away = True
        _log.warning(
            "Redis is away: each replica knows the sessions that it has decided itself",
            reason=f"{type(error).__name__}: {error}",
        )
        self._thread.wake()

    def _write_all(self) -> None:
        for _ in range(_ATTEMPTS):
            with self._lock:
                some = {key: tuple(self._waiting[key]) for key in [*self._waiting][:_KEYS_AT_ONCE]}
                if not some:
                    self._idle.set()
                    return
            try:
                written = self._write(some)
            except _AWAY as error:
                self._leave(error)
                return
            with self._lock:
                for key in written:
                    left = self._waiting.get(key, [])[len(some[key]) :]
                    if left:
                        self._waiting[key] = left
                    else:
                        self._waiting.pop(key, None)
        self._thread.wake()

    def _write(self, some: dict[bytes, tuple[Change, ...]]) -> list[bytes]:
        """Changes some sessions in Redis; returns the keys of those that nobody else changed."""
        client, keys = self._steady.client, [*some]
        copied = {one.key for changes in some.values() for one in changes if isinstance(one, _Copy)}
        others = [*copied.difference(some)]
        contents, now_s = self._contents(client, [*keys, *others])
        found = dict(zip(others, map(decoded, contents[len(keys) :]), strict=True))
        written, swaps = [], []
        for key, content in zip(keys, contents[: len(keys)], strict=True):
            before = state = decoded(content)
            for change in some[key]:
                known = found.get(change.key) if isinstance(change, _Copy) else None
                state = change(state, now_s) if known is None else known
            found[key] = state
            if state is None or state == before:
                written.append(key)
            else:
                swaps.append((key, content or b"", encoded(state)))
        if swaps:
            values = [part for _, old, new in swaps for part in (old, new)]
            names = [self._name(key) for key, _, _ in swaps]
            done = client.eval(_SWAP, len(names), *names, self._ttl_ms, *values)
            written += [key for (key, _, _), ok in zip(swaps, done, strict=True) if ok]
        return written

    def _read(self, client: Any, keys: Sequence[bytes]) -> tuple[list[SessionState | None], float]:
        contents, now_s = self._contents(client, keys)
        return [decoded(one) for one in contents], now_s

    def _contents(self, client: Any, keys: Sequence[bytes]) -> tuple[list[bytes | None], float]:
        names = [self._name(key) for key in keys] or [f"{self._tag}-none"]
        contents: list[bytes | None] = []
        now_s = 0.0
        for start in range(0, len(names), _KEYS_AT_ONCE):
            part = names[start : start + _KEYS_AT_ONCE]
            seconds, micros, found = client.eval(_READ, len(part), *part)
            now_s = int(seconds) + int(micros) * 1e-6
            contents += found
        self._ahead_s = now_s - monotonic()
        return contents[: len(keys)], now_s

    def _name(self, key: bytes) -> str:
        return f"{self._tag}:{key.hex()}"
