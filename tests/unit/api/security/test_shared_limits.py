"""Tests of the limits per client that several workers keep together."""

from __future__ import annotations

import tempfile
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.api.security import client_limits, count_tables, shared_counts
from routoo.api.security.client_limits import Client, ClientLimits
from routoo.api.security.count_tables import end_calls
from routoo.api.security.shared_counts import SharedCounts
from routoo.config.sections.security import ClientLimitSettings
from routoo.errors import RateLimitedError


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Workers:
    """The limits of some workers that share one file."""

    def __init__(self, folder: Path, number: int, **settings: Any) -> None:
        self.path, self.number = folder / "counts", number
        self.settings = ClientLimitSettings(**settings)
        self.clock = Clock()
        self.each = [self.started(index) for index in range(number)]

    def started(self, index: int) -> ClientLimits:
        shared = SharedCounts(self.path, index, self.number)
        return ClientLimits(self.settings, self.clock, shared)

    def restart(self, index: int) -> None:
        """Ends a worker as the supervisor sees it, and starts it again."""
        end_calls(self.path, index, self.number)
        self.each[index] = self.started(index)


def let_in(limits: ClientLimits, name: str = "a") -> bool:
    try:
        limits.enter(name)
    except RateLimitedError:
        return False
    return True


def entered(limits: ClientLimits) -> tuple[Client | None, float | None]:
    """Enters a call; returns the client, or the seconds for which it is refused."""
    try:
        return limits.enter("a"), None
    except RateLimitedError as refused:
        return None, refused.retry_after_s


def test_one_worker_alone_has_the_whole_limit(tmp_path: Path) -> None:
    workers = Workers(tmp_path, 3, prompts_per_s=2.0, burst_prompts=5, max_concurrent=5)
    assert [let_in(workers.each[1]) for _ in range(7)] == [True] * 5 + [False] * 2


def test_all_workers_together_have_the_limit_once(tmp_path: Path) -> None:
    workers = Workers(tmp_path, 3, prompts_per_s=2.0, burst_prompts=5)
    order = [0, 1, 2, 2, 1, 0, 1]
    assert [let_in(workers.each[at]) for at in order] == [True] * 5 + [False] * 2
    workers.clock.now_s += 0.5
    assert [let_in(workers.each[at]) for at in (2, 0, 1)] == [True, False, False]
    assert let_in(workers.each[0], "b")


def test_calls_in_progress_count_over_all_workers(tmp_path: Path) -> None:
    workers = Workers(tmp_path, 2, max_concurrent=3)
    first, second = workers.each
    held = [first.enter("a"), first.enter("a"), second.enter("a")]
    with pytest.raises(RateLimitedError, match="3 calls of yours are in progress"):
        second.enter("a")
    first.leave(held[0])
    second.enter("a")


def test_a_restart_keeps_what_was_taken_and_ends_the_calls(tmp_path: Path) -> None:
    workers = Workers(tmp_path, 2, prompts_per_s=1.0, burst_prompts=4, max_concurrent=2)
    assert [let_in(workers.each[0]) for _ in range(3)] == [True, True, False]
    assert not let_in(workers.each[1])
    workers.restart(0)
    # Two more prompts are left of four, and both calls have ended with the worker.
    assert [let_in(workers.each[at]) for at in (1, 0)] == [True, True]
    workers.restart(0)
    workers.restart(1)
    assert not let_in(workers.each[0])
    assert not let_in(workers.each[1])


@given(rates=st.lists(st.floats(0.1, 100), min_size=2, max_size=5), taken=st.integers(0, 12))
def test_other_limits_leave_what_was_taken(rates: list[float], taken: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        workers = Workers(Path(folder), 2, prompts_per_s=rates[0], burst_prompts=10)
        got = sum(let_in(workers.each[at % 2]) for at in range(taken))
        assert got == min(taken, 10)
        for rate in rates[1:]:
            renewed = ClientLimitSettings(prompts_per_s=rate, burst_prompts=10)
            for one in workers.each:
                one.renew(renewed)
        assert sum(let_in(workers.each[at % 2]) for at in range(20)) == 10 - got


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 2), st.integers(0, 2), st.integers(0, 5), st.booleans()),
        min_size=1,
        max_size=60,
    ),
    rate=st.floats(0.1, 50),
    burst=st.integers(1, 20),
)
def test_over_any_time_the_workers_keep_one_bucket(
    steps: list[tuple[float, int, int, bool]], rate: float, burst: int
) -> None:
    """Whichever worker is called, and whichever restarts, it is as if there were one."""
    with tempfile.TemporaryDirectory() as folder:
        workers = Workers(Path(folder), 3, prompts_per_s=rate, burst_prompts=burst)
        alone = ClientLimits(workers.settings, workers.clock)
        for wait_s, at, more, restarts in steps:
            workers.clock.now_s += wait_s
            if restarts:
                workers.restart(at)
            own, refused_s = entered(alone)
            client, also_refused_s = entered(workers.each[at])
            assert also_refused_s == pytest.approx(refused_s, abs=1e-6)
            if own is not None and client is not None:
                alone.add(own, more)
                workers.each[at].add(client, more)


def test_a_client_that_is_forgotten_gives_its_place_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (count_tables, shared_counts):
        monkeypatch.setattr(module, "PLACES", 4)
    monkeypatch.setattr(client_limits, "_MOST_IDLE", 4)
    workers = Workers(tmp_path, 2, max_concurrent=1)
    first, second = workers.each
    first.enter("busy")
    for name in "bcdefgh":
        first.leave(first.enter(name))
    assert not let_in(second, "busy")
    # Clients beyond the places are counted by their own worker.
    assert [let_in(first, name) for name in "ijklm"] == [True] * 5
    assert not let_in(first, "m")


def _hammer(path: Path, index: int, number: int, seconds: float, settings: Any, told: Any) -> None:
    limits = ClientLimits(settings, shared=SharedCounts(path, index, number))
    got, most, is_spent = 0, 0, False
    until_s = monotonic() + seconds
    # However late it comes to it, it goes on until the prompts at once are spent.
    while not is_spent or monotonic() < until_s:
        try:
            client = limits.enter("a")
        except RateLimitedError as refused:
            is_spent |= refused.retry_after_s is not None
            continue
        got += 1
        most = max(most, limits._running(client))
        limits.leave(client)
    told.put((got, most))


def test_processes_that_hammer_get_no_more_than_one_would(tmp_path: Path) -> None:
    number, seconds, rate, burst = 3, 0.6, 500.0, 100
    settings = ClientLimitSettings(prompts_per_s=rate, burst_prompts=burst, max_concurrent=2)
    context = get_context("spawn")
    told = context.Queue()
    began_s = monotonic()
    each = [
        context.Process(
            target=_hammer, args=(tmp_path / "counts", index, number, seconds, settings, told)
        )
        for index in range(number)
    ]
    for one in each:
        one.start()
    found = [told.get() for _ in each]
    for one in each:
        one.join()
    lasted_s = monotonic() - began_s
    got = sum(one for one, _ in found)
    assert burst <= got <= burst + rate * lasted_s + number - 1
    # A call that is about to be refused is counted for a moment, one per worker.
    assert max(most for _, most in found) <= 2 + number - 1
