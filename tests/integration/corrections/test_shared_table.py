"""Replicas exchange corrections through a real Redis: each answer once, whatever happens to it."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import pytest
import redis

from routoo.budget.redis.connecting import Connecting
from routoo.engine.corrections.encoding import SharingError
from routoo.engine.corrections.shared import SharedTable
from routoo.errors import ConfigError
from routoo.routing.corrections.speed import Declared, LearningTerms
from routoo.routing.corrections.table import Answer, Layout, Table
from support.peers.redis_server import REPLY_TIMEOUT_S, RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TERMS = LearningTerms(200.0, 2.0, 3600.0)
LAYOUT = Layout("p1", ("small",), (), (Declared(500.0, 10.0),))
KEY = "{routoo}:corrections"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes a Redis for away only when it is."""
    monkeypatch.setattr("routoo.engine.corrections.shared._TIMEOUT_S", REPLY_TIMEOUT_S)


@pytest.fixture
def client(server: RedisServer) -> Iterator[Any]:
    with redis.Redis.from_url(server.url) as connected:
        connected.flushall()
        yield connected


def shared(server: RedisServer) -> SharedTable:
    return shared_at(server.url)


def shared_at(url: str) -> SharedTable:
    return SharedTable(Connecting(url, False, 1.0, 1, "routoo"))  # noqa: FBT003


def answers(count: int, tokens: float = 300.0) -> list[Answer]:
    return [Answer("p1", "small", "", 100.0, tokens, inf)] * count


def count(table: Table | None) -> int:
    assert table is not None
    return table.of_model(LAYOUT, 0, TERMS, 0.0).lengths.answers


@pytest.mark.usefixtures("client")
def test_every_answer_of_every_replica_is_learned_once(server: RedisServer) -> None:
    one, two = shared(server), shared(server)
    first = Table().learned(answers(3), TERMS)
    assert one.exchange(first, answers(3), TERMS) == first
    assert one.exchange(first, [], TERMS) is None
    both = two.exchange(Table().learned(answers(4), TERMS), answers(4), TERMS)
    assert both == first.learned(answers(4), TERMS)
    assert one.exchange(first, [], TERMS) == both
    assert two.exchange(first, [], TERMS) is None


def test_a_redis_that_lost_its_data_gets_it_back_from_a_replica(
    server: RedisServer, client: Any
) -> None:
    one, two = shared(server), shared(server)
    table = one.exchange(Table().learned(answers(5), TERMS), answers(5), TERMS)
    assert table is not None
    client.flushall()
    assert one.exchange(table, [], TERMS) == table
    assert count(two.exchange(Table(), answers(2), TERMS)) == 7


@pytest.mark.usefixtures("client")
def test_a_write_whose_reply_is_lost_is_not_learned_twice(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = shared(server)
    one.exchange(Table(), [], TERMS)
    run = redis.Redis.eval

    def lost(client: Any, *arguments: Any) -> None:
        run(client, *arguments)
        raise redis.exceptions.TimeoutError("the reply is lost")

    with monkeypatch.context() as patch:
        patch.setattr(redis.Redis, "eval", lost)
        with pytest.raises(SharingError, match="the reply is lost"):
            one.exchange(Table(), answers(3), TERMS)
    assert count(one.exchange(Table(), answers(3) + answers(2), TERMS)) == 5


def test_something_that_is_not_ours_is_named_and_left_alone(
    server: RedisServer, client: Any
) -> None:
    client.set(KEY, "a text")
    with pytest.raises(SharingError, match="WRONGTYPE"):
        shared(server).exchange(Table(), answers(1), TERMS)
    assert client.get(KEY) == b"a text"
    client.delete(KEY)
    client.hset(KEY, mapping={"version": "v", "table": "{}"})
    with pytest.raises(SharingError, match="not ours under "):
        shared(server).exchange(Table(), answers(1), TERMS)
    assert client.hget(KEY, "table") == b"{}"


def test_a_redis_that_is_away_is_said(tmp_path: Path) -> None:
    away = shared_at(f"unix://{tmp_path}/none.sock")
    with pytest.raises(SharingError):
        away.exchange(Table(), answers(1), TERMS)
    with pytest.raises(ConfigError, match="redis_url"):
        shared_at("http://nowhere")


def test_a_cluster_that_is_away_is_said() -> None:
    shared = SharedTable(Connecting("redis://127.0.0.1:1", True, 1.0, 1, "routoo"))  # noqa: FBT003
    with pytest.raises(SharingError, match="Redis Cluster cannot be connected"):
        shared.exchange(Table(), answers(1), TERMS)
