"""One run: a site, its load, the faults of a schedule, rest, and the judgement."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.books import logged_models
from chaos.checker import check
from chaos.faults import FAULTS
from chaos.schedule import moments
from chaos.site_files import ALL, JOURNAL, SHARED
from chaos.world import World

if TYPE_CHECKING:
    from chaos.records import Evidence
    from chaos.schedule import Schedule
    from chaos.triton import TritonPeer


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a run.

    Attributes:
        violations: one line per broken promise; empty: none was broken.
        evidence: what was seen.
        folder: the site's files; kept where something was broken, else removed.
    """

    violations: tuple[str, ...]
    evidence: Evidence
    folder: Path


async def run(
    schedule: Schedule, *, envoy: bool = True, triton: TritonPeer | None = None
) -> Result:
    """Runs a schedule on a site of its own.

    Args:
        schedule: the faults, and the duration of the load.
        envoy: whether there is an Envoy.
        triton: a server that replica ``a`` predicts with; None: it predicts by itself.
    """
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    world = World(folder, schedule.seed, schedule.seconds, envoy=envoy, triton=triton)
    try:
        await world.start()
        load = asyncio.create_task(world.clients.load(schedule.seconds, world.envoy_address))
        await _disturb(world, schedule)
        await load
        await world.all_serve()
        world.evidence.refusing = await world.clients.refusing((*SHARED, JOURNAL))
        await world.clients.ended()
        await world.come_to_rest()
        world.finish()
    finally:
        await world.close()
    evidence = world.evidence
    evidence.served = world.upstream.served
    for name in ALL:
        evidence.logged |= logged_models(folder / name)
        evidence.exits += [f"{name}: {one}" for one in world.replicas[name].unasked]
    violations = tuple(check(evidence))
    if violations:
        text = json.dumps(asdict(evidence), default=sorted, indent=1)
        (folder / "evidence.json").write_text(text, encoding="utf-8")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return Result(violations, evidence, folder)


async def _disturb(world: World, schedule: Schedule) -> None:
    """Begins and takes back the faults at their times."""
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    pending: set[asyncio.Task[None]] = set()
    for at_s, begins, event in moments(schedule):
        await asyncio.sleep(max(0.0, start_s + at_s - loop.time()))
        fault = FAULTS[event.fault]
        # A fault that takes its time, such as the start of a process, holds up no other one.
        task = asyncio.create_task((fault.begin if begins else fault.end)(world, event))
        pending.add(task)
    await asyncio.gather(*pending)
