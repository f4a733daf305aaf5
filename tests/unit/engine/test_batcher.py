"""Every accepted request is settled, whatever happens to its batch."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from threading import Event
from time import monotonic, monotonic_ns
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.engine.batcher import QUIET_TURNS, Batcher
from routoo.errors import (
    DeadlineError,
    DrainingError,
    NoEligibleModelError,
    PredictorError,
    QueueFullError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LONG_S = 60.0


class ManualExecutor(Executor):
    """Runs a job when the test says so, in the test's own thread."""

    def __init__(self) -> None:
        self.jobs: deque[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = deque()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.jobs.append((future, fn, args))
        return future

    def run(self) -> None:
        """Runs the oldest job."""
        future, call, arguments = self.jobs.popleft()
        try:
            future.set_result(call(*arguments))
        except BaseException as error:  # noqa: BLE001 - as an executor's thread does
            future.set_exception(error)


class Worker:
    """Doubles numbers, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.accepted_ns: list[int] = []
        self.answer: Callable[[list[int]], Any] = lambda batch: [2 * one for one in batch]

    def __call__(self, batch: Sequence[int], accepted_ns: Sequence[int]) -> Any:
        self.batches.append(list(batch))
        self.accepted_ns.extend(accepted_ns)
        return self.answer(list(batch))


class Bench:
    """A batcher whose worker runs when the test says so."""

    def __init__(self, *, max_batch: int = 8, max_queue: int = 100, here: bool = False) -> None:
        self.here = here
        self.worker = Worker()
        self.executor = ManualExecutor()
        self.dropped: list[str] = []
        self.batcher: Batcher[int, int] = Batcher(
            self.worker,
            self.executor,
            max_batch=max_batch,
            max_queue=max_queue,
            may_work_here=lambda: self.here,
            on_dropped=self.dropped.append,
        )

    async def busy_with(self, *requests: int) -> list[asyncio.Future[int]]:
        """Submits requests, and lets the batch reach the executor without running it."""
        waiters = [self.batcher.submit(request) for request in requests]
        await turn()
        assert len(self.executor.jobs) == 1
        return waiters

    async def run_all(self) -> None:
        """Runs jobs until none is left."""
        await turn()
        while self.executor.jobs:
            self.executor.run()
            await turn()

    async def answered(self, request: int) -> int | BaseException:
        """Submits a request, lets the executor answer it, and returns what came of it."""
        waiter = self.batcher.submit(request, brief=True)
        await self.run_all()
        return await outcome(waiter)


async def turn() -> None:
    """Lets the event loop run its pending callbacks, and turn until a batch starts."""
    for _ in range(QUIET_TURNS + 4):
        await asyncio.sleep(0)


async def outcome(waiter: asyncio.Future[int]) -> int | BaseException:
    async with asyncio.timeout(LONG_S):
        return (await asyncio.gather(waiter, return_exceptions=True))[0]


async def test_requests_of_one_turn_share_a_batch() -> None:
    bench = Bench()
    waiters = [bench.batcher.submit(one) for one in (1, 2, 3)]
    await bench.run_all()
    assert [await outcome(one) for one in waiters] == [2, 4, 6]
    assert bench.worker.batches == [[1, 2, 3]]


async def test_a_lone_request_does_not_wait_for_company() -> None:
    bench = Bench()
    waiter = bench.batcher.submit(1)
    await turn()
    assert len(bench.executor.jobs) == 1
    await bench.run_all()
    assert await outcome(waiter) == 2


async def test_what_arrives_while_the_worker_is_busy_is_the_next_batch() -> None:
    bench = Bench()
    first = await bench.busy_with(1)
    later = [bench.batcher.submit(2)]
    await turn()
    later.append(bench.batcher.submit(3))
    await turn()
    assert bench.batcher.depth == 2
    assert len(bench.executor.jobs) == 1, "the worker takes one batch at a time"
    await bench.run_all()
    assert bench.worker.batches == [[1], [2, 3]]
    assert [await outcome(one) for one in (*first, *later)] == [2, 4, 6]


async def test_what_a_reply_sets_off_at_once_joins_the_next_batch() -> None:
    bench = Bench()
    (first,) = await bench.busy_with(1)
    later = [bench.batcher.submit(2)]
    first.add_done_callback(lambda _: later.append(bench.batcher.submit(3)))
    bench.executor.run()
    await bench.run_all()
    assert [await outcome(one) for one in later] == [4, 6]
    assert bench.worker.batches == [[1], [2, 3]]


async def test_a_stream_of_arrivals_does_not_hold_a_full_batch_back() -> None:
    bench = Bench(max_batch=4)
    waiters = []
    while not bench.executor.jobs:
        waiters.append(bench.batcher.submit(len(waiters)))
        await asyncio.sleep(0)
    assert len(waiters) <= 5
    await bench.run_all()
    assert [await outcome(one) for one in waiters] == [2 * one for one in range(len(waiters))]


@given(
    arrivals=st.lists(st.lists(st.integers(), max_size=9), max_size=8),
    max_batch=st.integers(1, 7),
)
async def test_any_split_into_batches_keeps_the_order_and_the_owner(
    arrivals: list[list[int]], max_batch: int
) -> None:
    bench = Bench(max_batch=max_batch)
    waiters: list[tuple[int, asyncio.Future[int]]] = []
    for group in arrivals:
        waiters += [(request, bench.batcher.submit(request)) for request in group]
        await turn()
    await bench.run_all()
    for request, waiter in waiters:
        assert await outcome(waiter) == 2 * request
    assert [one for batch in bench.worker.batches for one in batch] == [one for one, _ in waiters]
    assert all(1 <= len(batch) <= max_batch for batch in bench.worker.batches)
    assert bench.worker.accepted_ns == sorted(bench.worker.accepted_ns)
    assert all(accepted <= monotonic_ns() for accepted in bench.worker.accepted_ns)


@pytest.mark.parametrize(
    "error",
    [PredictorError("broken"), ValueError("broken"), StopIteration("broken"), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_reaches_every_request_of_its_batch_and_no_other(
    error: BaseException,
) -> None:
    bench = Bench()

    def fail(_: list[int]) -> list[int]:
        raise error

    bench.worker.answer = fail
    failing = await bench.busy_with(1, 2)
    after = bench.batcher.submit(3)
    bench.executor.run()
    await turn()
    bench.worker.answer = lambda batch: batch
    await bench.run_all()
    for waiter in failing:
        failed = await outcome(waiter)
        assert isinstance(failed, BaseException)
        assert failed is error or failed.__cause__ is error
    assert await outcome(after) == 3


@pytest.mark.parametrize("results", [[], [1], [1, 2, 3]])
async def test_a_wrong_number_of_results_fails_the_batch(results: list[int]) -> None:
    bench = Bench()
    bench.worker.answer = lambda _: results
    waiters = await bench.busy_with(1, 2)
    await bench.run_all()
    for waiter in waiters:
        failed = await outcome(waiter)
        assert isinstance(failed, PredictorError)
        assert str(failed) == f"2 requests got {len(results)} results"


async def test_one_requests_own_error_leaves_its_batch_mates_alone() -> None:
    bench = Bench()
    error = NoEligibleModelError("none left")
    bench.worker.answer = lambda _: [10, error, 30]
    waiters = await bench.busy_with(1, 2, 3)
    await bench.run_all()
    assert [await outcome(one) for one in waiters] == [10, error, 30]


async def test_a_request_cancelled_in_the_queue_never_reaches_the_worker() -> None:
    bench = Bench()
    first = await bench.busy_with(1)
    gone, stays = bench.batcher.submit(2), bench.batcher.submit(3)
    gone.cancel()
    await bench.run_all()
    assert bench.worker.batches == [[1], [3]]
    assert bench.dropped == ["cancelled"]
    assert [await outcome(one) for one in (*first, stays)] == [2, 6]


async def test_a_request_cancelled_in_the_worker_hurts_nobody_else() -> None:
    bench = Bench()
    gone, stays = await bench.busy_with(1, 2)
    gone.cancel()
    await bench.run_all()
    assert bench.worker.batches == [[1, 2]]
    assert gone.cancelled()
    assert await outcome(stays) == 4


async def test_when_all_have_cancelled_the_worker_is_left_alone_and_serves_the_next() -> None:
    bench = Bench()
    first = await bench.busy_with(1)
    for request in (2, 3):
        bench.batcher.submit(request).cancel()
    await bench.run_all()
    after = bench.batcher.submit(4)
    await bench.run_all()
    assert bench.worker.batches == [[1], [4]]
    assert bench.dropped == ["cancelled", "cancelled"]
    assert [await outcome(one) for one in (*first, after)] == [2, 8]


async def test_a_request_past_its_deadline_never_reaches_the_worker() -> None:
    bench = Bench()
    first = await bench.busy_with(1)
    late = bench.batcher.submit(2, deadline_s=monotonic())
    in_time = bench.batcher.submit(3, deadline_s=monotonic() + LONG_S)
    await bench.run_all()
    assert bench.worker.batches == [[1], [3]]
    assert bench.dropped == ["expired"]
    assert isinstance(await outcome(late), DeadlineError)
    assert [await outcome(one) for one in (*first, in_time)] == [2, 6]


async def test_a_caller_who_gave_up_at_the_deadline_counts_as_expired() -> None:
    bench = Bench()
    await bench.busy_with(1)
    bench.batcher.submit(2, deadline_s=monotonic()).cancel()
    await bench.run_all()
    assert bench.dropped == ["expired"]


async def test_the_queue_is_bounded_and_what_runs_is_not_in_it() -> None:
    bench = Bench(max_queue=2)
    running = await bench.busy_with(1, 2)
    waiting = [bench.batcher.submit(3), bench.batcher.submit(4)]
    with pytest.raises(QueueFullError, match="2 requests wait already"):
        bench.batcher.submit(5)
    await bench.run_all()
    assert [await outcome(one) for one in (*running, *waiting)] == [2, 4, 6, 8]
    again = bench.batcher.submit(6)
    await bench.run_all()
    assert await outcome(again) == 12


async def test_close_answers_what_was_accepted_and_refuses_what_comes() -> None:
    bench = Bench()
    running = await bench.busy_with(1)
    waiting = bench.batcher.submit(2)
    closing = asyncio.create_task(bench.batcher.close(LONG_S))
    await turn()
    with pytest.raises(DrainingError):
        bench.batcher.submit(3)
    assert not closing.done()
    await bench.run_all()
    assert await closing
    assert [await outcome(one) for one in (*running, waiting)] == [2, 4]


async def test_close_of_an_idle_batcher_returns_at_once() -> None:
    assert await Bench().batcher.close(LONG_S)


async def test_close_fails_what_a_hung_worker_holds_and_its_late_answer_harms_nobody() -> None:
    bench = Bench()
    running = await bench.busy_with(1)
    waiting = bench.batcher.submit(2)
    assert not await bench.batcher.close(0.0)
    for waiter in (*running, waiting):
        assert isinstance(await outcome(waiter), DrainingError)
    await bench.run_all()
    assert bench.worker.batches == [[1]]


async def test_a_dead_executor_fails_requests_instead_of_leaving_them() -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    batcher: Batcher[int, int] = Batcher(Worker(), executor, max_batch=1, max_queue=8)
    for waiter in [batcher.submit(1), batcher.submit(2)]:
        assert isinstance(await outcome(waiter), DrainingError)
    await batcher.close(LONG_S)


async def test_a_batch_that_the_executor_drops_at_its_shutdown_is_failed() -> None:
    executor, gate = ThreadPoolExecutor(1), Event()
    try:
        executor.submit(gate.wait, LONG_S)
        batcher: Batcher[int, int] = Batcher(Worker(), executor, max_batch=8, max_queue=8)
        waiter = batcher.submit(1)
        await turn()
        executor.shutdown(wait=False, cancel_futures=True)
        assert isinstance(await outcome(waiter), DrainingError)
    finally:
        gate.set()


async def test_a_request_that_comes_alone_is_answered_without_a_change_of_threads() -> None:
    bench = Bench(here=True)
    assert await bench.answered(1) == 2
    alone = bench.batcher.submit(2, brief=True)
    await turn()
    assert alone.done()
    assert not bench.executor.jobs
    assert await alone == 4
    assert bench.worker.batches == [[1], [2]]
    assert len(bench.worker.accepted_ns) == 2


async def test_a_request_goes_to_the_thread_where_the_loop_may_not_work() -> None:
    bench = Bench(here=True)
    assert await bench.answered(1) == 2
    bench.here = False
    waiter = bench.batcher.submit(2, brief=True)
    await turn()
    assert not waiter.done()
    await bench.run_all()
    assert await outcome(waiter) == 4


async def test_a_long_request_goes_to_the_thread() -> None:
    bench = Bench(here=True)
    assert await bench.answered(1) == 2
    waiter = bench.batcher.submit(2)
    await turn()
    assert not waiter.done()
    await bench.run_all()


async def test_requests_after_a_batch_of_several_are_gathered() -> None:
    bench = Bench(here=True)
    await asyncio.gather(*(bench.batcher.submit(one) for one in (1, 2)), bench.run_all())
    waiters = [bench.batcher.submit(one, brief=True) for one in (3, 4)]
    await bench.run_all()
    assert [await outcome(one) for one in waiters] == [6, 8]
    assert bench.worker.batches == [[1, 2], [3, 4]]


async def test_requests_beside_a_running_batch_wait_for_it() -> None:
    bench = Bench(here=True)
    assert await bench.answered(1) == 2
    bench.here = False
    running = await bench.busy_with(2)
    bench.here = True
    waiter = bench.batcher.submit(3, brief=True)
    assert not waiter.done()
    await bench.run_all()
    assert [await outcome(one) for one in (*running, waiter)] == [4, 6]


async def test_requests_that_come_together_are_not_alone() -> None:
    bench = Bench(here=True)
    assert await bench.answered(1) == 2
    first = bench.batcher.submit(2, brief=True)
    await asyncio.sleep(0)
    second = bench.batcher.submit(3, brief=True)
    await turn()
    assert len(bench.executor.jobs) == 1
    await bench.run_all()
    assert [await outcome(one) for one in (first, second)] == [4, 6]
    assert bench.worker.batches == [[1], [2, 3]]


@pytest.mark.parametrize("error", [PredictorError("no"), KeyboardInterrupt(), StopIteration()])
async def test_an_error_on_the_loop_fails_its_request_alone(error: BaseException) -> None:
    bench = Bench(here=True)
    assert await bench.answered(1) == 2

    def fail(_batch: list[int]) -> list[int]:
        raise error

    bench.worker.answer = fail
    failed = await bench.answered(2)
    assert isinstance(failed, type(error) if error.args else BaseException)
    bench.worker.answer = lambda batch: [2 * one for one in batch]
    assert await bench.answered(3) == 6
    assert await bench.batcher.close(LONG_S)


async def test_a_lone_request_whose_deadline_has_passed_is_not_worked_on() -> None:
    bench = Bench(here=True)
    assert await bench.answered(1) == 2
    waiter = bench.batcher.submit(2, monotonic() - 1.0, brief=True)
    await bench.run_all()
    assert isinstance(await outcome(waiter), DeadlineError)
    assert bench.dropped == ["expired"]
    assert bench.worker.batches == [[1]]


async def test_a_wrong_number_of_results_on_the_loop_is_an_error() -> None:
    bench = Bench(here=True)
    assert await bench.answered(1) == 2
    bench.worker.answer = lambda _batch: []
    assert isinstance(await bench.answered(2), PredictorError)


async def test_of_many_that_wait_none_is_alone_though_each_is_a_batch_of_its_own() -> None:
    bench = Bench(here=True, max_batch=1, max_queue=3000)
    waiters = [bench.batcher.submit(one, brief=True) for one in range(2000)]
    bench.executor.run()
    await turn()
    assert len(bench.worker.batches) == 1  # the loop is not held up by the others
    assert len(bench.executor.jobs) == 1
    while not waiters[-1].done():
        await bench.run_all()
    assert [await one for one in waiters] == [2 * one for one in range(2000)]
