"""A service with the tiny predictor and the external processor, and its processor's counts."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from support.tiny_service import Running, serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from routoo.api.extproc.service import Processor


@asynccontextmanager
async def with_settings(folder: Path, **sections: Any) -> AsyncIterator[Running]:
    processor = {"enabled": True, **sections.pop("processor", {})}
    async with serving(tiny_settings(folder, processor=processor, **sections)) as running:
        yield running


def metric(running: Running, name: str, **labels: str) -> float:
    found = running.service.metrics.registry.get_sample_value(name, labels)
    return 0.0 if found is None else found


def processor_of(running: Running) -> Processor:
    found = running.service.processor
    assert found is not None
    return found


async def all_ended(running: Running) -> None:
    async with asyncio.timeout(HANG_S):
        await processor_of(running).settled()


def replies(running: Running) -> dict[str, float]:
    return {
        result: metric(running, "routoo_http_replies_total", result=result)
        for result in ("read", "estimated", "failed", "gone")
    }


async def grown(running: Running, before: dict[str, float]) -> dict[str, float]:
    """Returns how much each count of replies has grown, once all streams have ended."""
    await all_ended(running)
    after = replies(running)
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}
