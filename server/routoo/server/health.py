"""The health of the service and of its components, for the service ``grpc.health.v1``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any


class Health:
    """Holds the states of the health service. Construct it on the loop that serves.

    Attributes:
        servicer: answers the health service's RPCs.
    """

    def __init__(self) -> None:
        self.servicer = HealthServicer()
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def serving(self, *names: str) -> None:
        """Marks services as SERVING."""
        for name in names:
            await self.servicer.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def is_serving(self) -> bool:
        """Returns whether the service takes calls, as ``grpc.health.v1`` tells."""
        asked = health_pb2.HealthCheckRequest()
        said: health_pb2.HealthCheckResponse = await self.servicer.Check(asked, None)
        return bool(said.status == health_pb2.HealthCheckResponse.SERVING)

    def component(self, name: str, *, up: bool) -> None:
        """Marks a component, e.g. ``predictor.NAME``, as in use or not. Thread-safe."""
        states = health_pb2.HealthCheckResponse
        state = states.SERVING if up else states.NOT_SERVING
        self._loop.call_soon_threadsafe(self._start, name, state)

    def _start(self, name: str, state: int) -> None:
        setting: Coroutine[Any, Any, None] = self.servicer.set(name, state)
        task = self._loop.create_task(setting)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
