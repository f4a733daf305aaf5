"""Faults of the service and its absence are told apart: in answers, logs and counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from routoo.api.llm import router
from routoo.api.overload import Overload
from routoo.errors import QueueFullError
from routoo.telemetry.decision_log.reader import read_logs
from support.processor_stream import headers_of, stream
from support.tiny_processor import metric, processor_of, with_settings
from support.watched import watch_predictor

if TYPE_CHECKING:
    from pathlib import Path

    from support.tiny_service import Running


def faults(running: Running) -> dict[str, float]:
    return {
        reason: metric(running, "routoo_http_faults_total", reason=reason)
        for reason in ("internal", "unavailable")
    }


def failures(path: Path) -> list[dict[str, Any]]:
    """Returns the log's lines of requests without a decision, without their times."""
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
    return [
        {name: value for name, value in line.items() if name != "time"}
        for line in lines
        if line["kind"] == "failure"
    ]


@pytest.mark.parametrize(
    ("processor", "model"),
    [
        ({}, None),
        ({"fallback_model": "large"}, "large"),
        ({"fallback_model": "large", "fallback_on": ["unavailable"]}, None),
    ],
)
async def test_an_internal_error_has_an_id_and_a_line_in_both_logs(
    tmp_path: Path, processor: dict[str, Any], model: str | None
) -> None:
    path = tmp_path / "decisions.jsonl"
    async with with_settings(tmp_path, processor=processor, decision_log={"path": path}) as running:
        watch_predictor(running.service.engine).fail.append(ZeroDivisionError("secret"))
        async with stream(running.channel) as one:
            answer = await one.routed()
        async with stream(running.channel) as one:
            await one.routed()
        assert faults(running) == {"internal": 1, "unavailable": 0}
    (logged,) = [line for line in running.logs if line["event"] == "call failed"]
    decision_id = logged["decision_id"]
    (line,) = failures(path)
    expected = {"kind": "failure", "id": decision_id, "reason": "internal"}
    assert line == expected | ({} if model is None else {"model": model})
    if model is None:
        refused = answer.immediate_response
        assert refused.status.code == 500
        assert headers_of(refused.headers)["x-routoo-decision-id"] == decision_id
        error = orjson.loads(refused.body)["error"]
        assert (error["code"], error["type"]) == ("internal", "api_error")
        assert "secret" not in error["message"]
    else:
        told = headers_of(answer.request_body.response.header_mutation)
        assert told["x-routoo-model"] == model
        assert "x-routoo-decision-id" not in told  # there is no decision to settle
    log = read_logs([path])
    assert (log.count, log.findings) == (1, [])


async def test_a_service_that_stops_says_so_under_an_id(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    async with with_settings(tmp_path, decision_log={"path": path}) as running:
        await processor_of(running).close(0.0)
        async with stream(running.channel) as one:
            refused = (await one.routed()).immediate_response
        assert faults(running) == {"internal": 0, "unavailable": 1}
    assert refused.status.code == 503
    assert orjson.loads(refused.body)["error"]["code"] == "unavailable"
    decision_id = headers_of(refused.headers)["x-routoo-decision-id"]
    (logged,) = [line for line in running.logs if line["event"] == "call not answered"]
    assert (logged["log_level"], logged["decision_id"]) == ("warning", decision_id)
    assert failures(path) == [{"kind": "failure", "id": decision_id, "reason": "unavailable"}]


async def test_the_fallback_answers_while_the_service_stops_or_is_overloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "decisions.jsonl"
    processor = {"fallback_model": "large"}
    async with with_settings(tmp_path, processor=processor, decision_log={"path": path}) as running:

        async def model() -> str:
            async with stream(running.channel) as one:
                routed = (await one.routed()).request_body.response
            return headers_of(routed.header_mutation)["x-routoo-model"]

        with monkeypatch.context() as patch:
            patch.setattr(Overload, "check", _refuses)
            assert await model() == "large"
        assert faults(running) == {"internal": 0, "unavailable": 0}
        await processor_of(running).close(0.0)
        assert await model() == "large"
        assert faults(running) == {"internal": 0, "unavailable": 1}
    (line,) = failures(path)
    assert (line["reason"], line["model"]) == ("unavailable", "large")


def _refuses(*_: object) -> None:
    raise QueueFullError("too many")


async def test_the_caller_s_own_errors_have_no_id(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    async with (
        with_settings(tmp_path, decision_log={"path": path}) as running,
        stream(running.channel) as one,
    ):
        refused = (await one.routed(headers={"x-routoo-min-score": "2"})).immediate_response
        assert refused.status.code == 400
        assert "x-routoo-decision-id" not in headers_of(refused.headers)
        assert faults(running) == {"internal": 0, "unavailable": 0}
    assert not failures(path)


async def test_a_body_that_cannot_be_understood_never_reaches_the_fallback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(router, "asked_by", breaks)
    processor = {"fallback_model": "large", "fallback_on": ["internal", "unavailable"]}
    async with (
        with_settings(tmp_path, processor=processor) as running,
        stream(running.channel) as one,
    ):
        assert (await one.routed()).immediate_response.status.code == 500
        assert faults(running)["internal"] == 1
