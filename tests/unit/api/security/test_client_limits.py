"""Tests of the limits per client, on a clock that the test moves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.api.security import client_limits
from routoo.api.security.client_limits import ClientLimits
from routoo.api.status import trailers_of
from routoo.config.sections.security import ClientLimitSettings
from routoo.errors import RateLimitedError


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def limits(**settings: Any) -> tuple[ClientLimits, Clock]:
    clock = Clock()
    return ClientLimits(ClientLimitSettings(**settings), clock), clock


def test_no_more_calls_at_once_than_allowed_and_each_client_for_itself() -> None:
    gate, _ = limits(max_concurrent=2)
    first, _ = gate.enter("a"), gate.enter("a")
    with pytest.raises(RateLimitedError, match="2 calls of yours are in progress") as caught:
        gate.enter("a")
    assert caught.value.retry_after_s is None
    assert trailers_of(caught.value) == ()
    gate.enter("b")
    gate.leave(first)
    gate.enter("a")


def test_a_burst_and_then_the_rate() -> None:
    gate, clock = limits(prompts_per_s=4.0, burst_prompts=3)
    for _ in range(3):
        gate.enter("a")
    with pytest.raises(RateLimitedError) as caught:
        gate.enter("a")
    assert caught.value.retry_after_s == pytest.approx(0.25)
    assert trailers_of(caught.value) == (("grpc-retry-pushback-ms", "250"),)
    gate.enter("b")
    clock.now_s += 0.25
    gate.enter("a")


def test_who_waits_as_long_as_it_is_told_is_let_in() -> None:
    gate, clock = limits(prompts_per_s=3.0, burst_prompts=1)
    client = gate.enter("a")
    gate.add(client, 6)
    with pytest.raises(RateLimitedError) as caught:
        gate.enter("a")
    told_ms = int(trailers_of(caught.value)[0][1])
    assert told_ms == 2334  # seven prompts at three per second, rounded up
    clock.now_s += told_ms / 1000
    gate.enter("a")


def test_a_refused_call_costs_nothing() -> None:
    gate, clock = limits(prompts_per_s=1.0, burst_prompts=1)
    gate.enter("a")
    for _ in range(100):
        with pytest.raises(RateLimitedError):
            gate.enter("a")
    clock.now_s += 1.0
    gate.enter("a")


@given(
    steps=st.lists(st.tuples(st.floats(0, 2), st.integers(0, 5)), min_size=1, max_size=60),
    rate=st.floats(0.1, 50),
    burst=st.integers(1, 20),
)
def test_over_any_time_no_more_than_the_burst_and_the_rate(
    steps: list[tuple[float, int]], rate: float, burst: int
) -> None:
    """A batch may overdraw the bucket by its own size, and other calls may not overdraw it."""
    gate, clock = limits(prompts_per_s=rate, burst_prompts=burst)
    start_s, counted, largest = clock.now_s, 0, 0
    for wait_s, more in steps:
        clock.now_s += wait_s
        try:
            client = gate.enter("a")
        except RateLimitedError:
            continue
        gate.add(client, more)
        counted += 1 + more
        largest = max(largest, more)
        assert counted <= burst + rate * (clock.now_s - start_s) + largest + 1e-6


def test_idle_clients_are_forgotten_and_busy_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_limits, "_MOST_IDLE", 3)
    gate, _ = limits(max_concurrent=1)
    gate.enter("busy")
    for name in "abcdefgh":
        gate.leave(gate.enter(name))
    assert len(gate._clients) <= 4
    with pytest.raises(RateLimitedError):
        gate.enter("busy")
