"""The circuit breaker: it opens, is probed, and closes again."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.predictor.breaker import Breaker, BreakerTerms, State

TERMS = BreakerTerms(failures=3, first_probe_s=1.0, longest_probe_s=8.0, jitter=0.25)


class Clock:
    """A clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(TERMS, clock, Random(0))  # noqa: S311


def wait_for_probe(breaker: Breaker, clock: Clock) -> float:
    """Moves the clock to the next probe, begins it, and returns the time until then."""
    due_s = breaker.probe_in_s()
    assert due_s is not None
    clock.now_s += due_s
    assert breaker.begin_probe()
    return due_s


def test_it_opens_after_so_many_failures_in_a_row(breaker: Breaker) -> None:
    for _ in range(2):
        breaker.failed()
    breaker.succeeded()
    for _ in range(2):
        breaker.failed()
    assert breaker.allows
    assert breaker.probe_in_s() is None
    breaker.failed()
    assert breaker.state is State.OPEN
    assert not breaker.allows


def test_a_failure_that_costs_too_much_opens_it_at_once(breaker: Breaker) -> None:
    breaker.failed(at_once=True)
    assert breaker.state is State.OPEN


def test_a_probe_is_begun_once_and_not_before_it_is_due(breaker: Breaker, clock: Clock) -> None:
    breaker.failed(at_once=True)
    due_s = breaker.probe_in_s()
    assert due_s is not None
    assert 0.75 <= due_s <= 1.25
    clock.now_s += 0.99 * due_s
    assert not breaker.begin_probe()
    clock.now_s += 0.02 * due_s
    assert breaker.begin_probe()
    assert breaker.state is State.HALF_OPEN
    assert not breaker.allows
    assert not breaker.begin_probe()


def test_a_good_probe_closes_it(breaker: Breaker, clock: Clock) -> None:
    breaker.failed(at_once=True)
    wait_for_probe(breaker, clock)
    breaker.succeeded()
    assert breaker.allows


def test_bad_probes_come_ever_more_seldom_up_to_a_limit(breaker: Breaker, clock: Clock) -> None:
    breaker.failed(at_once=True)
    for expected_s in (1.0, 2.0, 4.0, 8.0, 8.0):
        waited_s = wait_for_probe(breaker, clock)
        assert 0.75 * expected_s <= waited_s <= 1.25 * expected_s
        breaker.failed()
        assert breaker.state is State.OPEN


def test_a_circuit_that_opens_again_soon_goes_on_where_it_was(
    breaker: Breaker, clock: Clock
) -> None:
    breaker.failed(at_once=True)
    for _ in range(3):
        wait_for_probe(breaker, clock)
        breaker.failed()
    wait_for_probe(breaker, clock)
    breaker.succeeded()
    clock.now_s += 1.0
    breaker.failed(at_once=True)
    assert wait_for_probe(breaker, clock) >= 0.75 * 8.0
    breaker.succeeded()
    clock.now_s += TERMS.longest_probe_s
    breaker.failed(at_once=True)
    assert wait_for_probe(breaker, clock) <= 1.25


def test_an_answer_from_before_it_opened_does_not_close_it(breaker: Breaker) -> None:
    breaker.failed(at_once=True)
    breaker.succeeded()
    assert breaker.state is State.OPEN


def test_replicas_do_not_probe_together() -> None:
    clock = Clock()
    breakers = [Breaker(TERMS, clock, Random(seed)) for seed in range(20)]  # noqa: S311
    for breaker in breakers:
        breaker.failed(at_once=True)
    assert len({breaker.probe_in_s() for breaker in breakers}) == 20


@given(st.lists(st.sampled_from(["ok", "bad", "slow", "wait", "probe"]), max_size=60))
def test_whatever_happens_it_is_probed_or_asked(events: list[str]) -> None:
    """An open circuit always has a next probe, and only a closed one lets requests through."""
    clock = Clock()
    breaker = Breaker(TERMS, clock, Random(1))  # noqa: S311
    for event in events:
        if event == "ok":
            breaker.succeeded()
        elif event in {"bad", "slow"}:
            breaker.failed(at_once=event == "slow")
        elif event == "wait":
            clock.now_s += 3.0
        else:
            breaker.begin_probe()
        assert breaker.allows == (breaker.state is State.CLOSED)
        due_s = breaker.probe_in_s()
        assert (due_s is None) == (breaker.state is not State.OPEN)
        assert due_s is None or 0.0 <= due_s <= 1.25 * TERMS.longest_probe_s
