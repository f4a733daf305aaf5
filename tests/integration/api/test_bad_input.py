"""Bad requests on a real channel get a status and a message that names the remedy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import pytest_asyncio

from routoo.v1 import (
    batch_pb2,
    info_pb2,
    outcome_pb2,
    route_pb2,
)
from support.tiny_service import ROUTE, Running, batch_of, refusal, serving, tiny_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="module")

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NO_MODEL = grpc.StatusCode.FAILED_PRECONDITION
TEN_MEGABYTES = 10 * 1024 * 1024
UNUSABLE = (math.nan, math.inf, -math.inf, -0.01)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tiny(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    limits = {"max_batch_prompts": 20, "max_message_bytes": 16 * 1024 * 1024}
    async with serving(tiny_settings(tmp_path_factory.mktemp("tiny"), limits=limits)) as running:
        yield running


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _serves_the_next_request(tiny: Running) -> AsyncIterator[None]:
    """Checks after each test that the service still answers a good request."""
    yield
    assert (await tiny.route("easy")).model == "small"


def chat(*contents: str) -> list[route_pb2.ChatMessage]:
    return [route_pb2.ChatMessage(role="user", content=content) for content in contents]


@pytest.mark.parametrize("text", ["", " ", "\n\t\r \u2003"])
async def test_an_empty_prompt(tiny: Running, text: str) -> None:
    assert await refusal(tiny.route(text)) == (
        INVALID,
        "prompt: is empty; there is nothing to route",
    )


async def test_a_chat_without_text(tiny: Running) -> None:
    request = route_pb2.RouteRequest(messages=chat("", " "))
    assert await refusal(tiny.stub.Route(request)) == (
        INVALID,
        "messages: is empty; there is nothing to route",
    )


async def test_prompt_and_messages_both_set(tiny: Running) -> None:
    assert await refusal(tiny.route("easy", messages=chat("hard"))) == (
        INVALID,
        "prompt: set either prompt or messages, not both",
    )


async def test_a_prompt_of_ten_megabytes(tiny: Running) -> None:
    code, text = await refusal(tiny.route("x" * TEN_MEGABYTES))
    assert (code, text) == (INVALID, f"prompt: {TEN_MEGABYTES} characters; send at most 1000000")


async def test_a_chat_of_ten_megabytes(tiny: Running) -> None:
    request = route_pb2.RouteRequest(messages=chat(*["x" * 1024] * 10 * 1024))
    code, text = await refusal(tiny.stub.Route(request))
    assert code is INVALID
    assert text.startswith("messages: ")


async def test_a_message_over_the_transports_limit(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, limits={"max_message_bytes": 1024 * 1024})
    async with serving(settings) as small:
        code, _ = await refusal(small.route("x" * TEN_MEGABYTES))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await small.route("easy")).model == "small"


@pytest.mark.parametrize(
    "body",
    [
        b"\x12\x02\xff\xfe",
        b"\x12\x04ab\xc3\x28",
        b"\x3a\x01\x80",
        b"\xff\xff\xff\xff",
        b"\x12\x7fshort",
        bytes(range(256)),
    ],
    ids=["prompt", "prompt half", "allowed_models", "garbage tag", "cut off", "all bytes"],
)
async def test_a_body_that_is_no_message(tiny: Running, body: bytes) -> None:
    """Invalid UTF-8 and garbage, which a generated client cannot send, are refused."""
    call = tiny.channel.unary_unary(ROUTE)
    code, text = await refusal(call(body, timeout=60))
    assert code is INVALID
    assert text.startswith("the body is not a routoo.v1.RouteRequest: malformed, or a string")


@pytest.mark.parametrize("method", ["RouteBatch", "ListModels", "GetInfo"])
async def test_garbage_for_any_method(tiny: Running, method: str) -> None:
    call = tiny.channel.unary_unary(f"/routoo.v1.RouterService/{method}")
    code, text = await refusal(call(b"\xff\xff\xff\xff", timeout=60))
    assert code is INVALID
    assert f"the body is not a routoo.v1.{method}Request" in text


@pytest.mark.parametrize("field", ["allowed_models", "denied_models"])
async def test_an_unknown_model(tiny: Running, field: str) -> None:
    assert await refusal(tiny.route("easy", **{field: ["small", "gpt-9"]})) == (
        INVALID,
        f"{field}: unknown model 'gpt-9'; the pool has small, medium, large",
    )


async def test_an_unknown_capability(tiny: Running) -> None:
    code, text = await refusal(tiny.route("easy", required_capabilities=["telepathy"]))
    assert code is INVALID
    assert text.startswith("required_capabilities: unknown capability 'telepathy'; the pool has")


@pytest.mark.parametrize(
    "name", ["x" * 100_000, "\N{GRINNING FACE}" * 50_000, "a\r\nb: c\x00" * 99]
)
async def test_a_hostile_model_name_is_cut_to_one_short_line(tiny: Running, name: str) -> None:
    code, text = await refusal(tiny.route("easy", allowed_models=[name]))
    assert code is INVALID
    assert text.startswith("allowed_models: unknown model '")
    assert text.endswith("...")
    assert len(text) == 500
    assert text.isprintable()


async def test_an_unknown_policy(tiny: Running) -> None:
    code, text = await refusal(tiny.route("easy", policy="random"))
    assert code is INVALID
    assert text == (
        "policy: unknown policy 'random'; this service has lp; policy.offered of its settings may"
        " name more"
    )


# "easy" has a score of 0.875 with every model and 10 output tokens; "long" has 0.375, 0.5 and 0.625
# by model, and 5000 output tokens.
@pytest.mark.parametrize(
    ("prompt", "constraints", "line"),
    [
        (
            "easy",
            {"allowed_models": ["small"], "denied_models": ["small"]},
            "denied_models leaves no eligible model",
        ),
        (
            "easy",
            {"denied_models": ["large"], "allowed_models": ["small", "large"],
             "required_capabilities": ["tools"]},
            "required_capabilities leaves no eligible model",
        ),
        (
            "easy",
            {"required_capabilities": ["audio", "vision"]},
            "required_capabilities leaves no eligible model",
        ),
        (
            "long",
            {"allowed_models": ["small"]},
            "context_window_tokens leaves no eligible model",
        ),
        (
            "easy",
            {"expected_output_tokens": 4_000_000_000},
            "context_window_tokens leaves no eligible model",
        ),
        (
            "easy",
            {"max_latency_ms": 100},
            "max_latency_ms 100 (raise it by 20 to admit one) leaves no eligible model",
        ),
        (
            "easy",
            {"max_cost_usd": 0, "allowed_models": ["large"]},
            "max_cost_usd 0 (raise it by 0.00031 to admit one) leaves no eligible model",
        ),
        (
            "easy",
            {"min_score": 1},
            "min_score 1 (lower it by 0.125 to admit one) leaves no eligible model",
        ),
        (
            "hard",
            {"max_cost_usd": 0.001, "min_score": 0.75},
            "min_score 0.75 (lower it by 0.25 to admit one) leaves no eligible model",
        ),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)  # fmt: skip
async def test_constraints_that_leave_no_model(
    tiny: Running, prompt: str, constraints: dict[str, Any], line: str
) -> None:
    assert await refusal(tiny.route(prompt, **constraints)) == (NO_MODEL, line)


async def test_a_batch_in_which_one_prompt_has_no_model(tiny: Running) -> None:
    batch = batch_of(["easy", "easy"], budget_usd=1.0)
    batch.requests[1].min_score = 1.0
    code, text = await refusal(tiny.stub.RouteBatch(batch))
    assert code is NO_MODEL
    assert text.startswith("requests[1]: min_score 1 (lower it by 0.125")


@pytest.mark.parametrize("field", ["max_cost_usd", "min_score", "max_latency_ms"])
@pytest.mark.parametrize("value", UNUSABLE)
async def test_a_number_that_is_no_amount(tiny: Running, field: str, value: float) -> None:
    assert await refusal(tiny.route("easy", **{field: value})) == (
        INVALID,
        f"{field}: {value} is not a finite number of at least 0",
    )


@pytest.mark.parametrize("field", ["budget_usd", "min_mean_score"])
@pytest.mark.parametrize("value", UNUSABLE)
async def test_a_batch_number_that_is_no_amount(tiny: Running, field: str, value: float) -> None:
    assert await refusal(tiny.batch(["easy"], **{field: value})) == (
        INVALID,
        f"{field}: {value} is not a finite number of at least 0",
    )


async def test_scores_above_1(tiny: Running) -> None:
    assert await refusal(tiny.route("easy", min_score=1.5)) == (
        INVALID,
        "min_score: 1.5 is above 1; scores are in [0, 1]",
    )
    assert await refusal(tiny.batch(["easy"], min_mean_score=1.5)) == (
        INVALID,
        "min_mean_score: 1.5 is above 1; scores are in [0, 1]",
    )


@pytest.mark.parametrize(("size", "said"), [(0, "0"), (21, "more than 20"), (99, "more than 20")])
async def test_a_batch_outside_the_limit(tiny: Running, size: int, said: str) -> None:
    assert await refusal(tiny.batch(["easy"] * size, budget_usd=1.0)) == (
        INVALID,
        f"requests: {said} prompts; send 1 to 20 in one batch",
    )
    assert len((await tiny.batch(["easy"] * 20, budget_usd=1.0)).responses) == 20


async def test_a_bad_request_in_a_batch_is_named(tiny: Running) -> None:
    batch = batch_of(["easy", "easy", " "], budget_usd=1.0)
    code, text = await refusal(tiny.stub.RouteBatch(batch))
    assert (code, text) == (INVALID, "requests[2].prompt: is empty; there is nothing to route")
    batch.requests[2].prompt = "easy"
    batch.requests[2].denied_models.append("gpt-9")
    code, text = await refusal(tiny.stub.RouteBatch(batch))
    assert code is INVALID
    assert text.startswith("requests[2].denied_models: unknown model 'gpt-9'")


async def test_a_policy_in_a_batch(tiny: Running) -> None:
    batch = batch_pb2.RouteBatchRequest(
        requests=[route_pb2.RouteRequest(prompt="easy", policy="lp")]
    )
    assert await refusal(tiny.stub.RouteBatch(batch)) == (
        INVALID,
        (
            "requests[0].policy: a batch is decided as a whole; leave it empty"
            " (it may be economy or balanced or quality, without constraints over the batch)"
        ),
    )


async def test_a_budget_too_small_says_how_much_is_missing(tiny: Running) -> None:
    prompts = ["easy", "hard", "long", "else"] * 5
    code, text = await refusal(tiny.batch(prompts, budget_usd=1e-6))
    assert code is NO_MODEL
    assert text.startswith("budget_usd 1e-06 is below the least possible 0.0")
    missing = float(text.rpartition("raise it by ")[2])
    code, _ = await refusal(tiny.batch(prompts, budget_usd=1e-6 + 0.999 * missing))
    assert code is NO_MODEL
    solved = await tiny.batch(prompts, budget_usd=1e-6 + missing)
    assert solved.total_predicted_cost_usd <= 1e-6 + missing


async def test_a_floor_too_high_says_how_much_to_lower_it(tiny: Running) -> None:
    prompts = ["hard", "long"] * 5
    code, text = await refusal(tiny.batch(prompts, min_mean_score=0.9))
    assert code is NO_MODEL
    assert text.startswith("min_mean_score 0.9 is above the highest possible 0.75; lower it by ")
    excess = float(text.rpartition("lower it by ")[2])
    solved = await tiny.batch(prompts, min_mean_score=0.9 - excess)
    assert solved.mean_predicted_score >= 0.9 - excess


async def test_a_floor_that_the_budget_does_not_reach_says_both_remedies(tiny: Running) -> None:
    prompts = ["hard"] * 10
    code, text = await refusal(tiny.batch(prompts, budget_usd=0.01, min_mean_score=0.8))
    assert code is NO_MODEL
    assert "budget_usd allows a mean score of at most" in text
    assert "below min_mean_score 0.8; lower min_mean_score by" in text
    more = float(text.rpartition("raise budget_usd by ")[2])
    solved = await tiny.batch(prompts, budget_usd=0.01 + more, min_mean_score=0.8)
    assert solved.mean_predicted_score >= 0.8
    assert solved.total_predicted_cost_usd <= 0.01 + more


@pytest.mark.parametrize("points", [1, 1001])
async def test_a_curve_of_a_wrong_size(tiny: Running, points: int) -> None:
    request = info_pb2.ListModelsRequest(curve_points=points)
    assert await refusal(tiny.stub.ListModels(request)) == (
        INVALID,
        f"curve_points: {points}; ask for 2 to 1000 points, or 0 for no curve",
    )


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "decision_id: is empty; send the decision_id of the reply"),
        ({"cost_usd": -1.0}, "cost_usd: -1.0 is not a finite number of at least 0"),
        ({"cost_usd": math.nan}, "cost_usd: nan is not a finite number of at least 0"),
        ({"score": 1.5}, "score: 1.5 is above 1; scores are in [0, 1]"),
        ({"latency_ms": math.inf}, "latency_ms: inf is not a finite number of at least 0"),
        ({"model": "gpt-9"}, "model: unknown model 'gpt-9'; the pool has small, medium, large"),
        (
            {"input_tokens": 5},
            "output_tokens: is not set; the cost needs both kinds of tokens, or cost_usd",
        ),
        (
            {"cached_input_tokens": 5, "output_tokens": 5},
            "input_tokens: is not set; the cost needs both kinds of tokens, or cost_usd",
        ),
        (
            {"input_tokens": 100, "output_tokens": 5, "cached_input_tokens": 9000},
            (
                "cached_input_tokens: 9000 are more than input_tokens (100), which they are part"
                " of; count them there, too"
            ),
        ),
        (
            {"input_tokens": 100_000_001, "output_tokens": 5},
            "input_tokens: has to be from 0 to 100,000,000 for one answer (given: 100000001)",
        ),
    ],
)
async def test_a_report_that_says_nothing_sensible(
    tiny: Running, fields: dict[str, Any], text: str
) -> None:
    decision_id = (await tiny.route("easy")).decision_id if fields else ""
    report = outcome_pb2.ReportOutcomeRequest(decision_id=decision_id, **fields)
    assert await refusal(tiny.stub.ReportOutcome(report)) == (INVALID, text)


async def test_an_unknown_method(tiny: Running) -> None:
    call = tiny.channel.unary_unary("/routoo.v1.RouterService/Guess")
    code, _ = await refusal(call(b""))
    assert code is grpc.StatusCode.UNIMPLEMENTED
