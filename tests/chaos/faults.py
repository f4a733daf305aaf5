"""The table of faults: how each is drawn, begun and taken back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaos.schedule import Kind
from chaos.site_files import JOINING, JOURNAL, SHARED, TENANTS
from chaos.upstream import MOODS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from random import Random

    from chaos.schedule import Event
    from chaos.world import World

    Act = Callable[[World, Event], Coroutine[Any, Any, None]]

_RUNNING = (*SHARED, JOURNAL)
_SUPERVISED = ("b",)
_SHORT_S, _LONG_S = (0.3, 3.0), (2.0, 8.0)
_STEPS_S = (-3600.0, -30.0, 30.0, 3600.0, 40 * 86_400.0)
"""Steps of the wall clock, in seconds; the last one is longer than most periods."""
_HALF = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault.

    Attributes:
        kind: the terms by which it is drawn.
        begin: makes it happen.
        end: takes it back.
        needs: triton or envoy; empty: it happens on every site.
    """

    kind: Kind
    begin: Act
    end: Act
    needs: str = ""


async def _nothing(world: World, event: Event) -> None:
    """Takes back a fault that ends by itself."""


async def _kill(world: World, event: Event) -> None:
    world.replicas[event.target].kill(event.lasts_s)


async def _leave(world: World, event: Event) -> None:
    world.begin("gone", event.target)
    world.replicas[event.target].leave(event.lasts_s)


async def _kill_worker(world: World, event: Event) -> None:
    world.begin("gone", event.target, event.number)
    world.replicas[event.target].kill_worker(int(event.argument))


async def _worker_is_back(world: World, event: Event) -> None:
    # Until then, an earlier fault may have ended the other worker.
    await world.replicas[event.target].listens()
    world.end("gone", event.target, event.number)


class _Freeze:
    """Processes that do not run for a while.

    Args:
        choose: stops processes of the replica, and returns their ids.
        ends: whether a supervisor may end them meanwhile.
    """

    def __init__(self, choose: Callable[[World, Event], list[int]], *, ends: bool = False) -> None:
        self._choose = choose
        self._ends = ends
        self._pids: dict[tuple[int, int], list[int]] = {}

    async def begin(self, world: World, event: Event) -> None:
        world.begin("frozen", event.target, event.number)
        if self._ends:
            world.begin("gone", event.target, event.number)
        self._pids[id(world), event.number] = self._choose(world, event)

    async def end(self, world: World, event: Event) -> None:
        replica = world.replicas[event.target]
        replica.thaw(self._pids.pop((id(world), event.number), []))
        world.end("frozen", event.target, event.number)
        if self._ends:
            await replica.listens()
            world.end("gone", event.target, event.number)


async def _join(world: World, event: Event) -> None:
    world.begin("gone", JOINING)  # until it serves
    world.replicas[JOINING].start()


async def _part(world: World, event: Event) -> None:
    world.begin("gone", JOINING)
    world.replicas[JOINING].stay_away()


def _parted(act: Callable[[Any, float], None]) -> Act:
    async def begin(world: World, event: Event) -> None:
        for name in event.target.split("+"):
            world.begin("cut", name, event.number)
            act(world.to_redis[name], event.argument)

    return begin


async def _joined(world: World, event: Event) -> None:
    for name in event.target.split("+"):
        world.to_redis[name].heal()
        world.end("cut", name, event.number)


def _redis_ends(*, keeps_copy: bool = False) -> Act:
    async def begin(world: World, event: Event) -> None:
        if keeps_copy:
            world.copy_redis()
        else:
            world.begin("cut", event=event.number)
            await world.stop_redis()

    return begin


def _redis_starts(with_data: str) -> Act:
    async def end(world: World, event: Event) -> None:
        world.note("restarted" if with_data == "kept" else "lost")
        await world.restart_redis(with_data=with_data)
        world.end("cut", event=event.number)

    return end


async def _redis_freezes(world: World, event: Event) -> None:
    world.begin("cut", event=event.number)
    if world.redis.process is not None:
        world.redis.freeze()


async def _redis_thaws(world: World, event: Event) -> None:
    if world.redis.process is not None:
        world.redis.thaw()
    world.end("cut", event=event.number)


async def _flush(world: World, event: Event) -> None:
    world.note("lost")
    await world.tell_redis("FLUSHALL")


