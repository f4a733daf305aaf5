"""Times that Envoy's log, or the processor itself, measures of replies are learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from support.access_log import entry, tell
from support.processor_stream import (
    chat_body,
    headers_of,
    reply_body,
    reply_headers,
    request_body,
    request_headers,
    stream,
    usage_body,
)
from support.tiny_processor import with_settings

if TYPE_CHECKING:
    from pathlib import Path

    from support.tiny_service import Running

LOGGED = {"usage_from": "access_log"}
USAGE = '{"prompt_tokens": 1000, "completion_tokens": 500}'
INTERVAL_S = 0.01


async def decided(running: Running) -> str:
    async with stream(running.channel) as one:
        await one.say(request_headers())
        answer = await one.say(request_body(chat_body("hard")))
        told = headers_of(answer.request_body.response.header_mutation)
        assert await one.ended() == grpc.StatusCode.OK
    return told["x-routoo-decision-id"]


@pytest.mark.parametrize(
    ("usages", "told", "reports", "first_token_reports"),
    [
        ((USAGE,), {"first_ms": 60.0}, 1, 1),  # a stream
        ((USAGE,), {"first_ms": 258.0}, 1, 0),  # in one piece: the first byte is the last
        ((USAGE,), {}, 1, 0),
        ((), {"status": 504, "timed_out_ms": 30_000.0}, 1, 0),
        ((), {"timed_out_ms": 30_000.0}, 1, 0),  # a stream that has begun
        ((), {"status": 504}, 1, 0),  # the provider's own
        ((USAGE,), {"status": 500, "first_ms": 60.0}, 0, 0),
        ((USAGE,), {"left": True, "first_ms": 60.0}, 0, 0),
        ((), {"first_ms": 60.0}, 0, 0),
    ],
)
async def test_what_an_entry_of_the_log_teaches(
    tmp_path: Path,
    usages: tuple[str, ...],
    told: dict[str, Any],
    reports: int,
    first_token_reports: int,
) -> None:
    corrections = {"interval_s": INTERVAL_S}
    async with with_settings(tmp_path, processor=LOGGED, corrections=corrections) as running:
        before = await running.learned_times("large")
        asked, last = await decided(running), await decided(running)
        await tell(running.channel, entry(asked, *usages, **told))
        await tell(running.channel, entry(last, USAGE))
        after = await running.learned_times("large", reports + 1)
        assert (after.reports, after.first_token_reports) == (reports + 1, first_token_reports)
        if "timed_out_ms" in told:
            longest = [one.first_token_ms * one.percentile_factors[99] for one in (before, after)]
            assert longest[1] > 1.3 * longest[0]


async def test_a_processor_that_reads_replies_measures_them(tmp_path: Path) -> None:
    # What has been learned of it may make another model the better choice.
    large = {"x-routoo-allowed-models": "large"}
    corrections = {"interval_s": INTERVAL_S}
    async with with_settings(tmp_path, corrections=corrections) as running:
        for status in (200, 504, 500):
            async with stream(running.channel) as one:
                answer = await one.routed(chat_body("hard"), large)
                assert answer.HasField("request_body"), answer
                await one.say(reply_headers(status))
                if status == 200:
                    await one.say(reply_body(b'{"choices": [],', end=False))
                    await one.say(reply_body(usage_body(1000, 500)[1:]))
                assert await one.ended() == grpc.StatusCode.OK
        assert (await running.learned_times("large", 2)).reports == 2
