"""The one thread of the predictor tells when it has nothing to do."""

from __future__ import annotations

from threading import Event

from routoo.engine.batcher import OneThread

LONG_S = 60.0


def test_a_thread_is_idle_once_all_its_work_has_ended() -> None:
    held = Event()
    with OneThread("test") as thread:
        assert not thread.unfinished
        running = thread.submit(held.wait, LONG_S)
        waiting = thread.submit(int, "7")
        assert thread.unfinished == {running, waiting}
        held.set()
        assert waiting.result(LONG_S) == 7
        assert running.result(LONG_S)
        thread.submit(int).result(LONG_S)  # the callbacks of the others have run
    assert not thread.unfinished


def test_work_that_was_taken_back_keeps_no_thread_busy() -> None:
    held = Event()
    with OneThread("test") as thread:
        running = thread.submit(held.wait, LONG_S)
        assert thread.submit(int).cancel()
        held.set()
        assert running.result(LONG_S)
    assert not thread.unfinished


def test_failed_work_keeps_no_thread_busy() -> None:
    with OneThread("test") as thread:
        assert isinstance(thread.submit(int, "no").exception(LONG_S), ValueError)
    assert not thread.unfinished
