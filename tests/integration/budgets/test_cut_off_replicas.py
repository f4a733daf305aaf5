"""With replicas cut off from Redis, all grant at most the limit, and nearly all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.budgets import budget, figures, grants, reserve
from support.peers.redis_server import RedisServer
from support.peers.split_replica import StillLedger, World, store_of

if TYPE_CHECKING:
    from collections.abc import Iterator

# Periods of 30 days, of which some minutes go by.
DAYS = budget(usd=1.0, per="30d", window="sliding")
PIECES = 1000
LEASE_S = 900.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def world(server: RedisServer) -> Iterator[World]:
    found = World(server, (DAYS,), share=0.1, lease_s=LEASE_S)
    yield found
    found.close()


def together(world: World, count: int) -> list[StillLedger]:
    found = [world.join() for _ in range(count)]
    seconds_go_by(world, 3)
    return found


def seconds_go_by(world: World, seconds: int) -> None:
    for _ in range(seconds):
        world.wait_s(1.0)
        for replica in world.replicas:
            replica.renew()


def spend_usd(world: World, replicas: list[StillLedger], name: str) -> float:
    """Takes a thousandth of the limit at a time, in turn, until a second long nobody gets one."""
    total, turn, got = 0, 0, True
    while got:
        got = False
        for at, replica in enumerate(replicas):
            ids = {f"{name}-{at}-{turn}-{row}": 1.0 / PIECES for row in range(50)}
            found = reserve(replica, ids).count(-1)
            total, got = total + found, got or found > 0
        turn += 1
        seconds_go_by(world, 1)
    return total / PIECES


@pytest.mark.parametrize(("count", "cut"), [(2, 1), (3, 1), (3, 2), (4, 1), (4, 2), (4, 3), (4, 4)])
def test_the_limit_holds_and_nearly_all_of_it_is_usable(world: World, count: int, cut: int) -> None:
    replicas = together(world, count)
    for replica in replicas[:cut]:
        store_of(replica).cut = True
    seconds_go_by(world, 60)
    connected = spend_usd(world, replicas[cut:], "connected")
    if cut < count:
        assert connected >= 0.9
    alone = spend_usd(world, replicas[:cut], "alone")
    assert alone > 0
    assert connected + alone <= 1.0
    if cut < count:
        assert connected + alone >= 0.98
    for replica in replicas[:cut]:
        store_of(replica).cut = False
        assert replica.reconcile()
    reserved, _, _, granted = figures(replicas[0].states()[0])
    assert reserved == pytest.approx(connected + alone)
    assert granted == round((connected + alone) * PIECES)


def test_a_lease_ends(world: World) -> None:
    one, two = together(world, 2)
    store_of(one).cut = True
    one.renew()
    world.wait_s(LEASE_S - 2)
    assert reserve(one, {"a": 0.01}) == [-1]
    world.wait_s(3)
    assert reserve(one, {"b": 0.01}) == [0]
    # Redis keeps it for what ``one`` may still tell.
    assert reserve(two, {"c": 0.96}) == [0]
    assert reserve(two, {"d": 0.94}) == [-1]
    store_of(one).cut = False
    assert one.reconcile()
    seconds_go_by(world, 2)
    assert figures(two.states()[0]) == pytest.approx((0.95, 0.0, 0.0, 2))
    assert reserve(two, {"e": 0.047}) == [-1]


def test_an_hour_after_a_crash_its_lease_is_free(server: RedisServer) -> None:
    world = World(server, (budget(usd=1.0, per="1h", window="sliding"),), 0.1, LEASE_S)
    one, two = together(world, 2)
    world.crash(one)
    for _ in range(90):
        seconds_go_by(world, 5)
        world.wait_s(9)
        two.renew()
    assert reserve(two, {"a": 0.96}) == [0]
    for _ in range(270):
        world.wait_s(9)
        seconds_go_by(world, 5)
    assert reserve(two, {"b": 1.0}) == [-1]
    world.close()


def test_a_stop_gives_the_lease_back(world: World) -> None:
    one, two = together(world, 2)
    assert not grants(one, {"a": 0.5}).degraded
    world.leave(one)
    assert reserve(two, {"b": 0.5}) == [-1]


def test_a_period_that_ends_does_not_fill_a_lease(server: RedisServer) -> None:
    world = World(server, (budget(usd=1.0, per="1m"),), 0.1, LEASE_S)
    one, two = together(world, 2)
    store_of(one).cut = True
    one.renew()
    assert reserve(one, {"a": 0.04}) == [-1]
    world.wait_s(60)
    assert reserve(one, {"b": 0.02}) == [0]
    assert reserve(one, {"c": 0.01}) == [-1]
    assert one.settle("a", 0.01) is not None
    assert reserve(one, {"d": 0.03}) == [-1]
    two.renew()
    assert reserve(two, {"e": 0.96}) == [0]
    assert reserve(two, {"f": 0.9}) == [-1]
    world.close()


def test_requests_on_their_way_are_taken_from_the_lease(world: World) -> None:
    one, two = together(world, 2)
    assert reserve(two, {"a": 0.9}) == [-1]
    # Redis grants this out of the lease of ``one``, which never hears of it.
    store_of(one).loses = 1
    assert reserve(one, {"b": 0.06, "c": 0.04}) == [0, -1]
    assert reserve(one, {"d": 0.01}) == [0]
    assert one.reconcile()
    reserved, _, _, _ = figures(one.states()[0])
    assert reserved == pytest.approx(0.94)


def test_a_lease_shrinks_only_when_its_holder_knows(world: World) -> None:
    one, two = together(world, 2)
    assert reserve(two, {"a": 0.9}) == [-1]
    store_of(one).loses = 1
    one.renew()
    two.renew()
    two.renew()
    assert reserve(two, {f"b{row}": 0.001 for row in range(100)}).count(-1) == 50
    assert reserve(one, {"c": 0.05, "d": 0.001}) == [-1, 0]


def test_a_clock_of_redis_put_forward_ends_no_lease_and_no_spending(server: RedisServer) -> None:
    world = World(server, (budget(usd=1.0, per="1h"),), 0.1, LEASE_S)
    world.align(3600)
    one, two = together(world, 2)
    store_of(one).cut = True
    one.renew()
    world.step_s(7 * 3600)
    for _ in range(4):
        two.renew()
    assert reserve(two, {"a": 0.96}) == [0]
    assert reserve(one, {"b": 0.05}) == [-1]
    store_of(one).cut = False
    assert one.reconcile()
    # Nobody knows on which side of the step it was spent; it counts now.
    seconds_go_by(world, 3)
    assert figures(two.states()[0]) == pytest.approx((0.05, 0.0, 0.0, 1))
    world.close()


@pytest.mark.parametrize("all_of_it", [True, False])
def test_what_a_replica_granted_that_crashed_as_redis_forgot_is_not_granted_again(
    server: RedisServer,
    all_of_it: bool,  # noqa: FBT001
) -> None:
    world = World(server, (budget(usd=1.0, per="2h", window="sliding"),), 0.1, LEASE_S)
    one, two = together(world, 2)
    world.save()
    assert reserve(one, {"a": 0.75}) == [-1]
    world.lose(all_of_it=all_of_it)
    world.crash(one)
    two.renew()
    assert two.reconcile()
    found = grants(two, {"b": 0.0625, "c": 0.03125})
    assert (found.refused_by.tolist(), found.degraded) == ([0, -1], True)
    for _ in range(780):  # nearly the lease and a period
        world.wait_s(9.9)
        two.renew()
    assert reserve(two, {"d": 0.0625}) == [0]
    for _ in range(60):
        world.wait_s(9.9)
        two.renew()
    assert reserve(two, {"e": 0.75}) == [-1]
    world.close()
