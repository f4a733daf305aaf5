"""The batcher gathers the requests that wait while the worker is busy into the next batch.

There is no idle timer: a batch starts as soon as the event loop has turned a few times without
bringing a new request, which takes microseconds when nothing else arrives. A short request that is
still alone then is worked on by the loop itself: two changes of threads would take longer than its
work. The queue is bounded,
and a request that does not fit is refused. Every accepted request is settled: with its result, the
error of its batch, the error of its deadline, or the error of a shutdown.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from math import inf
from time import monotonic, monotonic_ns
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from routoo.errors import DeadlineError, DrainingError, PredictorError, QueueFullError, RoutooError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor, Future

QUIET_TURNS = 16
"""Turns of the loop without a new request before a batch starts.

A call takes several turns from its first byte to its handler. Under load a batch that starts at the
first quiet turn is therefore small, and fixed costs and thread switches are paid too often. With 64
calls at once, sixteen turns raised the calls per second by a third; they add some 50 microseconds
to a call that has to wait for them.
"""
Request = TypeVar("Request")
Result = TypeVar("Result")


class BatchWait:
    """Tells the worker whether a caller still waits for its batch. Thread-safe.

    Attributes:
        deadline_s: the last deadline, on ``time.monotonic``'s clock; None: there is no deadline.
    """

    def __init__(self, deadline_s: float | None = None) -> None:
        self.deadline_s = deadline_s
        self._lock = threading.Lock()
        self._abandoned = False
        self._give_up: Callable[[], object] | None = None

    @property
    def abandoned(self) -> bool:
        """Returns whether no caller waits any more."""
        return self._abandoned

    def abandon(self) -> None:
        """Notes that no caller waits any more, so that the work may stop."""
        with self._lock:
            self._abandoned = True
            give_up = self._give_up
        if give_up is not None:
            give_up()

    def on_abandoned(self, give_up: Callable[[], object]) -> None:
        """Calls ``give_up`` when ``abandon`` is called; at once, if it was called before."""
        with self._lock:
            self._give_up = give_up
            abandoned = self._abandoned
        if abandoned:
            give_up()


class OneThread(ThreadPoolExecutor):
    """One thread that tells whether it has nothing to do. Work is given from one other thread.

    Attributes:
        unfinished: the work that was given and has not ended.
    """

    def __init__(self, name: str) -> None:
        super().__init__(1, name)
        self.unfinished: set[Future[Any]] = set()

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Gives work to the thread; see ``Executor.submit``."""
        given = super().submit(fn, *args, **kwargs)
        self.unfinished.add(given)
        given.add_done_callback(self.unfinished.discard)
        return given


@dataclass(slots=True)
class Entry(Generic[Request, Result]):
    """A request that waits.

    Attributes:
        request: the worker's input.
        waiter: the future that the caller waits for; settled exactly once.
        accepted_ns: when it was accepted, ``monotonic_ns``.
        deadline_s: when its caller stops waiting, ``monotonic``; None: never.
        brief: whether it is short enough to be worked on by the loop, if it is alone.
    """

    request: Request
    waiter: asyncio.Future[Result]
    accepted_ns: int
    deadline_s: float | None
    brief: bool


