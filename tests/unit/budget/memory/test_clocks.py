"""Setting the clock of the machine gives no money, and time goes on evenly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from routoo.budget.memory.ledger import SteadyClock
from support.budgets import FakeClock, S, budget, opened, reserve

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("window", ["fixed", "sliding"])
def test_a_clock_that_is_set_begins_no_period(window: str) -> None:
    wall, boot = FakeClock(), FakeClock(0)
    ledger = opened(SteadyClock(wall, boot), budget(usd=1.0, per="1h", window=window))  # type: ignore[arg-type]
    assert reserve(ledger, {"a": 1.0}) == [-1]
    with capture_logs() as logs:
        for step_s in (3600, 86_400 * 30, -86_400 * 60):
            wall.forward_s(step_s)
            assert reserve(ledger, {"b": 0.01}) == [0]
            assert reserve(ledger, {"c": 0.01}) == [0]
    assert [entry["step_s"] for entry in logs] == [
        3600.0,
        3600.0 + 86_400 * 30,
        3600.0 - 86_400 * 30,
    ]
    assert "the clock was set" in logs[0]["event"]
    boot.forward_s(3660)
    assert reserve(ledger, {"d": 1.0}) == [-1]


def test_a_restart_after_the_clock_went_back_begins_no_period(tmp_path: Path) -> None:
    wall, boot = FakeClock(), FakeClock(0)
    for step_s, refused in ((0, -1), (-7200, 0), (30, 0)):
        wall.forward_s(step_s)
        ledger = opened(SteadyClock(wall, boot), budget(per="1h"), journal=tmp_path / "journal")  # type: ignore[arg-type]
        assert reserve(ledger, {f"a{step_s}": 0.75}) == [refused]
        ledger.close()


@given(
    st.lists(st.tuples(st.integers(0, 3600 * S), st.integers(-(10**6) * S, 10**6 * S)), max_size=20)
)
def test_it_follows_the_steady_clock_alone(steps: list[tuple[int, int]]) -> None:
    wall, boot = FakeClock(), FakeClock(17)
    clock = SteadyClock(wall, boot)
    began = clock()
    assert began == wall.now_ns
    for passed, step in steps:
        boot.now_ns += passed
        wall.now_ns += passed + step
        assert clock() - began == boot.now_ns - 17