async def _fill_redis(world: World, event: Event) -> None:
    world.begin("cut", event=event.number)
    await world.tell_redis("CONFIG", "SET", "maxmemory", "1")


async def _empty_redis(world: World, event: Event) -> None:
    await world.tell_redis("CONFIG", "SET", "maxmemory", "0")
    world.end("cut", event=event.number)


async def _kill_triton(world: World, event: Event) -> None:
    assert world.triton is not None
    world.triton.kill()


async def _start_triton(world: World, event: Event) -> None:
    assert world.triton is not None
    await world.triton.restart()


def _triton_way(act: Callable[[Any, float], None]) -> Act:
    async def begin(world: World, event: Event) -> None:
        act(world.to_triton, event.argument)

    return begin


async def _triton_heals(world: World, event: Event) -> None:
    assert world.to_triton is not None
    world.to_triton.heal()


async def _envoy_ends(world: World, event: Event) -> None:
    world.begin("envoy", event=event.number)
    await world.stop_envoy()


async def _envoy_starts(world: World, event: Event) -> None:
    await world.start_envoy()
    world.end("envoy", event=event.number)


async def _mood(world: World, event: Event) -> None:
    world.begin("upstream", event=event.number)
    world.upstream.mood = event.target


async def _good_mood(world: World, event: Event) -> None:
    world.upstream.mood = ""
    world.end("upstream", event=event.number)


async def _good_reload(world: World, event: Event) -> None:
    world.write_pool(event.target, 1 + int(event.argument * 50))
    world.replicas[event.target].reload()


def _spoil(file: str, spoilt: Callable[[str], str]) -> Act:
    async def begin(world: World, event: Event) -> None:
        world.begin("spoilt", event.target, event.number)
        world.replicas[event.target].spoil(file, spoilt)

    return begin


async def _repair(world: World, event: Event) -> None:
    world.write_settings(event.target)
    world.write_pool(event.target)
    world.replicas[event.target].repaired()
    world.end("spoilt", event.target, event.number)


async def _step_clock(world: World, event: Event) -> None:
    world.begin("clock", event.target, event.number)
    world.replicas[event.target].step_clock(event.argument)


async def _right_clock(world: World, event: Event) -> None:
    world.replicas[event.target].step_clock(0.0)
    world.end("clock", event.target, event.number)


async def _fill_disk(world: World, event: Event) -> None:
    world.begin("disk", event.target, event.number)
    world.replicas[event.target].fill_disk(event.argument)


async def _empty_disk(world: World, event: Event) -> None:
    world.replicas[event.target].empty_disk()
    world.end("disk", event.target, event.number)


async def _flood(world: World, event: Event) -> None:
    world.begin("flood", event.target, event.number)
    address = world.replicas[event.target].address
    await world.clients.flood(event.target, address, 6, int(event.argument))


async def _flooded(world: World, event: Event) -> None:
    world.end("flood", event.target, event.number)


async def _revoke(world: World, event: Event) -> None:
    world.revoke(event.target)


async def _give_back(world: World, event: Event) -> None:
    world.restore_tokens()


def _chosen(*values: float) -> Callable[[Random], float]:
    return lambda chance: chance.choice(values)


_FREEZE = _Freeze(lambda world, event: world.replicas[event.target].freeze())
_FREEZE_WORKER = _Freeze(
    lambda world, event: world.replicas[event.target].freeze_worker(int(event.argument)),
    ends=True,
)
_SETS = ("a", "b", "c", "a+b", "a+c", "b+c", "a+b+c")
_MOST_S = (1.0, 5.0)
_POOL, _CONFIG = "pool.yaml", "config.yaml"

