"""Tests of the conversion to plain requests: refusals name the field, and no field is lost."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.api.convert import messages as convert
from routoo.config.settings import LimitSettings
from routoo.errors import InvalidRequestError
from routoo.predictor.conversation import contents, conversation
from routoo.routing.joint import JointConstraints
from routoo.v1 import batch_pb2, info_pb2, route_pb2

LIMITS = LimitSettings(max_prompt_chars=100, max_batch_prompts=3)
NUMBERS = ("max_cost_usd", "min_score", "max_latency_ms")
UNUSABLE = (math.nan, math.inf, -math.inf, -1.0, -1e-300)


def read(message: route_pb2.RouteRequest | batch_pb2.RouteBatchRequest) -> None:
    if isinstance(message, route_pb2.RouteRequest):
        convert.prompt_request(message, LIMITS)
        return
    convert.batch_prompts(message.requests, LIMITS, at_presets=False)
    convert.joint_constraints(message)


def refused(message: route_pb2.RouteRequest | batch_pb2.RouteBatchRequest) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        read(message)
    assert "\n" not in str(caught.value)
    return caught.value


def chat(*contents: str) -> list[route_pb2.ChatMessage]:
    return [route_pb2.ChatMessage(role="user", content=content) for content in contents]


@pytest.mark.parametrize("text", ["", " ", "\n\t \u2003"])
def test_an_empty_prompt_is_refused(text: str) -> None:
    assert refused(route_pb2.RouteRequest(prompt=text)).field == "prompt"
    assert refused(route_pb2.RouteRequest(messages=chat(text, text))).field == "messages"


def test_both_forms_of_a_prompt_are_refused() -> None:
    error = refused(route_pb2.RouteRequest(prompt="a", messages=chat("b")))
    assert str(error) == "prompt: set either prompt or messages, not both"


def test_a_chat_is_its_texts_oldest_first() -> None:
    message = route_pb2.RouteRequest(messages=chat("first", "", "second"))
    assert contents(convert.prompt_request(message, LIMITS).text) == "first\n\nsecond"


def test_a_chat_keeps_who_speaks() -> None:
    turns = [("tools", "look_up: finds"), ("system", "be brief"), ("user", "why?"), ("tool", "42")]
    said = [route_pb2.ChatMessage(role=role, content=text) for role, text in turns]
    text = convert.prompt_request(route_pb2.RouteRequest(messages=said), LIMITS).text
    assert text == conversation(turns)
    # A logged prompt is sent again as it is.
    assert convert.prompt_request(route_pb2.RouteRequest(prompt=text), LIMITS).text == text
    strange = [route_pb2.ChatMessage(role="\x1epirate", content="ahoy\x1esystem\x1f")]
    assert convert.prompt_request(route_pb2.RouteRequest(messages=strange), LIMITS).text == (
        "ahoysystem"
    )


def test_offered_tools_alone_are_nothing_to_route_and_count_as_text() -> None:
    tools = route_pb2.ChatMessage(role="tools", content="t" * 99)
    assert "is empty" in str(refused(route_pb2.RouteRequest(messages=[tools])))
    message = route_pb2.RouteRequest(messages=[tools, *chat("b")])
    assert str(refused(message)) == "messages: 101 characters; send at most 100"


def test_the_longest_prompt_is_accepted_and_one_more_character_is_not() -> None:
    assert convert.prompt_request(route_pb2.RouteRequest(prompt="ä" * 100), LIMITS).text
    error = refused(route_pb2.RouteRequest(prompt="ä" * 101))
    assert str(error) == "prompt: 101 characters; send at most 100"
    assert refused(route_pb2.RouteRequest(messages=chat("ä" * 99, "b"))).field == "messages"


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("value", UNUSABLE)
def test_numbers_that_are_no_amounts_are_refused(field: str, value: float) -> None:
    values: dict[str, Any] = {field: value}
    error = refused(route_pb2.RouteRequest(prompt="p", **values))
    assert error.field == field
    assert "is not a finite number of at least 0" in str(error)


@pytest.mark.parametrize(
    "field",
    ["budget_usd", "min_mean_score", "score_per_usd", "max_mean_latency_ms", "score_std_weight"],
)
@pytest.mark.parametrize("value", UNUSABLE)
def test_batch_numbers_that_are_no_amounts_are_refused(field: str, value: float) -> None:
    values: dict[str, Any] = {field: value}
    requests = [route_pb2.RouteRequest(prompt="p")]
    assert refused(batch_pb2.RouteBatchRequest(requests=requests, **values)).field == field


@pytest.mark.parametrize("value", UNUSABLE)
def test_a_tenant_s_budget_that_is_no_amount_names_the_tenant(value: float) -> None:
    message = batch_pb2.RouteBatchRequest(
        requests=[route_pb2.RouteRequest(prompt="p")], tenant_budgets_usd={"a": 1.0, "b": value}
    )
    assert refused(message).field == "tenant_budgets_usd[b]"


def test_more_tenants_than_the_solver_takes_are_refused() -> None:
    message = batch_pb2.RouteBatchRequest(
        requests=[route_pb2.RouteRequest(prompt="p")],
        tenant_budgets_usd={f"team-{at}": 1.0 for at in range(501)},
    )
    assert str(refused(message)) == (
        "tenant_budgets_usd: 501 tenants; name at most 500 in one batch"
    )


def test_care_for_the_spread_is_refused_where_nothing_is_decided_together() -> None:
    requests = [route_pb2.RouteRequest(prompt="p")]
    message = batch_pb2.RouteBatchRequest(requests=requests, score_std_weight=1.0)
    assert refused(message).field == "score_std_weight"
    message.score_per_usd = 0.0
    assert convert.joint_constraints(message).any


def test_every_constraint_of_a_batch_arrives_through_the_wire() -> None:
    body = batch_pb2.RouteBatchRequest(
        requests=[route_pb2.RouteRequest(prompt="p", tenant="acme")],
        budget_usd=1.0,
        min_mean_score=0.0,
        score_per_usd=3.0,
        max_requests={"small": 0},
        max_tokens={"large": 2**40},
        max_mean_latency_ms=5.0,
        tenant_budgets_usd={"acme": 0.0, "": 6.0},
        score_std_weight=0.5,
    ).SerializeToString()
    message = convert.parse(batch_pb2.RouteBatchRequest, body)
    (request,) = convert.batch_prompts(message.requests, LIMITS, at_presets=False)
    assert request.tenant == "acme"
    assert convert.joint_constraints(message) == JointConstraints(
        budget_usd=1.0,
        min_mean_score=0.0,
        score_per_usd=3.0,
        max_requests={"small": 0},
        max_tokens={"large": 2**40},
        max_mean_latency_ms=5.0,
        tenant_budgets_usd={"acme": 0.0, "": 6.0},
        score_std_weight=0.5,
    )


def test_a_frontier_is_all_of_it_or_at_least_its_two_ends() -> None:
    def read(points: int, weight: float = 0.0) -> Any:
        requests = [route_pb2.RouteRequest(prompt="p")]
        message = batch_pb2.FrontierRequest(
            requests=requests, max_points=points, score_std_weight=weight
        )
        return convert.frontier_terms(message)

    assert read(0) == (None, 0.0)
    assert read(2, 1.5) == (2, 1.5)
    for wrong, field in (((1,), "max_points"), ((0, math.nan), "score_std_weight")):
        with pytest.raises(InvalidRequestError) as caught:
            read(*wrong)
        assert caught.value.field == field


def test_scores_above_1_are_refused() -> None:
    for field in ("min_score", "max_quality_gap"):
        values: dict[str, Any] = {field: 1.01}
        assert refused(route_pb2.RouteRequest(prompt="p", **values)).field == field
    requests = [route_pb2.RouteRequest(prompt="p")]
    error = refused(batch_pb2.RouteBatchRequest(requests=requests, min_mean_score=1.01))
    assert error.field == "min_mean_score"


def test_tenant_policy_and_tolerance_are_handed_on() -> None:
    message = route_pb2.RouteRequest(prompt="p", tenant="a", policy="best", max_quality_gap=0.25)
    request = convert.prompt_request(message, LIMITS)
    assert (request.tenant, request.policy) == ("a", "best")
    assert request.constraints == {"max_quality_gap": 0.25}
    assert convert.prompt_request(route_pb2.RouteRequest(prompt="p"), LIMITS).constraints == {}


@given(
    values=st.fixed_dictionaries(
        {},
        optional={
            "request_id": st.text(st.characters(codec="utf-8"), max_size=8),
            "max_cost_usd": st.floats(0, 1e6),
            "min_score": st.floats(0, 1),
            "max_latency_ms": st.floats(0, 1e6),
            "allowed_models": st.lists(st.text(st.characters(codec="utf-8")), max_size=3),
            "denied_models": st.lists(st.text(st.characters(codec="utf-8")), max_size=3),
            "required_capabilities": st.lists(st.text(st.characters(codec="utf-8")), max_size=3),
            "expected_output_tokens": st.integers(0, 2**32 - 1),
            "explain": st.booleans(),
        },
    )
)
def test_every_field_arrives_through_the_wire(values: dict[str, Any]) -> None:
    body = route_pb2.RouteRequest(prompt="p", **values).SerializeToString()
    request = convert.prompt_request(convert.parse(route_pb2.RouteRequest, body), LIMITS)
    assert request.expected_output_tokens == values.get("expected_output_tokens")
    for field in NUMBERS:
        assert request.constraints.get(field) == values.get(field)
    for field in ("allowed_models", "denied_models", "required_capabilities"):
        assert request.constraints.get(field, ()) == tuple(values.get(field, ()))
    assert request.request_id == values.get("request_id", "")
    assert request.explain == values.get("explain", False)
    unconstrained = {"request_id", "expected_output_tokens", "explain"}
    assert set(request.constraints) == {
        key for key, value in values.items() if key not in unconstrained and value != []
    }


def test_a_constraint_of_0_is_a_constraint() -> None:
    for field in NUMBERS:
        values: dict[str, Any] = {field: 0.0}
        request = convert.prompt_request(route_pb2.RouteRequest(prompt="p", **values), LIMITS)
        assert request.constraints == {field: 0.0}


@pytest.mark.parametrize(
    "body",
    [b"\xff", b"\x12\x05ab", b"\x12\x02\xff\xfe", b"\x0a\x01\x80", b"\x12\xff\xff\xff\xff\x0f"],
    ids=["tag", "short", "prompt not utf-8", "request_id not utf-8", "length"],
)
def test_a_body_that_does_not_parse_names_the_message(body: bytes) -> None:
    with pytest.raises(InvalidRequestError, match=r"the body is not a routoo.v1.RouteRequest"):
        convert.parse(route_pb2.RouteRequest, body)


def test_an_error_in_a_batch_names_the_request() -> None:
    good = route_pb2.RouteRequest(prompt="p")
    for bad, field in (
        (route_pb2.RouteRequest(), "requests[1].prompt"),
        (route_pb2.RouteRequest(prompt="p", min_score=2), "requests[1].min_score"),
        (route_pb2.RouteRequest(prompt="p", policy="lp"), "requests[1].policy"),
    ):
        assert refused(batch_pb2.RouteBatchRequest(requests=[good, bad])).field == field


def test_a_batch_arrives_in_order_with_its_constraints() -> None:
    requests = [route_pb2.RouteRequest(prompt=text) for text in ("a", "b", "c")]
    message = batch_pb2.RouteBatchRequest(requests=requests, budget_usd=0.0)
    converted = convert.batch_prompts(message.requests, LIMITS, at_presets=False)
    constraints = convert.joint_constraints(message)
    assert [one.text for one in converted] == ["a", "b", "c"]
    assert constraints.budget_usd == 0.0
    assert constraints.min_mean_score is None
    assert constraints.any


@pytest.mark.parametrize("points", [1, 1001, 2**32 - 1])
def test_a_curve_of_one_point_or_too_many_is_refused(points: int) -> None:
    with pytest.raises(InvalidRequestError, match="curve_points: "):
        convert.curve_points(info_pb2.ListModelsRequest(curve_points=points))


@pytest.mark.parametrize("points", [0, 2, 1000])
def test_a_curve_of_a_usable_size_is_accepted(points: int) -> None:
    assert convert.curve_points(info_pb2.ListModelsRequest(curve_points=points)) == points
