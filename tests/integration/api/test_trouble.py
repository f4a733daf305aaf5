"""Callers that give up, full queues and failing predictors get the right status."""

from __future__ import annotations

import asyncio
import inspect
from time import monotonic
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

import routoo.engine.batcher
from routoo import errors
from routoo.api.status import INTERNAL_TEXT, STATUS
from routoo.v1 import route_pb2
from support.artifacts.tiny_artifact import SCORES, write_tiny_artifact
from support.tiny_service import Running, batch_of, refusal, serving, tiny_settings
from support.watched import (
    HANG_S,
    WatchedPredictor,
    first_row_only,
    give_up_in_time,
    in_progress,
    watch_accepted,
    watch_answered,
    watch_predictor,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

INTERNAL = (grpc.StatusCode.INTERNAL, INTERNAL_TEXT)
# However slow the machine is, no call is refused as others would take too long.
PATIENT = {"max_wait_ms": 3_600_000, "overloaded_wait_ms": 3_600_000}


@pytest.fixture
async def tiny(tmp_path: Path) -> AsyncIterator[Running]:
    batching = {"max_batch": 4, "max_queue": 3, "max_joint": 2}
    settings = tiny_settings(tmp_path, batching=batching, overload=PATIENT)
    async with serving(settings) as running:
        yield running


@pytest.fixture
async def watched(tiny: Running) -> WatchedPredictor:
    return watch_predictor(tiny.service.engine)


def dropped(running: Running, reason: str) -> float:
    found = running.service.metrics.registry.get_sample_value(
        "routoo_dropped_requests_total", {"reason": reason}
    )
    return found or 0.0


def call(running: Running, prompt: str, timeout_s: float = HANG_S) -> Any:
    return running.stub.Route(route_pb2.RouteRequest(prompt=prompt), timeout=timeout_s)


async def too_late(waiting: Any) -> None:
    code, _ = await refusal(waiting)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_deadline_that_passes_in_the_queue_is_told_and_nothing_is_predicted(
    tiny: Running, watched: WatchedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = watch_accepted(tiny.service)
    watched.hold()
    first = call(tiny, "easy", 2 * HANG_S)
    await watched.calls.reached(1)
    late = call(tiny, "late", HANG_S)
    await accepted.reached(2)
    monkeypatch.setattr(routoo.engine.batcher, "monotonic", lambda: monotonic() + 1.5 * HANG_S)
    watched.release()
    assert await refusal(late) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "the deadline passed while the request waited",
    )
    assert (await first).model == "small"
    assert watched.seen == ["easy"]
    assert dropped(tiny, "expired") == 1
    assert dropped(tiny, "cancelled") == 0


async def test_a_caller_whose_time_is_up_does_not_wait_for_the_predictor(
    tiny: Running, watched: WatchedPredictor
) -> None:
    accepted = watch_accepted(tiny.service)
    watched.hold()
    first = call(tiny, "easy")
    await watched.calls.reached(1)
    await give_up_in_time(accepted, lambda timeout_s: too_late(call(tiny, "late", timeout_s)))
    await in_progress(tiny.service, 1)
    watched.release()
    assert (await first).model == "small"
    assert (await call(tiny, "hard")).model == "large"
    assert watched.seen == ["easy", "hard"]
    late = accepted.items.count("late")
    assert dropped(tiny, "expired") + dropped(tiny, "cancelled") == late


async def test_a_deadline_that_has_passed_already(tiny: Running, watched: WatchedPredictor) -> None:
    code, _ = await refusal(call(tiny, "late", -1.0))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await call(tiny, "easy")).model == "small"
    assert watched.seen == ["easy"]


async def test_a_batch_stops_at_its_deadline(tiny: Running, watched: WatchedPredictor) -> None:
    watched.hold()
    await give_up_in_time(
        watched.calls, lambda timeout_s: too_late(batch_call(tiny, 40, timeout_s))
    )
    await in_progress(tiny.service, 0)
    watched.release()
    assert (await call(tiny, "hard")).model == "large"
    assert watched.calls.items == [["easy"] * 4, ["hard"]]


def batch_call(running: Running, size: int, timeout_s: float = HANG_S) -> Any:
    return running.stub.RouteBatch(batch_of(["easy"] * size, budget_usd=1.0), timeout=timeout_s)


async def test_a_caller_who_cancels_harms_nobody_in_the_batch(
    tiny: Running, watched: WatchedPredictor
) -> None:
    accepted, answered = watch_accepted(tiny.service), watch_answered(tiny.service)
    watched.hold()
    first = call(tiny, "easy")
    await watched.calls.reached(1)
    gone, stays, stays_too = call(tiny, "gone"), call(tiny, "hard"), call(tiny, "easy hard")
    await accepted.reached(4)
    gone.cancel()
    await answered.reached(1)
    assert answered.items == [("Route", "CANCELLED")]
    watched.release()
    assert [(await one).model for one in (first, stays, stays_too)] == ["small", *["large"] * 2]
    assert sorted(watched.seen) == ["easy", "easy hard", "hard"]
    assert dropped(tiny, "cancelled") == 1


async def test_a_caller_who_cancels_during_inference_harms_nobody(
    tiny: Running, watched: WatchedPredictor
) -> None:
    accepted, answered = watch_accepted(tiny.service), watch_answered(tiny.service)
    watched.hold()
    first = call(tiny, "easy")
    await watched.calls.reached(1)
    gone, stays = call(tiny, "gone"), call(tiny, "hard")
    await accepted.reached(3)
    watched.release()
    await first
    watched.hold()
    gone.cancel()
    await answered.reached(2)
    watched.release()
    assert (await stays).model == "large"


