"""The process knows what memory it may have, and has calls refused when it has nearly all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from routoo.api.memory.in_flight import InFlight
from routoo.config.settings import LimitSettings, OutcomeSettings, Settings
from routoo.server.resources.container import container_bytes
from routoo.server.resources.memory_need import MIB, memory_findings, memory_need
from routoo.server.resources.memory_watch import MemoryWatch, resident_bytes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("memory.max", "536870912\n", 536870912),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "1000000\n", 1000000),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
        ("other", "5", None),
    ],
)
def test_the_containers_limit_is_read(
    tmp_path: Path, name: str, text: str, expected: int | None
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    assert container_bytes(tmp_path) == expected


def test_the_settings_that_ship_fit_in_what_deploy_sets() -> None:
    need = memory_need(Settings(), models=16, idle_bytes=175 * MIB)
    assert need.total < 500 * MIB
    assert memory_findings(need, 1, 512 * MIB) == [need.line()]
    assert memory_findings(need, 2, None) == [need.line()]


def test_sessions_are_counted_where_they_are_kept() -> None:
    kept = memory_need(Settings(), models=16, idle_bytes=0)
    off = memory_need(Settings(workers=2), models=16, idle_bytes=0)
    assert (kept.sessions, off.sessions) == (64 * MIB, 0)
    assert kept.total == off.total + 64 * MIB


def test_limits_above_the_containers_memory_are_warned_of() -> None:
    settings = Settings(
        outcomes=OutcomeSettings(max_open_decisions=100_000),
        limits=LimitSettings(max_in_flight_bytes=256 * MIB),
    )
    need = memory_need(settings, models=16, idle_bytes=175 * MIB)
    _, warning = memory_findings(need, 2, 1024 * MIB)
    assert warning.startswith("warning: 2 workers may need ")
    assert "the container has 1024" in warning


async def test_calls_are_refused_while_memory_is_short_and_taken_again() -> None:
    in_flight = InFlight(100, 50)
    has_bytes, relieved = 50, []
    watch = MemoryWatch(in_flight, lambda: 100, lambda: relieved.append(1), lambda: has_bytes)
    watch.look()
    assert not in_flight.short
    has_bytes = 96
    watch.look()
    assert in_flight.short
    assert not relieved
    has_bytes = 101
    watch.look()
    assert relieved == [1]
    has_bytes = 92  # not at once, or it would come and go
    watch.look()
    assert in_flight.short
    has_bytes = 80
    watch.look()
    assert not in_flight.short


def test_the_memory_of_this_process_is_known() -> None:
    assert 10 * MIB < resident_bytes() < 100_000 * MIB
