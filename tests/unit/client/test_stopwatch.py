"""The stopwatch of the client: the times of a stream, of an answer in one piece, of a time-out."""

from __future__ import annotations

from routoo.client import Stopwatch


class Clock:
    def __init__(self) -> None:
        self.now_s = 5.0

    def __call__(self) -> float:
        return self.now_s


def test_the_first_token_of_a_stream_counts() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    for later_s in (0.25, 0.5, 0.5):
        clock.now_s += later_s
        watch.token()
    assert watch.times() == {"latency_ms": 1250.0, "time_to_first_token_ms": 250.0}


def test_an_answer_in_one_piece_has_one_time() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    clock.now_s += 2.0
    assert watch.times() == {"latency_ms": 2000.0}


def test_a_time_out_says_how_long_was_waited() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    clock.now_s += 30.0
    told = watch.timed_out()
    assert told == {"latency_ms": 30_000.0, "failure": "timeout"}
