"""Reloads the predictor of a running service: when asked, and when the server has moved on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from routoo.errors import ConfigError, PredictorError

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.config import Settings
    from routoo.predictor_watch import PredictorWatch
    from routoo.predictors import Predictors


class Reloader:
    """Lives on the loop that serves; the work is done in threads, one reload at a time."""

    def __init__(self, predictors: Predictors, watch: PredictorWatch) -> None:
        self._predictors = predictors
        self._watch = watch
        self._tasks: set[asyncio.Task[str]] = set()

    def start(self, read_settings: Callable[[], Settings]) -> asyncio.Task[str]:
        """Reads the settings again and serves the predictor that they name now.

        Only ``predictor.artifact`` counts: other settings take a restart. What came of it is
        logged and counted, and is the task's result: switched, unchanged or refused.
        """
        task = asyncio.get_running_loop().create_task(self._reload(read_settings))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def follow(self, settings: Settings) -> None:
        """When a Triton server comes back with another version, looks for the artifact of it."""

        def moved() -> None:
            # On the probing thread, which has nothing to do until the next probe.
            self._exchange(
                lambda: self._predictors.exchange(settings.predictor, again=False), quiet=True
            )

        self._watch.on_mismatch = moved

    async def close(self) -> None:
        """Waits for a reload in progress, and lets the predictor go."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.to_thread(self._predictors.close)

    async def _reload(self, read_settings: Callable[[], Settings]) -> str:
        def exchange() -> bool:
            return self._predictors.exchange(read_settings().predictor)

        return await asyncio.to_thread(self._exchange, exchange)

    def _exchange(self, exchange: Callable[[], bool], *, quiet: bool = False) -> str:
        detail = ""
        try:
            outcome = "switched" if exchange() else "unchanged"
        except (ConfigError, PredictorError) as error:
            outcome, detail = "refused", str(error)
        if not quiet or outcome != "unchanged":
            self._watch.exchanged(outcome, self._predictors.chain.version, detail)
        return outcome