class Batcher(Generic[Request, Result]):
    """Gathers requests for a worker that takes one batch at a time. Lives on one event loop.

    Attributes:
        wait: tells the work whether a caller still waits for the batch that runs.

    Args:
        work: called in ``executor`` with the requests and the times of their acceptance
            (``monotonic_ns``); returns one result per request, in order, or the error that this
            request fails with. It may raise: then every request of the batch fails with that.
        executor: runs the work; one thread is enough.
        max_batch: most requests in one call.
        max_queue: most requests that wait for a call.
        may_work_here: tells whether the work may run on the loop now: it is brief, nothing else
            uses what it needs, and it waits for no other machine.
        on_dropped: called with "cancelled" or "expired" for each request dropped before work.
        on_undelivered: called with each result that no caller waits for any more.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Request], Sequence[int]], Sequence[Result | RoutooError]],
        executor: Executor,
        *,
        max_batch: int,
        max_queue: int,
        may_work_here: Callable[[], bool] = lambda: False,
        on_dropped: Callable[[str], None] = lambda _reason: None,
        on_undelivered: Callable[[Result], None] = lambda _result: None,
    ) -> None:
        self._work = work
        self._executor = executor
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._may_work_here = may_work_here
        self._on_dropped = on_dropped
        self._on_undelivered = on_undelivered
        self._waiting: deque[Entry[Request, Result]] = deque()
        self._running: list[Entry[Request, Result]] = []
        self.wait = BatchWait()
        self._busy = False
        self._last_size = 0  # of the batch before
        self._open = True
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def depth(self) -> int:
        """The number of requests that wait."""
        return len(self._waiting)

    def submit(
        self, request: Request, deadline_s: float | None = None, *, brief: bool = False
    ) -> asyncio.Future[Result]:
        """Accepts a request; cancelling the returned future withdraws this request only.

        Args:
            request: the worker's input.
            deadline_s: when its caller stops waiting, ``monotonic``; None: never.
            brief: whether it is short enough to be worked on by the loop, if it is alone.

        Raises:
            QueueFullError: too many wait already.
            DrainingError: ``close`` was called.
        """
        if not self._open:
            raise DrainingError("the service is stopping; send to another replica")
        if len(self._waiting) >= self._max_queue:
            raise QueueFullError(
                f"{self._max_queue} requests wait already; retry later or add replicas"
            )
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Result] = loop.create_future()
        self._waiting.append(Entry(request, waiter, monotonic_ns(), deadline_s, brief))
        if not self._busy:
            self._busy = True
            self._idle.clear()
            self._gather(loop)
        return waiter

    async def close(self, grace_s: float | None) -> bool:
        """Refuses new requests, waits for the accepted ones, and fails those that are left then.

        Args:
            grace_s: how long to wait; None: as long as it takes.

        Returns:
            Whether all of them were answered in time.
        """
        self._open = False
        try:
            await asyncio.wait_for(self._idle.wait(), grace_s)
        except TimeoutError:
            for entry in (*self._running, *self._waiting):
                _fail(entry, DrainingError("the service stopped; send again"))
            self._waiting.clear()
            return False
        return True

    def _is_alone(self, batch: list[Entry[Request, Result]]) -> bool:
        """Returns whether the loop may work on a batch itself.

        Not after a batch of several: the calls that it has answered are about to come again.
        """
        last_size, self._last_size = self._last_size, len(batch)
        if self._waiting or not last_size == len(batch) == 1:
            return False
        return batch[0].brief and self._may_work_here()

    def _gather(self, loop: asyncio.AbstractEventLoop, seen: int = 0, quiet_turns: int = 0) -> None:
        """Looks at the queue once per turn; starts a batch when it is full or no longer grows."""
        waiting = len(self._waiting)
        if waiting != seen:
            quiet_turns = 0
        if quiet_turns < QUIET_TURNS and waiting < self._max_batch:
            loop.call_soon(self._gather, loop, waiting, quiet_turns + 1)
        else:
            self._start_next(loop)

    def _start_next(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = self._running = self._take()
        if not batch:
            self._busy = False
            self._idle.set()
            return
        requests = [entry.request for entry in batch]
        accepted_ns = [entry.accepted_ns for entry in batch]
        if self._is_alone(batch):
            self.wait = BatchWait(batch[0].deadline_s)
            try:
                results = self._work(requests, accepted_ns)
            except BaseException as error:  # noqa: BLE001 - as in a thread, its waiter is told
                _fail(batch[0], error)
            else:
                self._settle(batch, results)
            self._start_next(loop)  # none can have come meanwhile
            return
        self.wait = _wait_of(batch)
        try:
            running = self._executor.submit(self._work, requests, accepted_ns)
        except RuntimeError:  # the executor was shut down
            for entry in batch:
                _fail(entry, DrainingError("the service stopped; send again"))
            loop.call_soon(self._start_next, loop)
            return
        running.add_done_callback(
            lambda done: loop.call_soon_threadsafe(self._finish, loop, batch, done)
        )

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[Entry[Request, Result]],
        done: Future[Sequence[Result | RoutooError]],
    ) -> None:
        self._gather(loop)
        try:
            results = done.result()
        except CancelledError:  # the executor was shut down with the batch in its queue
            for entry in batch:
                _fail(entry, DrainingError("the service stopped; send again"))
            return
        except BaseException as error:  # noqa: BLE001 - whatever it is, every waiter is told
            for entry in batch:
                _fail(entry, error)
            return
        self._settle(batch, results)

    def _settle(
        self, batch: list[Entry[Request, Result]], results: Sequence[Result | RoutooError]
    ) -> None:
        if len(results) != len(batch):
            for entry in batch:
                _fail(entry, PredictorError(f"{len(batch)} requests got {len(results)} results"))
            return
        for entry, result in zip(batch, results, strict=True):
            if isinstance(result, RoutooError):
                _fail(entry, result)
            elif entry.waiter.done():
                self._on_undelivered(result)
            else:
                entry.waiter.set_result(result)

    def _take(self) -> list[Entry[Request, Result]]:
        batch: list[Entry[Request, Result]] = []
        now_s = monotonic()
        while self._waiting and len(batch) < self._max_batch:
            entry = self._waiting.popleft()
            # The deadline first: a caller whose time is up usually cancels as well.
            if entry.deadline_s is not None and entry.deadline_s <= now_s:
                self._on_dropped("expired")
                _fail(entry, DeadlineError("the deadline passed while the request waited"))
            elif entry.waiter.done():
                self._on_dropped("cancelled")
            else:
                batch.append(entry)
        return batch


def _wait_of(batch: list[Entry[Request, Result]]) -> BatchWait:
    """Makes a ``BatchWait`` that lasts until the last deadline, or until every waiter is done."""
    last_s = max(inf if entry.deadline_s is None else entry.deadline_s for entry in batch)
    wait = BatchWait(None if last_s == inf else last_s)
    left = len(batch)

    def settled(_waiter: asyncio.Future[Result]) -> None:
        nonlocal left
        left -= 1
        if not left:
            wait.abandon()

    for entry in batch:
        entry.waiter.add_done_callback(settled)
    return wait


def _fail(entry: Entry[Request, Result], error: BaseException) -> None:
    if entry.waiter.done():
        return
    if isinstance(error, StopIteration):  # the one error that a future refuses
        stopped, error = error, PredictorError("the worker raised StopIteration")
        error.__cause__ = stopped
    entry.waiter.set_exception(error)
