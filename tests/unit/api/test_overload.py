"""Tests of the admission under overload, on a clock that the test moves."""

from __future__ import annotations

from collections import deque
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.api.overload import Overload
from routoo.config.sections.operations import OverloadSettings
from routoo.errors import QueueFullError


class House:
    """A server that answers calls one after the other, in the order of their arrival.

    Args:
        service_s: the time for one call, in seconds.
        max_wait_ms: the longest expected wait.
        batch: the number of calls that are served at once.
    """

    def __init__(self, service_s: float, max_wait_ms: float = 500.0, batch: int = 64) -> None:
        self.now_s = 0.0
        self.service_s = service_s
        self.overload = Overload(
            OverloadSettings(max_wait_ms=max_wait_ms), batch, lambda: self.now_s
        )
        self.inside: deque[tuple[float, float]] = deque()
        self.free_s = 0.0
        self.waits_s: list[float] = []
        self.refused: list[QueueFullError] = []

    def until(self, time_s: float) -> None:
        """Moves the clock, and answers the calls that are done by then."""
        while self.inside and self.inside[0][1] <= time_s:
            entered_s, self.now_s = self.inside.popleft()
            self.overload.leave(entered_s)
            self.waits_s.append(self.now_s - entered_s)
        self.now_s = time_s

    def call(self, time_s: float, remaining_s: float | None = None) -> bool:
        """Makes a call, and returns whether it was let in."""
        self.until(time_s)
        try:
            self.overload.check(remaining_s)
            entered_s = self.overload.enter(remaining_s)
        except QueueFullError as error:
            self.refused.append(error)
            return False
        self.free_s = max(self.free_s, time_s) + self.service_s
        self.inside.append((entered_s, self.free_s))
        return True

    def steady(
        self, rate: float, begin_s: float, end_s: float, remaining_s: float | None = None
    ) -> int:
        """Makes calls at ``rate`` per second, and returns how many were let in."""
        calls = round(rate * (end_s - begin_s))
        times_s = (begin_s + (end_s - begin_s) * one / calls for one in range(calls))
        return sum(self.call(time_s, remaining_s) for time_s in times_s)


def test_nothing_is_refused_below_capacity() -> None:
    house = House(0.001)
    assert house.steady(800, 0.0, 5.0) == 4000
    assert not house.overload.overloaded


@pytest.mark.parametrize("factor", [2.0, 4.0, 10.0])
def test_overload_keeps_waits_short_and_the_server_at_work(factor: float) -> None:
    house = House(0.001)
    house.steady(300, 0.0, 2.0)
    house.waits_s.clear()
    answered = house.steady(1000 * factor, 2.0, 7.0, remaining_s=0.2)
    assert answered >= 0.9 * 5000
    waits_s = sorted(house.waits_s)
    assert waits_s[len(waits_s) // 2] <= 0.01
    # Late calls came before the overload was detected: at most those of a tenth of a second.
    late = sum(wait_s > 0.02 for wait_s in waits_s)
    assert late <= 0.1 * 1000 * factor
    assert waits_s[-1] <= 0.11 * factor or waits_s[-1] <= 0.51
    assert all(error.retry_after_s and error.retry_after_s >= 0.01 for error in house.refused)


def test_a_slow_service_sees_its_overload_too() -> None:
    house = House(0.01)
    house.steady(30, 0.0, 4.0)
    house.waits_s.clear()
    assert house.steady(400, 4.0, 14.0, remaining_s=1.0) >= 900
    late = sum(wait_s > 0.1 for wait_s in house.waits_s)
    assert late <= 60


def test_all_is_as_before_when_the_overload_is_over() -> None:
    house = House(0.001)
    house.steady(300, 0.0, 2.0)
    house.steady(4000, 2.0, 4.0, remaining_s=0.2)
    assert house.overload.overloaded
    house.refused.clear()
    house.steady(500, 4.2, 6.0)
    assert not house.refused
    assert not house.overload.overloaded


@pytest.mark.parametrize("callers", [16, 64, 200])
def test_callers_that_wait_for_answers_are_no_overload(callers: int) -> None:
    house = House(0.0004)
    house.steady(500, 0.0, 1.0)
    for caller in range(callers):
        assert house.call(1.0 + 1e-6 * caller)
    for _ in range(10_000):
        entered = house.inside[0][1]
        assert house.call(entered), "the one that was answered calls again"
    assert not house.overload.overloaded


@pytest.mark.parametrize("remaining_s", [None, 10.0])
def test_a_patient_caller_may_send_hundreds_at_once(remaining_s: float | None) -> None:
    house = House(0.0007)
    house.steady(300, 0.0, 2.0)
    assert house.steady(6000, 2.0, 2.1, remaining_s=remaining_s) == 600
    # A call with a near deadline is refused at once.
    assert not house.call(2.1, remaining_s=0.2)


def test_a_call_whose_deadline_would_pass_is_refused_at_once() -> None:
    house = House(0.01)
    house.steady(50, 0.0, 2.0)
    for _ in range(20):
        assert house.call(2.0)
    assert not house.call(2.0, remaining_s=0.1)
    assert "deadline" in str(house.refused[-1])
    assert house.call(2.0, remaining_s=10.0)


def test_nobody_waits_longer_than_the_bound() -> None:
    house = House(0.01, max_wait_ms=200.0, batch=8)
    house.steady(50, 0.0, 2.0)
    assert sum(house.call(2.0) for _ in range(100)) <= 22


def test_a_machine_that_stands_still_for_a_moment_is_no_overload() -> None:
    house = House(0.001)
    house.steady(300, 0.0, 2.0)
    for stall in range(5):
        begin_s = 3.0 + stall
        house.free_s = begin_s + 0.7
        for caller in range(16):
            assert house.call(begin_s + 1e-3 * caller)
        for _ in range(100):
            assert house.call(house.inside[0][1]), "the one that was answered calls again"
        house.until(begin_s + 1.0)
    assert not house.overload.overloaded


def test_a_slow_server_that_answers_many_at_once_is_not_starved() -> None:
    """The bound follows the latency without load, not a fixed number."""
    house = House(0.1)
    house.steady(2, 0.0, 10.0)
    assert house.steady(40, 10.0, 20.0, remaining_s=2.0) >= 80


@given(st.lists(st.tuples(st.floats(0, 0.02), st.booleans()), max_size=300))
def test_whatever_comes_the_count_is_right_and_retries_are_bounded(
    steps: list[tuple[float, bool]],
) -> None:
    now_s = 0.0
    overload = Overload(OverloadSettings(max_wait_ms=50.0), 64, lambda: now_s)
    inside: list[float] = []
    for pause_s, comes in steps:
        now_s += pause_s
        if comes:
            with suppress(QueueFullError):
                overload.check()
                inside.append(overload.enter())
            assert 0.01 <= overload.retry_after_s <= 5.0
        elif inside:
            overload.leave(inside.pop(0))
        assert overload.in_flight == len(inside)
