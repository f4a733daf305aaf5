"""No stream makes the external processor crash, hang or answer INTERNAL.

The tests send thousands of streams; ``make fuzz-processor`` sends a million.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from fuzz.hostile_streams import attack
from support.processor_stream import headers_of, stream
from support.tiny_service import serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

STREAMS = int(os.environ.get("FUZZ_STREAMS", "10000"))
FIRST = int(os.environ.get("FUZZ_FIRST", "0"))
AT_A_TIME = 5000


@pytest.mark.parametrize("usage_from", ["reply", "access_log"])
async def test_hostile_streams(tmp_path: Path, usage_from: str) -> None:
    processor = {"enabled": True, "usage_from": usage_from}
    expected = {"routed", "refused 400", "routed headers", "piece", "refused 200"}
    if usage_from == "reply":
        expected.add("response_body")
    settings = tiny_settings(tmp_path, processor=processor, shutdown_grace_s=1.0)
    async with serving(settings) as running:
        for start in range(FIRST, FIRST + STREAMS, AT_A_TIME):
            count = min(AT_A_TIME, FIRST + STREAMS - start)
            found = await attack(running.channel, start, count)
            assert not found.findings
            assert found.streams == count
            # The streams have to reach all kinds of ends, or the test would show nothing.
            assert {"OK", "INVALID_ARGUMENT", "CANCELLED"} <= found.statuses.keys()
            assert expected <= found.answers.keys()
        assert running.service.processor is not None
        if usage_from == "reply":  # otherwise no log reports the replies
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
