"""A machine's clock that is set forward or back grants nothing more, nor less for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog.testing
from hypothesis import given
from hypothesis import strategies as st

from routoo.budget.clocks import SteadyClock
from routoo.budget.machine_start import MachineStart, kernels_boot_id
from support.budgets import START_NS, FakeClock, S, budget, opened, reserve

if TYPE_CHECKING:
    from pathlib import Path

HOUR_S, DAY_S = 3600.0, 86_400.0
STEPS_S = (-3 * DAY_S, -5 * HOUR_S, -90.0, 90.0, 5 * HOUR_S, 3 * DAY_S)


class Machine:
    """A machine: its clock, which can be set, and the time that passes."""

    def __init__(self, boot: str = "first", wall_ns: int = START_NS, up_s: float = 1e5) -> None:
        self.boot = boot
        self.wall, self.up = FakeClock(wall_ns), FakeClock(round(up_s * S))

    def passes_s(self, seconds: float) -> None:
        self.wall.forward_s(seconds)
        self.up.forward_s(seconds)

    def clock(self) -> SteadyClock:
        return SteadyClock(self.wall, self.up, self.boot)


@given(st.lists(st.tuples(st.sampled_from((0.0, *STEPS_S)), st.floats(0.0, DAY_S)), max_size=12))
def test_it_goes_on_by_the_time_that_passes(moves: list[tuple[float, float]]) -> None:
    machine = Machine()
    clock, passed_s = machine.clock(), 0.0
    for step_s, waits_s in moves:
        machine.wall.forward_s(step_s)
        machine.passes_s(waits_s)
        passed_s += waits_s
        assert abs(clock() - START_NS - passed_s * S) < 100 * len(moves)


@pytest.mark.parametrize("window", ["fixed", "sliding"])
@pytest.mark.parametrize("step_s", STEPS_S)
def test_a_step_ends_no_period(step_s: float, window: str) -> None:
    machine = Machine()
    ledger = opened(machine.clock(), budget(per="1h", window=window, on_exhausted="refuse"))
    assert reserve(ledger, {"a": 1.0}) == [-1]
    machine.wall.forward_s(step_s)
    with structlog.testing.capture_logs() as logs:
        assert reserve(ledger, {"b": 0.1}) == [0]
        machine.passes_s(HOUR_S - 60)
        assert reserve(ledger, {"c": 0.1}) == [0]
    (line,) = logs
    assert line["ahead_s"] == step_s
    # Periods keep their length: what is spent is free again when an hour has passed.
    machine.passes_s(2 * 60 if window == "fixed" else HOUR_S)
    assert reserve(ledger, {"d": 1.0}) == [-1]
    ledger.close()


@pytest.mark.parametrize("step_s", STEPS_S)
def test_a_restart_with_another_clock_grants_nothing_twice(tmp_path: Path, step_s: float) -> None:
    machine = Machine()
    one = budget(per="1h", on_exhausted="refuse")
    for turn in range(3):
        ledger = opened(machine.clock(), one, journal=tmp_path / "journal")
        assert reserve(ledger, {str(turn): 1.0}) == [-1 if turn == 0 else 0]
        ledger.close()
        machine.wall.forward_s(step_s)
        machine.passes_s(60.0)
    machine.passes_s(HOUR_S)
    ledger = opened(machine.clock(), one, journal=tmp_path / "journal")
    assert reserve(ledger, {"later": 1.0}) == [-1]
    ledger.close()


def test_a_machine_that_has_started_again_is_believed_but_never_goes_back(tmp_path: Path) -> None:
    one = budget(per="1h", on_exhausted="refuse")

    def tried(machine: Machine, name: str) -> list[int]:
        ledger = opened(machine.clock(), one, journal=tmp_path / "journal")
        found = reserve(ledger, {name: 1.0})
        ledger.close()
        return found

    assert tried(Machine(), "a") == [-1]
    back = Machine("second", START_NS - round(9 * HOUR_S * S), 5.0)
    assert tried(back, "b") == [0]
    back.passes_s(HOUR_S)
    assert tried(back, "c") == [-1]
    assert tried(Machine("third", START_NS + round(DAY_S * S), 5.0), "d") == [-1]


def test_a_start_without_an_id_is_no_start_that_is_known() -> None:
    clock = Machine("").clock()
    clock.go_on_from(MachineStart("", 2 * START_NS), 0)
    assert clock() == START_NS


def test_the_real_ones_move() -> None:
    clock = SteadyClock()
    first = clock()
    assert 0 <= clock() - first < 60 * S
    assert kernels_boot_id() == clock.start.boot_id
