"""Replicas share sessions through a real Redis, and each goes on with its own without it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from routoo.config.sections.budget import LedgerSettings
from routoo.config.sections.sessions import SessionSettings
from routoo.engine.sessions.encoding import decoded, encoded
from routoo.engine.sessions.shared import RedisSessions
from routoo.routing.sessions.state import Turn, TurnReport, after_turn
from support.peers.redis_replicated import MASTER_NAME, under_a_sentinel
from support.peers.redis_server import RedisServer
from support.tiny_pool import write_cached_pool
from support.tiny_service import serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from routoo.routing.sessions.state import SessionState

TURN = Turn("medium", 5000, 100, caches=True)
LONG = "hard " * 3000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as running:
        yield running


def store_of(server: RedisServer, **more: Any) -> RedisSessions:
    ledger = LedgerSettings(
        backend="redis", redis_url=server.url, redis_timeout_s=HANG_S, redis_max_probe_s=0.2, **more
    )
    return RedisSessions(ledger, SessionSettings(), random.Random(1))  # noqa: S311 - spreads probes


def state_in(store: RedisSessions, key: bytes) -> SessionState | None:
    (state,), _ = store.read([key])
    return state


def test_what_one_replica_keeps_another_one_reads(server: RedisServer) -> None:
    one, other = store_of(server), store_of(server)
    assert one.secret == other.secret
    one.turn(b"a", TURN, begins=False)
    seen = state_in(one, b"a")  # before it is written
    assert seen is not None
    assert one.flushed(HANG_S)
    read = state_in(other, b"a")
    assert read is not None
    assert (read.model, read.turns, read.spent_nano_usd) == ("medium", 1, 100)
    other.turn(b"a", Turn("large", 6000, 900, caches=True), begins=False)
    assert other.flushed(HANG_S)
    one.report(b"a", TurnReport(1, "medium", 4000, 300.0, 11))
    one.link(b"a", b"resp")
    assert one.flushed(HANG_S)
    read = state_in(other, b"a")
    assert read is not None
    assert (read.model, read.turns, read.spent_nano_usd) == ("large", 2, 1011)
    (_,), now_s = other.read([b"a"])
    assert read.cached_tokens(now_s) == {"large": 6000, "medium": 4000}
    assert state_in(other, b"resp") is not None
    assert state_in(other, b"never") is None
    one.close()
    other.close()


def test_a_session_that_goes_on_under_a_replys_id_keeps_the_turns_of_all_replicas(
    server: RedisServer,
) -> None:
    one, other = store_of(server), store_of(server)
    one.turn(b"a", TURN, begins=False)
    one.link(b"a", b"first")
    assert one.flushed(HANG_S)
    other.turn(b"first", TURN, begins=False)
    other.link(b"first", b"second")
    assert other.flushed(HANG_S)
    other.link(b"first", b"again")  # when there is nothing else to write
    assert other.flushed(HANG_S)
    for key in (b"second", b"again"):
        state = state_in(one, key)
        assert state is not None
        assert (state.turns, state.spent_nano_usd) == (2, 200)
    one.close()
    other.close()


def test_changes_of_one_session_by_two_replicas_all_count(server: RedisServer) -> None:
    stores = [store_of(server), store_of(server)]
    for _ in range(50):
        for store in stores:
            store.turn(b"a", TURN, begins=False)
    assert all(store.flushed(HANG_S) for store in stores)
    state = state_in(stores[0], b"a")
    assert state is not None
    assert (state.turns, state.spent_nano_usd) == (100, 10_000)
    for store in stores:
        store.close()


def test_without_redis_a_replica_knows_its_own_and_brings_them_back(server: RedisServer) -> None:
    store = store_of(server)
    store.turn(b"a", TURN, begins=False)
    assert store.flushed(HANG_S)
    server.stop()
    assert state_in(store, b"a") is not None
    assert store.degraded
    store.turn(b"a", TURN, begins=False)
    alone = state_in(store, b"a")
    assert alone is not None
    assert alone.turns == 2
    server.start()
    assert store.flushed(HANG_S)
    assert not store.degraded
    other = store_of(server)
    state = state_in(other, b"a")
    assert state is not None
    assert state.turns >= 1
    store.close()
    other.close()


def test_sentinels_tell_where_sessions_are(tmp_path: Path) -> None:
    with under_a_sentinel(tmp_path) as (pair, sentinel):
        ledger = LedgerSettings(
            backend="redis",
            redis_url="redis://ignored:1/0",
            redis_sentinels=(sentinel.url,),
            redis_master=MASTER_NAME,
            redis_timeout_s=HANG_S,
            redis_max_probe_s=0.2,
        )
        store = RedisSessions(ledger, SessionSettings(), random.Random(1))  # noqa: S311
        assert not store.degraded
        store.turn(b"a", TURN, begins=False)
        assert store.flushed(HANG_S)
        pair.wait_for_the_replica()
        pair.master.stop()
        sentinel.lose_patience()
        store.turn(b"a", TURN, begins=False)
        assert store.flushed(HANG_S)
        state = state_in(store, b"a")
        assert state is not None
        assert state.turns == 2
        assert not store.degraded
        store.close()


def test_a_cluster_that_is_away_at_the_start_is_no_fault() -> None:
    ledger = LedgerSettings(
        backend="redis", redis_url="redis://127.0.0.1:1", redis_cluster=True, redis_timeout_s=0.2
    )
    store = RedisSessions(ledger, SessionSettings(), random.Random(1))  # noqa: S311
    assert store.degraded
    store.turn(b"a", TURN, begins=False)
    assert state_in(store, b"a") is not None
    store.close()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{}", b"[]", b"[2]", b'[1,"m","",1,0,0,0,0,[[1]]]', None),
        *(b'[1,"m","",1,0,0,1e300,0,[]]', b'[1,"m","",1,0,0,-1,0,[]]'),
    ],
)
def test_something_else_in_redis_is_no_session(content: bytes | None) -> None:
    assert decoded(content) is None


def test_a_state_is_the_same_after_redis() -> None:
    state = after_turn(None, TURN, 1.25, 300.0)
    assert decoded(encoded(state)) == state


async def test_turns_reach_any_replica(server: RedisServer, tmp_path: Path) -> None:
    write_cached_pool(tmp_path / "pool.yaml")
    ledger = {"backend": "redis", "redis_url": server.url, "redis_timeout_s": HANG_S}
    settings = tiny_settings(tmp_path, ledger=ledger)
    async with serving(settings) as one, serving(settings) as other:
        first = await one.route(LONG, session_id="s", allowed_models=["large"])
        store = one.service.engine.accounting.sessions.store
        assert isinstance(store, RedisSessions)
        assert store.flushed(HANG_S)
        second = await other.route(LONG, session_id="s")
        assert second.session_turns == 1
        assert second.session_spent_usd == pytest.approx(first.predicted_cost_usd, rel=1e-6)
        assert not second.degraded
        server.stop()
        third = await one.route(LONG, session_id="s")
        assert (third.session_turns, third.degraded) == (1, True)
