"""RouteStream sends replies as they are ready, matched by request_id."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from routoo.api.security.gate import ANYONE_IN
from routoo.v1 import route_pb2
from support.tiny_service import Running, serving, tiny_settings
from support.watched import HANG_S, give_up_in_time, watch_accepted, watch_answered, watch_predictor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

STREAM = "/routoo.v1.RouterService/RouteStream"


@pytest.fixture
async def tiny(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(tiny_settings(tmp_path)) as running:
        yield running


def request(name: object, prompt: str = "easy", **fields: object) -> route_pb2.RouteRequest:
    return route_pb2.RouteRequest(request_id=str(name), prompt=prompt, **fields)  # type: ignore[arg-type]


async def replies(
    running: Running, requests: Iterable[route_pb2.RouteRequest]
) -> dict[str, route_pb2.RouteResponse]:
    """Sends all requests, and returns all replies by request_id."""
    sent = list(requests)
    found: dict[str, route_pb2.RouteResponse] = {}
    async with asyncio.timeout(HANG_S):
        async for reply in running.stub.RouteStream(iter(sent)):
            assert reply.request_id not in found
            found[reply.request_id] = reply
    assert set(found) == {one.request_id for one in sent}
    return found


async def test_a_thousand_requests_are_matched_by_id(tiny: Running) -> None:
    def prompt(name: int) -> str:
        return " ".join(["hard"] * (1 + name % 9))

    found = await replies(tiny, (request(name, prompt(name)) for name in range(1000)))
    for name in range(1000):
        assert found[str(name)].input_tokens == 1 + name % 9
        assert found[str(name)].model == found[str(name % 9)].model
        assert not found[str(name)].HasField("error")
    assert len({reply.decision_id for reply in found.values()}) == 1000


async def test_a_stream_decides_as_single_calls_do(tiny: Running) -> None:
    prompts = ["easy", "hard", "long", "else", "hard else"]
    found = await replies(tiny, (request(prompt, prompt) for prompt in prompts))
    for prompt in prompts:
        alone = await tiny.route(prompt)
        assert found[prompt].model == alone.model
        assert found[prompt].reason == alone.reason


async def test_an_error_in_the_middle_does_not_end_the_stream(tiny: Running) -> None:
    found = await replies(
        tiny,
        [
            request("before"),
            request("empty", ""),
            request("unknown", allowed_models=["gpt-9"]),
            request("none left", min_score=1.0),
            request("after"),
        ],
    )
    assert found["before"].model == found["after"].model == "small"
    for name, code, line in (
        ("empty", grpc.StatusCode.INVALID_ARGUMENT, "prompt: is empty"),
        ("unknown", grpc.StatusCode.INVALID_ARGUMENT, "allowed_models: unknown model 'gpt-9'"),
        ("none left", grpc.StatusCode.FAILED_PRECONDITION, "min_score 1 (lower it by"),
    ):
        error = found[name].error
        assert error.code == code.value[0]
        assert error.message.startswith(line)
        assert found[name].model == ""


async def test_garbage_in_the_middle_does_not_end_the_stream(tiny: Running) -> None:
    bodies = [
        request("before").SerializeToString(),
        b"\xff\xff\xff\xff",
        b"\x12\x02\xff\xfe",
        request("after").SerializeToString(),
    ]
    call = tiny.channel.stream_stream(
        STREAM, response_deserializer=route_pb2.RouteResponse.FromString
    )
    async with asyncio.timeout(HANG_S):
        found = [reply async for reply in call(iter(bodies))]
    assert sorted(reply.request_id for reply in found) == ["", "", "after", "before"]
    errors = [reply.error for reply in found if reply.HasField("error")]
    assert [error.code for error in errors] == [grpc.StatusCode.INVALID_ARGUMENT.value[0]] * 2


async def test_a_failing_predictor_does_not_end_the_stream(tiny: Running) -> None:
    watched = watch_predictor(tiny.service.engine)
    call = tiny.stub.RouteStream()
    watched.fail = [ValueError("some secret")]
    await call.write(request("fails"))
    failed = await call.read()
    await call.write(request("works"))
    works = await call.read()
    await call.done_writing()
    assert failed.error.code == grpc.StatusCode.INTERNAL.value[0]
    assert "secret" not in failed.error.message
    assert works.model == "small"
    assert await call.read() is grpc.aio.EOF


async def test_an_empty_stream_ends(tiny: Running) -> None:
    assert await replies(tiny, []) == {}


async def test_replies_come_before_the_caller_has_sent_everything(tiny: Running) -> None:
    call = tiny.stub.RouteStream()
    for name in ("first", "second"):
        await call.write(request(name))
        assert (await call.read()).request_id == name
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_cancelled_stream_harms_nobody(tiny: Running) -> None:
    watched, accepted = watch_predictor(tiny.service.engine), watch_accepted(tiny.service)
    answered = watch_answered(tiny.service)
    watched.hold()
    gone = tiny.stub.RouteStream()
    await gone.write(request("a"))
    await watched.calls.reached(1)
    await gone.write(request("b", "hard"))
    await accepted.reached(2)
    stays = asyncio.create_task(replies(tiny, [request("c", "else")]))
    await accepted.reached(3)
    gone.cancel()
    await answered.reached(2)
    watched.release()
    assert set(await stays) == {"c"}
    assert answered.items[:2] == [("RouteStream", "CANCELLED")] * 2
    assert watched.seen == ["easy", "else"], "what was cancelled in the queue is not predicted"


async def test_a_full_queue_is_told_request_by_request(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, batching={"max_queue": 2})
    async with serving(settings) as running:
        watched = watch_predictor(running.service.engine)
        watched.hold()
        call = running.stub.RouteStream()
        await call.write(request("runs"))
        await watched.calls.reached(1)
        for name in ("waits", "waits too", "too many"):
            await call.write(request(name))
        refused = await call.read()
        assert refused.request_id == "too many"
        assert refused.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        watched.release()
        await call.done_writing()
        rest = {(await call.read()).request_id for _ in range(3)}
        assert rest == {"runs", "waits", "waits too"}
        assert await call.read() is grpc.aio.EOF


async def test_a_stream_has_no_more_in_flight_than_its_limit(tmp_path: Path) -> None:
    limits = {"max_stream_in_flight": 4}
    async with serving(tiny_settings(tmp_path, limits=limits)) as running:
        found = await replies(running, (request(name) for name in range(200)))
        assert max(reply.timing.batch_size for reply in found.values()) <= 4


async def test_a_caller_who_does_not_read_is_not_read(tmp_path: Path) -> None:
    """Calls the handler without a transport, which would buffer an unknown number of requests."""
    taken = 0

    async def bodies() -> AsyncIterator[bytes]:
        nonlocal taken
        for name in range(50):
            taken += 1
            yield request(name).SerializeToString()

    limits = {"max_stream_in_flight": 4}
    async with serving(tiny_settings(tmp_path, limits=limits)) as running:
        answered = watch_answered(running.service)
        stream = running.service._router._route_stream(bodies(), NoDeadline(), ANYONE_IN)
        await anext(stream)
        await answered.reached(4)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(answered.items) == 4
        assert taken == 5, "the one that waits for room has been read, no other"
        rest = [reply async for reply in stream]
        assert len(rest) == 49
        assert taken == 50


class NoDeadline:
    """The part of a gRPC context that the handler uses."""

    def time_remaining(self) -> None:
        return None


async def test_a_stream_over_when_its_deadline_passes(tiny: Running) -> None:
    watched, answered = watch_predictor(tiny.service.engine), watch_answered(tiny.service)
    watched.hold()

    async def late(timeout_s: float) -> None:
        call = tiny.stub.RouteStream(timeout=timeout_s)
        try:
            await call.write(request("late"))
        except (grpc.RpcError, asyncio.InvalidStateError):
            return  # its time was up before, of which grpc.aio may say INTERNAL
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    await give_up_in_time(watched.calls, late)
    await answered.reached(1)
    watched.release()
    assert (await tiny.route("easy")).model == "small"
