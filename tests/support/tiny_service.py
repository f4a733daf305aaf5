"""A whole service in this process, on the tiny artifact and pool, behind a real channel."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import yaml
from structlog.testing import capture_logs

from routoo.config.loading import load_settings
from routoo.server.service import Service
from routoo.v1 import batch_pb2, info_pb2, outcome_pb2, route_pb2
from routoo.v1.router_pb2_grpc import RouterServiceStub
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.artifacts.tiny_table_artifact import write_tiny_table_artifact
from support.peers.otlp_collector import otlp_collector
from support.tiny_pool import SPECS, write_tiny_pool
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

    from routoo.config.settings import Settings

ROUTE = "/routoo.v1.RouterService/Route"
MESSAGE_BYTES = 128 * 1024 * 1024
_POLL_S = 0.01
PATIENT = {"max_wait_ms": 3_600_000, "overloaded_wait_ms": 3_600_000}
"""Limits of overload that no machine reaches: on a busy one, many calls at once look like it."""


@dataclass(frozen=True, slots=True)
class Running:
    """A service that runs, a channel to it, and what it has logged."""

    service: Service
    channel: grpc.aio.Channel
    stub: Any
    logs: list[Any]

    async def route(self, prompt: str = "easy", **fields: Any) -> route_pb2.RouteResponse:
        """Calls ``Route`` with a deadline that only a service that hangs misses."""
        request = route_pb2.RouteRequest(prompt=prompt, **fields)
        response: route_pb2.RouteResponse = await self.stub.Route(request, timeout=60)
        return response

    async def batch(self, prompts: list[str], **fields: Any) -> batch_pb2.RouteBatchResponse:
        """Calls ``RouteBatch`` with plain prompts."""
        response: batch_pb2.RouteBatchResponse = await self.stub.RouteBatch(
            batch_of(prompts, **fields), timeout=240
        )
        return response

    async def learned_times(self, model: str, reports: int = 0) -> info_pb2.LearnedTimes:
        """Returns what is known of a model's times when so many reports have been learned."""
        async with asyncio.timeout(HANG_S):
            while True:
                listed = await self.stub.ListModels(info_pb2.ListModelsRequest())
                found: info_pb2.LearnedTimes = next(
                    one.learned_times for one in listed.models if one.name == model
                )
                if found.reports >= reports:
                    return found
                await asyncio.sleep(_POLL_S)


def batch_of(prompts: list[str], **fields: Any) -> batch_pb2.RouteBatchRequest:
    """Makes a batch of plain prompts."""
    return batch_pb2.RouteBatchRequest(
        requests=[route_pb2.RouteRequest(prompt=prompt) for prompt in prompts], **fields
    )


def tiny_settings(folder: Path, **overrides: Any) -> Settings:
    """Makes settings on free ports, and their files; ``overrides`` replace whole sections."""
    artifact, pool = folder / "predictor", folder / "pool.yaml"
    if not artifact.exists():
        write_tiny_artifact(artifact)
    if not pool.exists():
        write_tiny_pool(pool)
    values: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "http": {"listen": ""},
        "metrics": {"enabled": False, "listen": "127.0.0.1:0"},
        "overload": PATIENT,
        "pool": pool,
        "predictor": {"artifact": artifact},
    }
    return load_settings(None, {**values, **overrides})


def table_settings(folder: Path, *more: dict[str, Any], **overrides: Any) -> Settings:
    """Makes settings with a predictor of format 2, whose models and tasks are a table.

    Args:
        folder: the files' folder; an artifact that is there is kept.
        more: models of the pool besides the three of the tiny pool.
        overrides: replace whole sections.
    """
    if not (folder / "predictor").exists():
        write_tiny_table_artifact(folder / "predictor")
    (folder / "pool.yaml").write_text(yaml.safe_dump({"models": [*SPECS, *more]}))
    return tiny_settings(folder, **overrides)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Running]:
    """Starts the service, connects, and drains it at the end."""
    with capture_logs() as logs:
        service = await Service.start(settings)
        try:
            async with connected(service.address) as channel:
                yield Running(service, channel, RouterServiceStub(channel), logs)
        finally:
            await service.stop()


@asynccontextmanager
async def serving_all(folder: Path, **sections: Any) -> AsyncIterator[Running]:
    """Serves with everything on that has metrics, after a decision and a report of all figures.

    Args:
        folder: the files' folder; the decision log is its ``log``.
        sections: replace other sections of the settings.
    """
    with otlp_collector() as collector:
        settings = tiny_settings(
            folder,
            budgets=[{"name": "all", "usd": 1.0, "per": "365d"}],
            decision_log={"path": folder / "log"},
            tracing={"enabled": True, "endpoint": collector.endpoint},
            processor={"enabled": True},
            policy={"shadow": "best"},
            **sections,
        )
        async with serving(settings) as running:
            reply = await running.route("hard")
            await running.stub.ReportOutcome(
                outcome_pb2.ReportOutcomeRequest(
                    decision_id=reply.decision_id, score=1.0, cost_usd=0.1, latency_ms=1.0
                )
            )
            yield running


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[grpc.aio.Channel]:
    """Opens a channel with a connection of its own and room for large messages."""
    options = [
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield channel


async def refusal(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    """Returns code and text of a call's failure; a call that succeeds fails the test."""
    try:
        reply = await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    raise AssertionError(f"the call succeeded: {reply}")
