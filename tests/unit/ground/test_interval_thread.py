"""The thread that works at an interval: its steps, its waits, its errors and its end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog
from structlog.testing import capture_logs

from routoo.interval_thread import IntervalThread

if TYPE_CHECKING:
    from collections.abc import Callable

HANG_S = 60.0


def thread(
    step: Callable[[], object], wait_s: Callable[[], float | None] = lambda: None
) -> IntervalThread:
    return IntervalThread("routoo-test", step, wait_s, structlog.get_logger(), "it failed")


def test_steps_are_taken_at_the_interval() -> None:
    steps = threading.Semaphore(0)
    worker = thread(steps.release, lambda: 0.001)
    worker.start()
    assert all(steps.acquire(timeout=HANG_S) for _ in range(3))
    worker.close()


def test_the_wait_is_asked_anew_before_each_step() -> None:
    steps = threading.Semaphore(0)
    waits_s = iter((0.001, 0.001, None))
    asked_for_the_last = threading.Event()

    def wait_s() -> float | None:
        found = next(waits_s)
        if found is None:
            asked_for_the_last.set()
        return found

    worker = thread(steps.release, wait_s)
    worker.start()
    assert asked_for_the_last.wait(HANG_S)
    worker.close()
    assert [steps.acquire(blocking=False) for _ in range(3)] == [True, True, False]


def test_who_wakes_it_during_a_step_has_another_one_taken() -> None:
    begun, may_end = threading.Semaphore(0), threading.Semaphore(0)

    def step() -> None:
        begun.release()
        assert may_end.acquire(timeout=HANG_S)

    worker = thread(step)
    worker.start()
    worker.wake()
    assert begun.acquire(timeout=HANG_S)
    worker.wake()
    may_end.release(2)
    assert begun.acquire(timeout=HANG_S)
    worker.close()


def test_close_waits_for_the_step_under_way_and_takes_no_other() -> None:
    begun, closing = threading.Event(), threading.Event()
    ended: list[bool] = []

    def step() -> None:
        begun.set()
        assert closing.wait(HANG_S)
        ended.append(True)

    worker = thread(step)
    worker.start()
    worker.wake()
    assert begun.wait(HANG_S)
    closer = threading.Thread(target=worker.close)
    closer.start()
    assert closer.is_alive()
    closing.set()
    closer.join(HANG_S)
    assert not closer.is_alive()
    assert ended == [True]


def test_one_that_was_never_started_closes() -> None:
    steps: list[bool] = []
    worker = thread(lambda: steps.append(True))
    worker.wake()
    worker.close()
    assert steps == []


def test_it_outlives_an_error_which_is_said_in_the_log() -> None:
    steps = threading.Semaphore(0)

    def step() -> None:
        steps.release()
        raise OSError("no disk")

    worker = thread(step, lambda: 0.001)
    with capture_logs() as logs:
        worker.step()
        worker.start()
        assert all(steps.acquire(timeout=HANG_S) for _ in range(3))
        worker.close()
    assert len(logs) >= 3
    assert {one["event"] for one in logs} == {"it failed"}
