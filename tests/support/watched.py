"""Hooks by which a test holds a service still and sees inside it, without waiting for time."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from routoo.predictor.base import LonePredictor
from routoo.predictor.encoding import checked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from routoo.engine.engine import Engine
    from routoo.predictor.base import Prediction, Predictor, Wait
    from routoo.routing.request import PromptRequest
    from routoo.server.service import Service

# Far longer than any step takes: it passes only when the service hangs, and then the test fails.
HANG_S = 60.0


class Tally:
    """A list whose growth tests can await; any thread may append, one loop awaits."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._grown = asyncio.Event()
        self.items: list[Any] = []

    def add(self, item: Any) -> None:
        """Appends an item and wakes the waiting tests."""
        self.items.append(item)
        self._loop.call_soon_threadsafe(self._grown.set)

    async def reached(self, count: int) -> None:
        """Returns when there are ``count`` items."""
        async with asyncio.timeout(HANG_S):
            while len(self.items) < count:
                self._grown.clear()
                if len(self.items) < count:
                    await self._grown.wait()


class WatchedPredictor:
    """A predictor that records its prompts, can be held, and can be made to fail.

    Attributes:
        calls: one list of prompts per call.
        change: applied to the real predictor's answer.
        fail: errors to raise instead of an answer, one per call.
    """

    def __init__(self, inner: Predictor) -> None:
        self._inner = inner
        self._gate = threading.Event()
        self._gate.set()
        self.calls = Tally()
        self.change: Callable[[Prediction], Prediction] = lambda prediction: prediction
        self.fail: list[BaseException] = []
        self.models = inner.models
        self.version = inner.version
        self.backend = inner.backend
        self.max_tokens = inner.max_tokens
        self.tasks = inner.tasks
        self.degraded = False
        self.waits = True  # it may be held

    def hold(self) -> None:
        """Makes calls wait from now on."""
        self._gate.clear()

    def release(self) -> None:
        """Lets calls go on."""
        self._gate.set()

    def predict(
        self,
        prompts: Sequence[str],
        wait: Wait | None = None,
        told: Sequence[str] | None = None,
    ) -> Prediction:
        """Waits until calls are released, then predicts as the real predictor."""
        self.calls.add(list(prompts))
        assert self._gate.wait(HANG_S), "the test never released the predictor"
        if self.fail:
            raise self.fail.pop(0)
        changed = self.change(self._inner.predict(prompts, wait, told))
        return checked(changed, len(prompts), len(self.models))

    def warm_up(self) -> None:
        """Does nothing: the real predictor is warm."""

    @property
    def seen(self) -> list[str]:
        """Every prompt of every call, in order."""
        return [prompt for call in self.calls.items for prompt in call]


def watch_predictor(engine: Engine) -> WatchedPredictor:
    """Puts a watched predictor in front of the engine's own."""
    watched = WatchedPredictor(engine.predictor)
    engine.source = LonePredictor(watched)
    return watched


def watch_accepted(service: Service) -> Tally:
    """Records every prompt that the queue accepts, and every batch that gets a thread."""
    tally = Tally()
    route, check_batch = service.engine.route, service.engine._check_batch

    def watched_route(*arguments: Any) -> Any:
        waiter = route(*arguments)
        tally.add(arguments[0].text)
        return waiter

    async def watched_check(requests: Sequence[PromptRequest]) -> None:
        await check_batch(requests)
        # The engine goes on to the thread in the same turn of the loop; a test that awaits the
        # tally is woken in a later one.
        tally.add(len(requests))

    service.engine.route = watched_route  # type: ignore[assignment, method-assign]
    service.engine._check_batch = watched_check  # type: ignore[method-assign]
    return tally


def watch_answered(service: Service) -> Tally:
    """Records every call that has ended, as (rpc, code)."""
    tally = Tally()
    calls = service._calls
    answered = calls.answered

    def watched(rpc: str, code: str, seconds: float) -> None:
        answered(rpc, code, seconds)
        tally.add((rpc, code))

    calls.answered = watched
    return tally


async def give_up_in_time(seen: Tally, send: Callable[[float], Awaitable[object]]) -> None:
    """Makes calls whose time is soon up, until one of them has come to where it is noted in time.

    A machine that stands still for a moment lets the time of a call pass before it is even sent.

    Args:
        seen: grows when a call has come.
        send: makes a call of so many seconds, and returns when its time is up.
    """
    before, timeout_s = len(seen.items), 0.05
    while len(seen.items) == before:
        await send(timeout_s)
        timeout_s *= 2


async def in_progress(service: Service, calls: int) -> None:
    """Waits until no more than so many unary calls are in progress."""
    async with asyncio.timeout(HANG_S):
        # Nothing tells when one of several has ended.
        while service._calls._active > calls:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def first_row_only(prediction: Prediction) -> Prediction:
    """Returns a prediction without all rows but the first."""
    return replace(
        prediction, scores=prediction.scores[:1], output_tokens=prediction.output_tokens[:1]
    )