FAULTS: dict[str, Fault] = {
    "replica killed": Fault(Kind(2, _RUNNING, _SHORT_S), _kill, _nothing),
    "replica leaves": Fault(Kind(1, _RUNNING, _SHORT_S), _leave, _nothing),
    "replica joins": Fault(Kind(1, (JOINING,), _LONG_S), _join, _part),
    "replica frozen": Fault(Kind(1, ("a", "c", JOURNAL), _SHORT_S), _FREEZE.begin, _FREEZE.end),
    "supervisor frozen": Fault(Kind(0.5, _SUPERVISED, _SHORT_S), _FREEZE.begin, _FREEZE.end),
    "worker killed": Fault(
        Kind(1, _SUPERVISED, _MOST_S, _chosen(0, 1)), _kill_worker, _worker_is_back
    ),
    "worker frozen": Fault(
        Kind(1, _SUPERVISED, _LONG_S, _chosen(0, 1)), _FREEZE_WORKER.begin, _FREEZE_WORKER.end
    ),
    "cut from redis": Fault(Kind(3, _SETS, _LONG_S), _parted(lambda way, _: way.cut()), _joined),
    "redis hangs for": Fault(Kind(2, _SETS, _LONG_S), _parted(lambda way, _: way.hang()), _joined),
    "redis slow for": Fault(
        Kind(1, _SETS, _LONG_S, _chosen(0.02, 0.1, 0.5)),
        _parted(lambda way, delay_s: setattr(way, "delay_s", delay_s)),
        _joined,
    ),
    "redis killed": Fault(Kind(1, ("",), _SHORT_S), _redis_ends(), _redis_starts("kept")),
    "redis frozen": Fault(Kind(1, ("",), _SHORT_S), _redis_freezes, _redis_thaws),
    "redis full": Fault(Kind(1, ("",), _SHORT_S), _fill_redis, _empty_redis),
    "redis flushed": Fault(Kind(0.7, ("",), (0.0, 0.0)), _flush, _nothing),
    "redis restarts empty": Fault(Kind(0.7, ("",), _SHORT_S), _redis_ends(), _redis_starts("none")),
    "redis goes back": Fault(
        Kind(0.7, ("",), _SHORT_S), _redis_ends(keeps_copy=True), _redis_starts("older")
    ),
    "triton killed": Fault(Kind(1, ("",), _SHORT_S), _kill_triton, _start_triton, needs="triton"),
    "triton hangs": Fault(
        Kind(1, ("",), _LONG_S), _triton_way(lambda way, _: way.hang()), _triton_heals, "triton"
    ),
    "triton slow": Fault(
        Kind(1, ("",), _LONG_S, _chosen(0.05, 0.3)),
        _triton_way(lambda way, delay_s: setattr(way, "delay_s", delay_s)),
        _triton_heals,
        "triton",
    ),
    "envoy killed": Fault(Kind(1, ("",), _SHORT_S), _envoy_ends, _envoy_starts, needs="envoy"),
    "upstream": Fault(Kind(3, MOODS, _LONG_S), _mood, _good_mood, needs="envoy"),
    "good reload": Fault(
        Kind(1, _RUNNING, _SHORT_S, lambda chance: chance.random()), _good_reload, _repair
    ),
    "bad pool": Fault(Kind(1, _RUNNING, _SHORT_S), _spoil(_POOL, lambda _: "models: ["), _repair),
    "half a pool": Fault(
        Kind(1, _RUNNING, _SHORT_S), _spoil(_POOL, lambda text: text[: len(text) // _HALF]), _repair
    ),
    "half the settings": Fault(
        Kind(1, _RUNNING, _SHORT_S),
        _spoil(_CONFIG, lambda text: text[: len(text) // _HALF]),
        _repair,
    ),
    "empty settings": Fault(Kind(1, _RUNNING, _SHORT_S), _spoil(_CONFIG, lambda _: ""), _repair),
    "clock steps": Fault(
        Kind(1.5, _RUNNING, _LONG_S, _chosen(*_STEPS_S)), _step_clock, _right_clock
    ),
    "disk full": Fault(Kind(1, _RUNNING, _LONG_S, _chosen(0, 2000)), _fill_disk, _empty_disk),
    "flood": Fault(Kind(1, SHARED, _SHORT_S, _chosen(3e5, 3e6)), _flood, _flooded),
    "token taken back": Fault(
        Kind(1, tuple(one.name for one in TENANTS if one.door == "grpc"), (6.0, 9.0)),
        _revoke,
        _give_back,
    ),
}
"""All faults, by name."""


def kinds(*, envoy: bool, triton: bool) -> dict[str, Kind]:
    """Returns the terms of the faults that a site can have."""
    has = {"": True, "envoy": envoy, "triton": triton}
    return {name: fault.kind for name, fault in FAULTS.items() if has[fault.needs]}
