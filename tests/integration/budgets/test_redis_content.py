"""The ledger degrades on a Redis that is full, evicts, or holds foreign values, and keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from routoo.budget.ledger import Settled
from support.budgets import figures, grants, reserve
from support.peers.redis_replica import come_back, replica, without_renewals
from support.peers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as running:
        yield running


def test_a_full_redis_degrades_until_it_has_room(server: RedisServer) -> None:
    ledger = replica(server)
    reserve(ledger, {"a": 0.25})
    with capture_logs() as logs:
        server.client.config_set("maxmemory", 1)
        assert grants(ledger, {"b": 0.0625}).degraded
        assert ledger.settle("a", 0.125) is Settled.SETTLED
    assert [entry["kind"] for entry in logs] == ["full"]
    assert "raise its maxmemory" in logs[0]["reason"]
    server.client.config_set("maxmemory", 0)
    come_back(ledger)
    assert figures(ledger.states()[0]) == (0.0625, 0.125, 0.0, 2)
    ledger.close()


GARBAGE = {
    "budget is a string": ("budget", lambda c, k: (c.delete(k), c.set(k, "x"))),
    "budget is a list": ("budget", lambda c, k: (c.delete(k), c.rpush(k, "x"))),
    "money is no number": ("budget", lambda c, k: c.hset(k, "R", "x")),
    "money is no whole number": ("budget", lambda c, k: c.hset(k, "S", "1.5")),
    "step is no number": ("budget", lambda c, k: c.hset(k, "step", "nan")),
    "decisions are a set": ("decisions", lambda c, k: (c.delete(k), c.sadd(k, "x"))),
    "a decision is text": ("decisions", lambda c, k: c.hset(k, "a", "x")),
    "open is a hash": ("open", lambda c, k: (c.delete(k), c.hset(k, "x", "x"))),
    "open holds text": ("open", lambda c, k: c.lpush(k, "x")),
    # The list is read only when a decision has expired.
    "known is a string": (
        "known",
        lambda c, k: (c.set(k, "x"), c.hincrby("{routoo}:meta", "ahead", 600_000_000)),
    ),
    "a day is a string": ("day", lambda c, k: (c.delete(k), c.set(k, "x"))),
    "money of a day is text": ("day", lambda c, k: [c.hset(k, one, "x") for one in c.hkeys(k)]),
    "meta is a string": ("meta", lambda c, k: (c.delete(k), c.set(k, "x"))),
    "time is no number": ("meta", lambda c, k: c.hset(k, "now", "x")),
    "the number of calls is none": ("meta", lambda c, k: c.hset(k, "version", "2:x")),
    "a lease is a number": (
        "budget",
        lambda c, k: [c.hset(k, one, 5) for one in c.hkeys(k) if one.startswith(b"l:")],
    ),
}


@pytest.mark.parametrize("case", GARBAGE)
def test_garbage_under_our_keys_degrades_and_is_left_alone(server: RedisServer, case: str) -> None:
    name, spoil = GARBAGE[case]
    ledger = replica(server)
    reserve(ledger, {"a": 0.25})
    key = f"{{routoo}}:{name}".encode()
    if name in ("budget", "day"):
        (key,) = server.client.keys(f"*{name}:*")
    with capture_logs() as logs:
        with without_renewals(ledger):  # which change the keys
            kept = {each: server.client.dump(each) for each in server.client.keys("*")}
            spoil(server.client, key)
            spoilt = {each: server.client.dump(each) for each in server.client.keys("*")}
        assert ledger.settle("a", 0.125) is Settled.SETTLED
        found = grants(ledger, {"b": 0.0625, "c": 0.5})
    assert (found.refused_by.tolist(), found.degraded) == ([-1, 0], True)
    assert ledger.states()[0].degraded
    assert logs[0]["kind"] == "garbage"
    assert "{routoo}:" in logs[0]["reason"]
    assert "key_prefix" in logs[0]["reason"]
    assert {each: server.client.dump(each) for each in server.client.keys("*")} == spoilt
    server.client.delete(key)
    if key in kept:
        server.client.restore(key, 0, kept[key])
    come_back(ledger)
    assert figures(ledger.states()[0]) == (0.0625, 0.125, 0.0, 2)
    ledger.close()


def test_books_of_an_earlier_version_are_taken_over_when_its_replicas_are_gone(
    server: RedisServer,
) -> None:
    old = replica(server)
    reserve(old, {"a": 0.25})
    old.close()
    meta = "{routoo}:meta"
    assert server.client.hget(meta, "version").startswith(b"2:")
    server.client.hset(meta, "version", 57)  # as the format was before there were leases
    server.client.hincrby(meta, "now", 50_000_000)  # and is called for most of a minute
    with capture_logs() as logs:
        ledger = replica(server)
        assert (reserve(ledger, {"b": 0.5}), ledger.degraded) == ([0], True)
    assert "earlier version of routoo" in logs[0]["reason"]
    assert server.client.hget(meta, "version") == b"57"
    # Since then the replicas that write it have not called.
    server.client.hincrby(meta, "ahead", 61_000_000)
    come_back(ledger)
    assert figures(ledger.states()[0]) == (0.25, 0.0, 0.0, 1)
    assert server.client.hget(meta, "version").startswith(b"2:")
    assert reserve(ledger, {"c": 0.5}) == [-1]
    ledger.close()


def test_books_of_a_later_version_are_left_alone(server: RedisServer) -> None:
    ledger = replica(server)
    server.client.hset("{routoo}:meta", "version", "3:57")
    with capture_logs() as logs:
        assert grants(ledger, {"a": 0.5}).degraded
    assert "later version of routoo" in logs[0]["reason"]
    server.client.hincrby("{routoo}:meta", "ahead", 11_000_000)
    assert not ledger.reconcile()
    assert server.client.hget("{routoo}:meta", "version") == b"3:57"
    ledger.close()


def test_a_redis_that_may_evict_is_warned_of(server: RedisServer) -> None:
    server.client.config_set("maxmemory", 10**9)
    server.client.config_set("maxmemory-policy", "allkeys-lru")
    with capture_logs() as logs:
        replica(server).close()
    assert "set its maxmemory-policy to noeviction" in logs[0]["event"]
    assert logs[0]["policy"] == "allkeys-lru"
