"""Sessions through the API: models stay for their caches, loops are kept, bad input is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from routoo.telemetry.decision_log.reader import read_logs
from routoo.telemetry.decision_log.replay import reproduce
from routoo.v1 import outcome_pb2, route_pb2
from support.tiny_pool import write_cached_pool
from support.tiny_service import batch_of, refusal, serving, tiny_settings

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.config.settings import Settings
    from support.tiny_service import Running

LONG = "hard " * 3000


def settings_of(folder: Path, **overrides: Any) -> Settings:
    write_cached_pool(folder / "pool.yaml")
    return tiny_settings(folder, **overrides)


async def only(running: Running, model: str, **fields: Any) -> route_pb2.RouteResponse:
    """Routes to the one model that is allowed."""
    return await running.route(LONG, allowed_models=[model], **fields)


async def test_a_session_is_counted_and_priced_with_its_cache(tmp_path: Path) -> None:
    async with serving(settings_of(tmp_path)) as running:
        first = await only(running, "large", session_id="s")
        assert (first.session_turns, first.stay_reason) == (0, route_pb2.STAY_REASON_UNSPECIFIED)
        assert not first.HasField("switch_cost_usd")
        second = await running.route(LONG, session_id="s", explain=True)
        costs = {one.model: one.predicted_cost_usd for one in second.candidates}
        assert second.session_turns == 1
        assert second.session_spent_usd == pytest.approx(first.predicted_cost_usd)
        assert second.HasField("switch_cost_usd")
        # It reads from the cache what the others have to write.
        assert costs["large"] < 0.3 * first.predicted_cost_usd
        other = await running.route(LONG, session_id="s", tenant="other", explain=True)
        assert other.session_turns == 0
        none = await running.route(LONG, explain=True)
        assert (none.session_turns, none.session_spent_usd) == (0, 0.0)


async def test_a_report_corrects_what_is_kept(tmp_path: Path) -> None:
    async with serving(settings_of(tmp_path)) as running:
        first = await only(running, "large", session_id="s")
        report = outcome_pb2.ReportOutcomeRequest(
            decision_id=first.decision_id,
            input_tokens=3000,
            output_tokens=100,
            cache_write_tokens=2000,
        )
        assert (await running.stub.ReportOutcome(report, timeout=60)).accepted
        second = await running.route(LONG, session_id="s", explain=True)
        assert second.session_spent_usd == pytest.approx(
            (1000 * 10 + 2000 * 12.5 + 100 * 30) * 1e-6
        )
        failed = outcome_pb2.ReportOutcomeRequest(decision_id=second.decision_id, error="503")
        assert (await running.stub.ReportOutcome(failed, timeout=60)).accepted
        third = await running.route(LONG, session_id="s", explain=True)
        assert third.session_spent_usd == pytest.approx(second.session_spent_usd)


async def test_a_tool_loop_keeps_its_model_until_the_result_is_answered(tmp_path: Path) -> None:
    def chat(*roles: str) -> list[route_pb2.ChatMessage]:
        return [route_pb2.ChatMessage(role=role, content="easy") for role in roles]

    async with serving(settings_of(tmp_path)) as running:
        await only(running, "large", session_id="s")

        async def turn(*roles: str, **fields: Any) -> route_pb2.RouteResponse:
            request = route_pb2.RouteRequest(messages=chat(*roles), session_id="s", **fields)
            reply: route_pb2.RouteResponse = await running.stub.Route(request, timeout=60)
            return reply

        held = await turn("user", "assistant", "tool")
        assert (held.model, held.stay_reason) == ("large", route_pb2.STAY_REASON_TOOL_LOOP)
        assert "tool_loop" in held.reason.binding_constraints
        code, text = await refusal(turn("user", "assistant", "tool", denied_models=["large"]))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert "tool_loop leaves no eligible model" in text
        freed = await turn("user", "assistant", "tool", "assistant", "user", max_cost_usd=1e-4)
        assert freed.model != "large"


async def test_callers_may_keep_their_sessions_themselves(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, sessions={"enabled": False})
    async with serving(settings) as running:
        reply = await running.route(
            LONG, current_model="large", cached_input_tokens=2900, explain=True
        )
        costs = {one.model: one.predicted_cost_usd for one in reply.candidates}
        alone = await running.route(LONG, explain=True)
        plain = {one.model: one.predicted_cost_usd for one in alone.candidates}
        assert costs["large"] < 0.3 * plain["large"]
        assert costs["medium"] > plain["medium"]
        code, text = await refusal(running.route(session_id="s"))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "session_id: is not read, as sessions.enabled" in text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"session_id": "x" * 100_000}, "session_id: 100000 characters; send at most 512"),
        ({"current_model": "gone"}, "current_model: unknown model 'gone'; the pool has"),
        ({"cached_input_tokens": 5}, "cached_input_tokens: is of no model; set current_model"),
        ({"cached_input_tokens": 0, "session_id": "s"}, "cached_input_tokens: is of no model"),
    ],
)
async def test_bad_sessions_are_refused(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    async with serving(settings_of(tmp_path)) as running:
        code, text = await refusal(running.route(**fields))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert said in text


async def test_turns_of_batches_are_priced_with_their_caches(tmp_path: Path) -> None:
    async with serving(settings_of(tmp_path)) as running:
        await only(running, "large", session_id="s")
        batch = batch_of([LONG, LONG], budget_usd=10.0)
        batch.requests[0].session_id = "s"
        batch.requests[0].allowed_models.append("large")
        batch.requests[1].allowed_models.append("large")
        reply = await running.stub.RouteBatch(batch, timeout=60)
        turn, alone = reply.responses
        assert turn.predicted_cost_usd < 0.3 * alone.predicted_cost_usd
        assert (turn.session_turns, alone.session_turns) == (1, 0)
        assert turn.stay_reason == route_pb2.STAY_REASON_BEST


async def test_sessions_are_replayed_to_the_bit(tmp_path: Path) -> None:
    log = tmp_path / "decisions.jsonl"
    settings = settings_of(
        tmp_path,
        decision_log={"path": log},
        budgets=[{"name": "all", "usd": 0.5, "per": "1h", "on_exhausted": "cheapest"}],
        policy={"name": "lp", "offered": ["cheapest", "best"]},
    )
    async with serving(settings) as running:
        for turn in range(12):
            for session in ("a", "b", ""):
                await running.route(
                    ("easy ", "hard ", "long ")[turn % 3] * (300 * turn + 1),
                    session_id=session,
                    policy=("", "cheapest", "best")[(turn // 4) % 3],
                    **({"max_output_tokens": 50} if turn % 2 else {}),
                )
        batch = batch_of([LONG, "easy"], budget_usd=10.0)
        batch.requests[0].session_id = "a"
        await running.stub.RouteBatch(batch, timeout=60)
    again = reproduce(read_logs([log]))
    assert again.decisions == 38
    assert again.mismatches == []
    assert again.findings == []
