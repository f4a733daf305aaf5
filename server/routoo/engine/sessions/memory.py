"""Sessions in the memory of one process: the least recently used are dropped first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from os import urandom
from time import monotonic
from typing import TYPE_CHECKING, Final

from routoo.routing.sessions.state import after_report, after_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.routing.sessions.state import SessionState, Turn, TurnReport

SECRET_BYTES: Final = 32
_STATE_BYTES = 600  # of an entry with one cache, measured; names are shared with the pool
_CACHE_BYTES = 140


class MemorySessions:
    """Implements ``SessionStore``.

    Args:
        max_sessions: most sessions that are kept.
        max_bytes: most memory that they take, counted.
        ttl_s: how long a session without turns is kept.
        cache_ttl_s: how long providers keep an input that nobody reads.
        clock_s: seconds on a clock that never goes back.
    """

    degraded = False
    waits = False

    def __init__(
        self,
        *,
        max_sessions: int,
        max_bytes: int,
        ttl_s: float,
        cache_ttl_s: float,
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        self.secret = urandom(SECRET_BYTES)
        self.bytes = 0
        self._max_sessions = max_sessions
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._cache_ttl_s = cache_ttl_s
        self._clock_s = clock_s
        self._states: OrderedDict[bytes, SessionState] = OrderedDict()
        self._lock = threading.Lock()  # taken for turns of sessions only

    def __len__(self) -> int:
        return len(self._states)

    def read(self, keys: Sequence[bytes]) -> tuple[list[SessionState | None], float]:
        with self._lock:
            now_s = self._clock_s()
            return [self._known(key, now_s) for key in keys], now_s

    def turn(self, key: bytes, turn: Turn, *, begins: bool) -> None:
        with self._lock:
            now_s = self._clock_s()
            state = None if begins else self._known(key, now_s)
            self._put(key, after_turn(state, turn, now_s, self._cache_ttl_s))
            self._drop(now_s)

    def report(self, key: bytes, report: TurnReport) -> None:
        with self._lock:
            state = self._known(key, self._clock_s())
            if state is not None:
                self._put(key, after_report(state, report), seen=False)

    def link(self, key: bytes, other: bytes) -> None:
        with self._lock:
            now_s = self._clock_s()
            state = self._known(key, now_s)
            if state is not None:
                self._put(other, state)
                self._drop(now_s)

    def close(self) -> None:
        pass

    def _known(self, key: bytes, now_s: float) -> SessionState | None:
        state = self._states.get(key)
        return None if state is None or now_s - state.seen_s > self._ttl_s else state

    def _put(self, key: bytes, state: SessionState, *, seen: bool = True) -> None:
        before = self._states.get(key)
        self.bytes += _size(state) - (0 if before is None else _size(before))
        self._states[key] = state
        if seen:
            self._states.move_to_end(key)

    def _drop(self, now_s: float) -> None:
        states = self._states
        while states:
            oldest = next(iter(states.values()))
            if (
                len(states) <= self._max_sessions
                and self.bytes <= self._max_bytes
                and now_s - oldest.seen_s <= self._ttl_s
            ):
                return
            states.popitem(last=False)
            self.bytes -= _size(oldest)


def _size(state: SessionState) -> int:
    return _STATE_BYTES + _CACHE_BYTES * len(state.caches)
