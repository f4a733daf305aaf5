"""A fault in Envoy's log costs its own field at most; failures cost what they may have cost."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from routoo.v1 import budget_pb2
from support.access_log import entry, log_stream, message, tell
from support.processor_stream import chat_body, headers_of, request_body, request_headers, stream
from support.tiny_processor import all_ended, metric, replies, with_settings

if TYPE_CHECKING:
    from pathlib import Path

    import grpc

    from support.tiny_service import Running

LOGGED = {"usage_from": "access_log"}
USAGE = '{"prompt_tokens": 1000, "completion_tokens": 500}'
USD = 0.025  # of this usage, at the prices of the large model
MARK = b"caf\x01"


async def decided(channel: grpc.aio.Channel) -> str:
    """Routes a request as Envoy does, and returns the decision's id."""
    async with stream(channel) as one:
        await one.say(request_headers())
        answer = await one.say(request_body(chat_body("hard")))
    return headers_of(answer.request_body.response.header_mutation)["x-routoo-decision-id"]


async def send(channel: grpc.aio.Channel, *bodies: bytes) -> None:
    """Sends messages as they are, and waits until they are read."""
    call = log_stream(channel)
    for body in bodies:
        await call.write(body)
    await call.done_writing()
    assert await call == b""


def field(number: int, value: bytes) -> bytes:
    """Makes a field of protobuf's wire format that has a length."""
    size, count = bytearray(), len(value)
    while count > 0x7F:
        size.append(count & 0x7F | 0x80)
        count >>= 7
    return bytes([number << 3 | 2, *size, count]) + value


def cost_usd(running: Running) -> float:
    return metric(running, "routoo_reported_cost_usd_total", model="large")


def faults(running: Running) -> dict[str, float]:
    return {
        fault: metric(running, "routoo_http_log_entry_faults_total", result=fault)
        for fault in ("repaired", "lost")
    }


@pytest.mark.parametrize(
    ("place", "repaired"), [("path", 0), ("user_agent", 0), ("header", 1), ("details", 1)]
)
async def test_a_byte_that_is_no_utf_8_costs_its_field_alone(
    tmp_path: Path, place: str, repaired: int
) -> None:
    async with with_settings(tmp_path, processor=LOGGED) as running:
        entries = [entry(await decided(running.channel), USAGE) for _ in range(6)]
        odd = entries[2]
        if place == "header":
            odd.request.request_headers["x-odd"] = MARK.decode()
        elif place == "details":
            odd.response.response_code_details = MARK.decode()
        else:
            number = {"path": 5, "user_agent": 6}[place]  # Envoy sends them; nobody reads them
            odd.request.MergeFromString(field(number, MARK))
        body = message(*entries)
        await send(running.channel, body.replace(MARK, b"caf\xe9"))
        await all_ended(running)
        assert replies(running)["read"] == 6
        assert cost_usd(running) == pytest.approx(6 * USD)
        assert faults(running) == {"repaired": repaired, "lost": 0}


async def test_unknown_fields_and_garbage_leave_the_other_entries(tmp_path: Path) -> None:
    async with with_settings(tmp_path, processor=LOGGED) as running:
        ids = [await decided(running.channel) for _ in range(4)]
        known = [entry(one, USAGE).SerializeToString() for one in ids]
        inner = b"".join(
            [
                field(1, known[0] + field(13, b"\xff\xfe")),
                field(9, b"unknown"),
                field(1, b"\xff\xff\xff\xff\xff"),
                field(1, known[1]),
                field(1, known[2][: known[2].index(ids[2].encode()) + len(ids[2])] + b"\xff"),
                field(1, b"\x0f" + known[3]),
            ]
        )
        await send(running.channel, field(1, b"\xe9"), field(2, inner))
        await all_ended(running)
        assert replies(running) == {"read": 3, "estimated": 0, "failed": 0, "gone": 1}
        assert metric(running, "routoo_outcomes_total", result="accepted") == 4
        assert faults(running) == {"repaired": 2, "lost": 1}
        lines = [line for line in running.logs if "access log" in line["event"]]
        assert [line["log_level"] for line in lines] == ["warning"] * 3


