"""The processor learns of failing providers by the log or by replies, and routes past them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
from support.tiny_processor import all_ended, with_settings

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.api.extproc.envoy import ext_proc_pb2 as ext_proc
    from support.tiny_service import Running

LASTING = {"open_s": 3000, "max_open_s": 3000}
LOGGED = {"usage_from": "access_log"}


async def routed(running: Running, model: str = "auto") -> dict[str, str]:
    """Routes a request whose reply the log tells of, and returns the decision's headers."""
    async with stream(running.channel) as one:
        await one.say(request_headers())
        answer = await one.say(request_body(chat_body("hard", model)))
        return headers_of(answer.request_body.response.header_mutation)


async def answered(running: Running, *messages: ext_proc.ProcessingRequest) -> str:
    """Routes a request, lets the processor see its reply, and returns the chosen model."""
    async with stream(running.channel) as one:
        answer = await one.routed(chat_body("hard"))
        told = headers_of(answer.request_body.response.header_mutation)
        for message in messages:
            await one.say(message)
    await all_ended(running)
    return told["x-routoo-model"]


def failed(decision_id: str, status: int = 503, flag: str = "", retry_after: str = "") -> Any:
    """Makes the log's entry of a reply that failed."""
    found = entry(decision_id, status=status)
    found.response.response_code_details = "via_upstream"
    if flag:
        setattr(found.common_properties.response_flags, flag, True)
    if retry_after:
        found.response.response_headers["retry-after"] = retry_after
    return found


@pytest.mark.parametrize(
    "told",
    [
        {"status": 500},
        {"status": 503, "flag": "upstream_connection_failure"},
        {"status": 504, "flag": "upstream_request_timeout"},
        {"status": 200, "flag": "upstream_remote_reset"},
    ],
)
async def test_the_log_leaves_a_model_out(tmp_path: Path, told: dict[str, Any]) -> None:
    async with with_settings(tmp_path, processor=LOGGED, health=LASTING) as running:
        for _ in range(3):
            found = await routed(running)
            assert found["x-routoo-model"] == "large"
            await tell(running.channel, failed(found["x-routoo-decision-id"], **told))
        await all_ended(running)
        assert (await routed(running))["x-routoo-model"] == "medium"


@pytest.mark.parametrize("told", [{"status": 400}, {"status": 503, "flag": "fault_injected"}])
async def test_faults_of_others_leave_it_in(tmp_path: Path, told: dict[str, Any]) -> None:
    async with with_settings(tmp_path, processor=LOGGED, health=LASTING) as running:
        for _ in range(5):
            found = await routed(running)
            made = failed(found["x-routoo-decision-id"], **told)
            if "flag" in told:
                made.response.response_code_details = "fault_filter_abort"
            await tell(running.channel, made)
        await all_ended(running)
        assert (await routed(running))["x-routoo-model"] == "large"


async def test_retry_after_in_the_log_is_kept(tmp_path: Path) -> None:
    async with with_settings(tmp_path, processor=LOGGED) as running:
        found = await routed(running)
        await tell(running.channel, failed(found["x-routoo-decision-id"], 429, retry_after="3600"))
        await all_ended(running)
        assert (await routed(running))["x-routoo-model"] == "medium"


async def test_entries_of_other_replicas_decisions_count(tmp_path: Path) -> None:
    async with with_settings(tmp_path, processor=LOGGED, health=LASTING) as running:
        for number in range(3):
            made = failed(f"abcdef0123-0011223344556677-{number}")
            made.request.request_headers["x-routoo-model"] = "large"
            await tell(running.channel, made)
        await all_ended(running)
        assert (await routed(running))["x-routoo-model"] == "medium"


async def test_a_model_that_is_named_is_not_blocked_and_counts(tmp_path: Path) -> None:
    refuses = {"on_too_large": "refuse", "on_unreadable": "refuse"}
    processor = {**LOGGED, **refuses, "named_models": "book"}
    async with with_settings(tmp_path, processor=processor, health=LASTING) as running:
        for _ in range(3):
            found = await routed(running, "large")
            await tell(running.channel, failed(found["x-routoo-decision-id"]))
        await all_ended(running)
        assert (await routed(running, "large"))["x-routoo-model"] == "large"
        assert (await routed(running))["x-routoo-model"] == "medium"


async def test_replies_that_are_read_leave_a_model_out(tmp_path: Path) -> None:
    async with with_settings(tmp_path, health=LASTING) as running:
        for _ in range(3):
            assert await answered(running, reply_headers(529, end=True)) == "large"
        assert await answered(running) == "medium"


async def test_retry_after_of_a_reply_is_kept_and_a_good_reply_ends_it(tmp_path: Path) -> None:
    health = {"open_s": 1e-6, "slow_start_s": 0, "max_retry_after_s": 1e-6}
    async with with_settings(tmp_path, health=health) as running:
        limited = reply_headers(429, end=True, retry_after="31536000")
        assert await answered(running, limited) == "large"
        good = (reply_headers(200), reply_body(usage_body(10, 10)))
        assert await answered(running, *good) == "large"  # the probe
        engine = running.service.engine
        assert engine.accounting.health is not None
        assert engine.accounting.health.is_well


async def test_a_caller_that_leaves_before_the_reply_says_nothing(tmp_path: Path) -> None:
    async with with_settings(tmp_path, health={**LASTING, "failures": 2}) as running:
        assert await answered(running, reply_headers(500, end=True)) == "large"
        assert await answered(running) == "large"
        assert await answered(running, reply_headers(500, end=True)) == "large"
        assert await answered(running) == "medium"
