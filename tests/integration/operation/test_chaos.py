"""A short run of chaos: a site of three replicas with a few faults keeps its promises."""

from __future__ import annotations

import shutil

from chaos.faults import kinds
from chaos.run import run
from chaos.schedule import Event, Schedule

LOAD_S = 6.0
FAULTS = (
    Event(0, 0.5, 1.5, "cut from redis", "a+c"),
    Event(1, 1.0, 1.0, "replica killed", "c"),
    Event(2, 1.5, 0.0, "worker killed", "b", 1),
    Event(3, 2.0, 1.0, "upstream", "breaks"),
    Event(4, 2.5, 0.5, "replica killed", "j"),
    Event(5, 3.0, 1.0, "clock steps", "a", 3600.0),
    Event(6, 4.0, 0.0, "redis flushed"),
    Event(7, 4.5, 0.5, "half the settings", "b"),
)


async def test_faults_over_each_other_break_no_promise() -> None:
    assert {event.fault for event in FAULTS} <= set(kinds(envoy=True, triton=False))
    result = await run(Schedule(0, LOAD_S, FAULTS))
    granted = [one for call in result.evidence.calls for one in call.granted]
    shutil.rmtree(result.folder, ignore_errors=True)
    assert result.violations == ()
    # A site that refuses everything keeps its books, too. A slow machine grants fewer in the time.
    assert len(granted) > 10