async def test_a_message_that_breaks_off_keeps_what_stands_before(tmp_path: Path) -> None:
    async with with_settings(tmp_path, processor=LOGGED) as running:
        ids = [await decided(running.channel) for _ in range(3)]
        body = message(*(entry(one, USAGE) for one in ids))
        await send(running.channel, body[:-40])
        await tell(running.channel, *(entry(one, USAGE) for one in ids))
        await all_ended(running)
        assert sum(replies(running).values()) == 3
        assert metric(running, "routoo_outcomes_total", result="accepted") == 3


@pytest.mark.parametrize("seed", range(5))
async def test_any_fault_in_one_entry_leaves_five(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same faults in every run
    async with with_settings(tmp_path, processor=LOGGED) as running:
        for number in range(1, 21):
            whole = [
                entry(await decided(running.channel), USAGE).SerializeToString() for _ in range(6)
            ]
            broken = bytearray(whole[3])
            for _ in range(chance.randrange(1, 8)):
                broken[chance.randrange(len(broken))] = chance.randrange(256)
            whole[3] = bytes(broken)
            await send(running.channel, field(2, b"".join(field(1, one) for one in whole)))
            assert replies(running)["read"] >= 5 * number
        assert not [line for line in running.logs if line["log_level"] == "error"]


@pytest.mark.parametrize(
    ("setting", "told", "costs"),
    [
        ("estimate", {"status": 504, "flag": "upstream_request_timeout"}, True),
        ("estimate", {"status": 504}, True),
        ("estimate", {"status": 503, "flag": "upstream_connection_termination"}, True),
        ("estimate", {"status": 502, "flag": "upstream_protocol_error"}, True),
        ("estimate", {"status": 408, "flag": "stream_idle_timeout"}, True),
        ("estimate", {"status": 503, "flag": "upstream_connection_failure"}, False),
        ("estimate", {"status": 503, "flag": "no_healthy_upstream"}, False),
        ("estimate", {"status": 503, "flag": "upstream_overflow"}, False),
        ("estimate", {"status": 504, "details": "via_upstream"}, False),
        ("estimate", {"status": 503}, False),
        ("zero", {"status": 504, "flag": "upstream_request_timeout"}, False),
    ],
)
async def test_the_gateway_s_own_errors(
    tmp_path: Path,
    setting: str,
    told: dict[str, Any],
    costs: bool,  # noqa: FBT001
) -> None:
    processor = {**LOGGED, "failed_upstream": setting}
    budgets = [{"name": "all", "usd": 10.0, "per": "365d"}]
    async with with_settings(tmp_path, processor=processor, budgets=budgets) as running:
        one = entry(await decided(running.channel), status=told["status"])
        if "flag" in told:
            setattr(one.common_properties.response_flags, told["flag"], True)
        one.response.response_code_details = told.get("details", "")
        await tell(running.channel, one)
        await all_ended(running)
        assert replies(running)["failed"] == 1
        estimated = metric(running, "routoo_estimated_cost_usd_total", model="large")
        (state,) = (await running.stub.GetBudget(budget_pb2.GetBudgetRequest())).budgets
        assert (estimated > 0, state.settled_usd > 0) == (costs, costs)


@pytest.mark.parametrize(
    ("leaves", "least_usd"),
    [
        # A stream of Anthropic's that breaks off after 8,000 bytes of text.
        (
            {
                "message.usage.input_tokens": 1000.0,
                "message.usage.output_tokens": 1.0,
                "flowed": "8000 900 0 0",
            },
            0.0699,
        ),
        # Zeros beside a text.
        (
            {
                "usage.prompt_tokens": 0.0,
                "usage.completion_tokens": 0.0,
                "flowed": "8000 0 0 0",
                "finished": True,
            },
            0.0599,
        ),
    ],
)
async def test_what_is_not_told_is_estimated_and_raised_by_what_has_flowed(
    tmp_path: Path, leaves: dict[str, Any], least_usd: float
) -> None:
    async with with_settings(tmp_path, processor=LOGGED) as running:
        one = entry(await decided(running.channel), left="finished" not in leaves)
        one.common_properties.metadata.filter_metadata["routoo"].update(leaves)
        await tell(running.channel, one)
        await all_ended(running)
        assert replies(running)["read"] == 0
        assert cost_usd(running) >= least_usd
        assert metric(running, "routoo_estimated_cost_usd_total", model="large") >= least_usd
