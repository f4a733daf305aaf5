"""Kinds of task: what a request names, and what its reply tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from routoo.client import AsyncRouterClient
from routoo.v1 import batch_pb2, info_pb2, route_pb2
from support.artifacts.tiny_table_artifact import BENCHMARKS, EVIDENCE, SCORES, TASKS
from support.processor_stream import chat_body, headers_of, stream
from support.tiny_processor import with_settings
from support.tiny_service import refusal, serving, table_settings, tiny_settings

if TYPE_CHECKING:
    from pathlib import Path

BEST = {"policy": {"name": "best"}}


async def test_a_named_task_decides_in_place_of_the_recognised_one(tmp_path: Path) -> None:
    async with serving(table_settings(tmp_path, **BEST)) as running:
        alone = await running.route("hello")
        told = await running.route("hello", task="code")
        assert (alone.model, told.model) == ("small", "large")
        assert round(told.predicted_score, 6) == 0.9
        requests = [route_pb2.RouteRequest(prompt="hello", task=task) for task in ("", *TASKS)]
        batch = await running.stub.RouteBatch(batch_pb2.RouteBatchRequest(requests=requests))
        assert [one.model for one in batch.responses] == ["small", "small", "large", "large"]
        async with AsyncRouterClient(running.service.address) as client:
            assert (await client.route("hello", task="math")).model == "large"


async def test_an_unknown_task_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    async with serving(table_settings(tmp_path)) as running:
        code, text = await refusal(running.route("hello", task="poetry"))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert text == "task: unknown task 'poetry'; this predictor knows chat, code, math"
        request = route_pb2.RouteRequest(prompt="hello", task="poetry")
        batch = batch_pb2.RouteBatchRequest(requests=[request])
        assert "requests[0].task" in (await refusal(running.stub.RouteBatch(batch)))[1]
        info = await running.stub.GetInfo(info_pb2.GetInfoRequest())
        assert tuple(info.tasks) == TASKS


async def test_a_predictor_without_tasks_refuses_every_name(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path)) as running:
        code, text = await refusal(running.route("easy", task="code"))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "tells no tasks apart" in text
        assert not (await running.stub.GetInfo(info_pb2.GetInfoRequest())).tasks


@pytest.mark.parametrize("make", [table_settings, tiny_settings])
async def test_an_unknown_task_is_recognised_where_the_settings_say_so(
    tmp_path: Path, make: Any
) -> None:
    async with serving(make(tmp_path, tasks={"unknown": "recognise"})) as running:
        plain, named = await running.route("easy"), await running.route("easy", task="poetry")
        assert named.model == plain.model
        assert named.predicted_score == plain.predicted_score


async def test_a_reload_takes_what_becomes_of_an_unknown_task(tmp_path: Path) -> None:
    async with serving(table_settings(tmp_path)) as running:
        await refusal(running.route("hello", task="poetry"))
        lenient = table_settings(tmp_path, tasks={"unknown": "recognise"})
        assert await running.service.reloader.start(lambda: lenient) == "switched"
        assert (await running.route("hello", task="poetry")).task == "chat"


async def test_a_header_names_the_task_and_does_not_reach_the_model(tmp_path: Path) -> None:
    settings = table_settings(tmp_path)
    assert settings.predictor.artifact == tmp_path / "predictor"
    async with with_settings(tmp_path, **BEST) as running, stream(running.channel) as one:
        answer = await one.routed(chat_body("hello"), {"x-routoo-task": "code"})
        mutation = answer.request_body.response.header_mutation
        assert headers_of(mutation)["x-routoo-model"] == "large"
        assert "x-routoo-task" in mutation.remove_headers


async def test_a_reply_tells_what_is_known_of_the_prompt(tmp_path: Path) -> None:
    async with serving(table_settings(tmp_path, **BEST)) as running:
        reply = await running.route("code strange", explain=True)
        assert (reply.task, reply.task_confidence, reply.ood) == ("code", 1.0, 1.0)
        assert reply.model == "large"
        assert reply.evidence == EVIDENCE[2, 1]
        assert reply.score_std == pytest.approx(0.1, abs=1e-6)
        by_model = {one.model: one for one in reply.candidates}
        assert by_model["small"].evidence == EVIDENCE[0, 1]
        assert reply.published_averages == BENCHMARKS[2, 1]
        assert by_model["small"].published_averages == BENCHMARKS[0, 1]
        assert by_model["small"].score_std == pytest.approx(0.1, abs=1e-6)
        both = await running.route("code and math")
        assert both.task in {"code", "math"}
        assert both.task_confidence == 0.5
        assert (await running.route("code", task="math")).task == "math"
        assert round((await running.route("code", task="math")).predicted_score, 6) == round(
            float(SCORES[2, 2]), 6
        )


async def test_a_predictor_that_tells_nothing_sets_nothing(tmp_path: Path) -> None:
    async with serving(tiny_settings(tmp_path)) as running:
        reply = await running.route("easy", explain=True)
        for field in (
            "task",
            "task_confidence",
            "ood",
            "score_std",
            "evidence",
            "published_averages",
        ):
            assert not reply.HasField(field)
        for candidate in reply.candidates:
            assert not candidate.HasField("score_std")
            assert not candidate.HasField("evidence")
            assert not candidate.HasField("published_averages")


async def test_prompts_are_counted_by_task_and_by_how_unlike_they_are(tmp_path: Path) -> None:
    async with serving(table_settings(tmp_path)) as running:
        for prompt in ("hello", "code", "code strange"):
            await running.route(prompt)
        value = running.service.metrics.registry.get_sample_value
        assert value("routoo_task_decisions_total", {"task": "chat"}) == 1
        assert value("routoo_task_decisions_total", {"task": "code"}) == 2
        assert value("routoo_prompt_ood_bucket", {"le": "0.5"}) == 2
        assert value("routoo_prompt_ood_bucket", {"le": "+Inf"}) == 3
        assert value("routoo_prompt_ood_sum") == 1.0