async def test_a_cancelled_batch_stops_and_harms_nobody(
    tiny: Running, watched: WatchedPredictor
) -> None:
    answered = watch_answered(tiny.service)
    watched.hold()
    batch = batch_call(tiny, 40)
    await watched.calls.reached(1)
    batch.cancel()
    await answered.reached(1)
    watched.release()
    assert (await call(tiny, "hard")).model == "large"
    assert watched.calls.items == [["easy"] * 4, ["hard"]]


async def test_a_full_queue_refuses_and_recovers(tiny: Running, watched: WatchedPredictor) -> None:
    accepted = watch_accepted(tiny.service)
    watched.hold()
    first = call(tiny, "easy")
    await watched.calls.reached(1)
    waiting = [call(tiny, "hard") for _ in range(3)]
    await accepted.reached(4)
    for _ in range(3):
        assert await refusal(call(tiny, "one too many")) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "3 requests wait already; retry later or add replicas",
        )
    watched.release()
    assert [(await one).model for one in (first, *waiting)] == ["small", *["large"] * 3]
    assert (await call(tiny, "easy")).model == "small"
    assert "one too many" not in watched.seen


async def test_one_batch_too_many_is_refused_and_the_others_go_on(
    tiny: Running, watched: WatchedPredictor
) -> None:
    accepted = watch_accepted(tiny.service)
    watched.hold()
    running = [
        asyncio.ensure_future(tiny.stub.RouteBatch(batch_of(["easy", "hard"]), timeout=HANG_S))
        for _ in range(2)
    ]
    await accepted.reached(2)
    assert await refusal(tiny.stub.RouteBatch(batch_of(["easy"]), timeout=HANG_S)) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "2 batches are in progress already; retry later or add replicas",
    )
    watched.release()
    for one in running:
        assert [each.model for each in (await one).responses] == ["small", "large"]


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.RoutooError)
    ],
    ids=lambda kind: kind.__name__,
)
async def test_every_error_reaches_the_caller_with_its_status(
    tiny: Running, watched: WatchedPredictor, kind: type[errors.RoutooError]
) -> None:
    watched.fail = [kind("a\ndetail") for _ in range(3)]
    expected = (STATUS[kind], "a detail") if kind in STATUS else INTERNAL
    assert await refusal(call(tiny, "easy")) == expected
    assert await refusal(batch_call(tiny, 1)) == expected
    stream = tiny.stub.RouteStream(timeout=HANG_S)
    await stream.write(route_pb2.RouteRequest(prompt="easy", request_id="mine"))
    reply = await stream.read()
    await stream.done_writing()
    assert reply.request_id == "mine"
    assert (reply.error.code, reply.error.message) == (expected[0].value[0], expected[1])
    assert (await call(tiny, "easy")).model == "small"


@pytest.mark.parametrize(
    "error",
    [ValueError("secret"), MemoryError("secret"), StopIteration("secret"), SystemExit("secret")],
    ids=lambda error: type(error).__name__,
)
async def test_what_a_predictor_raises_stays_inside(
    tiny: Running, watched: WatchedPredictor, error: BaseException
) -> None:
    watched.fail = [error, error]
    assert await refusal(call(tiny, "easy")) == INTERNAL
    assert await refusal(batch_call(tiny, 1)) == INTERNAL
    assert (await call(tiny, "easy")).model == "small"
    answered = tiny.service.metrics.registry.get_sample_value(
        "routoo_requests_total", {"rpc": "Route", "code": "INTERNAL"}
    )
    assert answered == 1
    failures = [one for one in tiny.logs if one["event"] == "call failed"]
    assert [one["rpc"] for one in failures] == ["Route", "RouteBatch"]


async def test_a_predictor_that_loses_rows(tiny: Running, watched: WatchedPredictor) -> None:
    accepted = watch_accepted(tiny.service)
    watched.hold()
    first = call(tiny, "easy")
    await watched.calls.reached(1)
    waiting = [call(tiny, "easy"), call(tiny, "hard")]
    await accepted.reached(3)
    watched.change = first_row_only
    watched.release()
    assert (await first).model == "small"
    for one in waiting:
        assert await refusal(one) == INTERNAL
    watched.change = lambda prediction: prediction
    assert (await call(tiny, "hard")).model == "large"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
async def test_a_graph_that_answers_no_number(tmp_path: Path, bad: float) -> None:
    """A real graph, in which one word of the vocabulary has a broken row, is run by onnxruntime."""
    scores = SCORES.copy()
    scores[3, 1] = bad
    write_tiny_artifact(tmp_path / "predictor", scores=scores)
    async with serving(tiny_settings(tmp_path)) as running:
        assert (await running.route("easy")).model == "small"
        assert await refusal(running.route("hard")) == INTERNAL
        assert await refusal(running.batch(["easy", "hard"], budget_usd=1.0)) == INTERNAL
        assert (await running.route("easy")).model == "small"


async def test_many_callers_at_once_are_all_answered(tmp_path: Path) -> None:
    """No reply is lost or mixed up under load, while some callers cancel."""
    patient = {**PATIENT, "max_unseen": 4096}
    settings = tiny_settings(tmp_path, batching={"max_batch": 16}, overload=patient)
    async with serving(settings) as running:
        prompts = [" ".join(["hard"] * (1 + row % 30)) for row in range(600)]
        calls = [call(running, prompt, 4 * HANG_S) for prompt in prompts]
        for row in range(0, 600, 7):
            calls[row].cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        for row, outcome in enumerate(outcomes):
            if row % 7:
                assert isinstance(outcome, route_pb2.RouteResponse), outcome
                assert outcome.input_tokens == 1 + row % 30
                assert outcome.timing.batch_size <= 16
            else:
                assert isinstance(outcome, asyncio.CancelledError)
