"""What lets a test hold a service still and see inside it, without waiting for time to pass."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.engine.engine import Engine
    from routoo.predictor.base import Prediction, Predictor, Wait
    from routoo.routing.request import PromptRequest
    from routoo.server.service import Service

# Far above what anything takes; reached only when the service hangs, which is then the failure.
HANG_S = 20.0


class Tally:
    """A list that tests can await to grow. Appended to from any thread, awaited on one loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._grown = asyncio.Event()
        self.items: list[Any] = []

    def add(self, item: Any) -> None:
        """Appends and wakes who waits."""
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
    """A predictor that tells which prompts it sees, can be held, and can be made to fail.

    Attributes:
        calls: one list of prompts per call.
        change: applied to what the real predictor answers.
        fail: raised instead of answering, once for each entry.
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
        self.degraded = False

    def hold(self) -> None:
        """Calls wait from now on."""
        self._gate.clear()

    def release(self) -> None:
        """Calls go on."""
        self._gate.set()

    def predict(self, prompts: Sequence[str], wait: Wait | None = None) -> Prediction:
        """As the real predictor, after the gate."""
        self.calls.add(list(prompts))
        assert self._gate.wait(HANG_S), "the test never released the predictor"
        if self.fail:
            raise self.fail.pop(0)
        return self.change(self._inner.predict(prompts, wait))

    def warm_up(self) -> None:
        """Nothing to warm up."""

    @property
    def seen(self) -> list[str]:
        """Every prompt of every call."""
        return [prompt for call in self.calls.items for prompt in call]


def watch_predictor(engine: Engine) -> WatchedPredictor:
    """Puts a watched predictor in front of the engine's own."""
    watched = WatchedPredictor(engine.predictor)
    engine.predictor = watched
    return watched


def watch_accepted(service: Service) -> Tally:
    """Tells of every prompt that the queue has taken, and of every batch that has a thread."""
    tally = Tally()
    route, check_batch = service.engine.route, service.engine._check_batch

    def watched_route(*arguments: Any) -> Any:
        waiter = route(*arguments)
        tally.add(arguments[0].text)
        return waiter

    def watched_check(requests: Sequence[PromptRequest]) -> None:
        check_batch(requests)
        # The engine goes on to the thread in the same turn of the loop; who awaits the tally is
        # woken in a later one.
        tally.add(len(requests))

    service.engine.route = watched_route  # type: ignore[assignment, method-assign]
    service.engine._check_batch = watched_check  # type: ignore[method-assign]
    return tally


def watch_answered(service: Service) -> Tally:
    """Tells of every call that has ended, as (rpc, code)."""
    tally = Tally()
    calls = service._calls
    answered = calls.answered

    def watched(rpc: str, code: str, seconds: float) -> None:
        answered(rpc, code, seconds)
        tally.add((rpc, code))

    calls.answered = watched
    return tally


def first_row_only(prediction: Prediction) -> Prediction:
    """A prediction that lost all rows but the first."""
    return replace(
        prediction, scores=prediction.scores[:1], output_tokens=prediction.output_tokens[:1]
    )
