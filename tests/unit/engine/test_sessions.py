"""The store of sessions in memory is bounded, and keeps tenants apart."""

from __future__ import annotations

import numpy as np
import pytest

from routoo.config.sections.sessions import SessionSettings
from routoo.engine.sessions.memory import MemorySessions
from routoo.engine.sessions.tracker import Sessions
from routoo.errors import InvalidRequestError
from routoo.routing.request import PromptRequest
from routoo.routing.sessions.facts import SessionFacts
from routoo.routing.sessions.state import Turn, TurnReport
from support.tiny_pool import cached_pool

POOL = cached_pool()
TURN = Turn("medium", 5000, 100, caches=True)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def store_of(clock: Clock, *, most: int = 1000, most_bytes: int = 10**9) -> MemorySessions:
    return MemorySessions(
        max_sessions=most, max_bytes=most_bytes, ttl_s=60.0, cache_ttl_s=30.0, clock_s=clock
    )


def test_the_least_recently_used_sessions_are_dropped() -> None:
    store = store_of(Clock(), most=3)
    for key in (b"a", b"b", b"c", b"a", b"d"):
        store.turn(key, TURN, begins=False)
    found, _ = store.read([b"a", b"b", b"c", b"d"])
    assert [None if one is None else one.turns for one in found] == [2, None, 1, 1]


def test_sessions_take_no_more_memory_than_they_may() -> None:
    store = store_of(Clock(), most_bytes=10_000)
    for number in range(1000):
        key = number.to_bytes(4, "big")
        for model in ("small", "medium", "large"):
            store.turn(key, Turn(model, 5000, 1, caches=True), begins=False)
            assert store.bytes <= 10_000
    assert 5 <= len(store) <= 20


def test_a_session_without_turns_ends() -> None:
    clock = Clock()
    store = store_of(clock)
    store.turn(b"a", TURN, begins=False)
    clock.now_s = 61.0
    assert store.read([b"a"])[0] == [None]
    store.report(b"a", TurnReport(1, "medium", 0, 30.0, 0))
    store.turn(b"b", TURN, begins=False)
    assert len(store) == 1


def test_a_conversation_that_begins_takes_no_other_ones_place() -> None:
    store = store_of(Clock())
    store.turn(b"a", TURN, begins=False)
    store.turn(b"a", TURN, begins=True)
    (state,), _ = store.read([b"a"])
    assert state is not None
    assert state.turns == 1


def test_one_id_of_two_tenants_or_two_kinds_is_two_sessions() -> None:
    sessions = Sessions(SessionSettings(), store_of(Clock()))
    requests = [
        PromptRequest("x", tenant=tenant, session=SessionFacts(kind, "s"))
        for tenant, kind in (("a", "session_id"), ("b", "session_id"), ("a", "conversation"))
    ]
    requests += [PromptRequest("x"), PromptRequest("y", tenant="as", session=SessionFacts("", ""))]
    _, keys = sessions.before(requests, np.ones((5, 3)), POOL)
    assert len(set(keys[:3])) == 3
    assert keys[3:] == [b"", b""]
    assert not any(b"session" in key for key in keys)


def test_an_id_has_another_key_in_another_service() -> None:
    request = PromptRequest("x", session=SessionFacts("session_id", "s"))
    keys = {
        Sessions(SessionSettings(), store_of(Clock())).before([request], np.ones((1, 3)), POOL)[1][
            0
        ]
        for _ in range(2)
    }
    assert len(keys) == 2


def test_what_cannot_count_is_refused() -> None:
    without = Sessions(SessionSettings(), None)
    with pytest.raises(InvalidRequestError, match=r"session_id: is not read, as sessions\.enabled"):
        without.check(PromptRequest("x", session=SessionFacts("session_id", "s")), POOL)
    with pytest.raises(InvalidRequestError, match="current_model: unknown model 'gone'"):
        without.check(PromptRequest("x", session=SessionFacts(current_model="gone")), POOL)
    without.check(PromptRequest("x", session=SessionFacts(current_model="large")), POOL)
