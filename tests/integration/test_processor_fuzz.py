"""No stream makes the external processor crash, hang or say INTERNAL.

By the thousand here; by the million with ``FUZZ_STREAMS=1000000 pytest --timeout 0`` and this file.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from hostile_streams import attack
from processor_stream import headers_of, stream
from tiny_service import serving, tiny_settings
from watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

STREAMS = int(os.environ.get("FUZZ_STREAMS", "10000"))
FIRST = int(os.environ.get("FUZZ_FIRST", "0"))
AT_A_TIME = 5000


async def test_hostile_streams(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path, processor={"enabled": True})) as running:
        for start in range(FIRST, FIRST + STREAMS, AT_A_TIME):
            count = min(AT_A_TIME, FIRST + STREAMS - start)
            found = await attack(running.channel, start, count)
            assert not found.findings
            assert found.streams == count
            # Else it would say nothing: all kinds of ends are reached.
            assert {"OK", "INVALID_ARGUMENT", "CANCELLED"} <= found.statuses.keys()
            assert {"routed", "response_body", "refused 400"} <= found.answers.keys()
        assert running.service.processor is not None
        async with asyncio.timeout(HANG_S):
            await running.service.processor.settled()
        codes = {
            sample.labels["code"]
            for family in running.service.metrics.registry.collect()
            for sample in family.samples
            if sample.name == "routoo_requests_total" and sample.labels["rpc"] == "Process"
        }
        assert {"OK", "INVALID_ARGUMENT"} <= codes <= {"OK", "INVALID_ARGUMENT", "CANCELLED"}
        async with stream(running.channel) as one:
            routed = await one.routed()
            told = headers_of(routed.request_body.response.header_mutation)
            assert told["x-routoo-model"] == "small"
        assert not [entry for entry in running.logs if entry["log_level"] == "error"]
