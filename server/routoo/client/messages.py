"""Requests and replies as plain Python values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, get_args

from routoo.request_fields import RequestFields
from routoo.v1.batch_pb2 import FrontierRequest, RouteBatchRequest
from routoo.v1.health_pb2 import FailureCause
from routoo.v1.outcome_pb2 import EscalateRequest, ReportOutcomeRequest, TokenLogprobs
from routoo.v1.route_pb2 import RouteRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.message import Message

Prompt = str | Sequence[Mapping[str, str]]
"""Plain text or a chat: ``[{"role": "user", "content": "..."}, ...]``, oldest message first."""

_KINDS = ("agreement", "margin", "logprobs", "check")


class RequestOptions(RequestFields, total=False):
    """Fields of a request beside its prompt; ``None`` means not set. Units as in the proto."""

    request_id: str | None
    explain: bool | None


FailureName = Literal[
    "rate_limited", "server_error", "timeout", "connection", "reset", "credentials", "gone"
]
"""The way in which a provider failed, where no HTTP status says it."""


class Outcome(TypedDict, total=False):
    """Fields of a report about a decision; ``None`` means not known. Units as in the proto."""

    model: str | None
    score: float | None
    cost_usd: float | None
    input_tokens: int | None
    output_tokens: int | None
    latency_ms: float | None
    time_to_first_token_ms: float | None
    error: str | None
    cached_input_tokens: int | None
    cache_write_tokens: int | None
    cache_write_1h_tokens: int | None
    reasoning_tokens: int | None
    audio_input_tokens: int | None
    image_input_tokens: int | None
    video_input_tokens: int | None
    audio_output_tokens: int | None
    images: int | None
    service_tier: str | None
    status_code: int | None
    retry_after_s: float | None
    failure: FailureName | None
    reason_code: str | None


class BatchOptions(TypedDict, total=False):
    """Constraints on a batch as a whole; ``None`` and empty mean not set.

    Attributes:
        budget_usd: the most that all answers together may cost.
        min_mean_score: mean predicted score to reach, in [0, 1]: at the least cost without
            ``budget_usd``, within it when both are given.
        score_per_usd: a price, in predicted score per USD: the batch makes the best trade at it.
        max_requests: prompts for a model, at most, by its name in the pool.
        max_tokens: input and predicted output tokens for a model, at most, by its name.
        max_mean_latency_ms: mean predicted time to the last token, at most.
        tenant_budgets_usd: the most that the answers to a tenant's prompts may cost, by tenant;
            "": prompts without a tenant.
        score_std_weight: how many standard deviations to take off each predicted score.
        dry_run: whether to decide without booking; the decisions then have no id.
    """

    budget_usd: float | None
    min_mean_score: float | None
    score_per_usd: float | None
    max_requests: Mapping[str, int] | None
    max_tokens: Mapping[str, int] | None
    max_mean_latency_ms: float | None
    tenant_budgets_usd: Mapping[str, float] | None
    score_std_weight: float | None
    dry_run: bool


def make_request(prompt: Prompt, **options: Unpack[RequestOptions]) -> RouteRequest:
    """Makes one request, for ``route_many`` or for a stub of one's own.

    Raises:
        TypeError: a value of the wrong type.
        ValueError: text that is not valid Unicode, or a number out of the field's range.
    """
    if isinstance(prompt, str):
        return RouteRequest(prompt=prompt, **options)
    return RouteRequest(messages=prompt, **options)


def to_dict(message: Message) -> dict[str, Any]:
    """Turns a reply into plain dicts, lists, strings and numbers, ready for a JSON encoder.

    Every field is present under its proto name, enums by name, 64-bit integers as integers, keys
    of maps as text; only messages and ``optional`` fields that are not set are left out.
    """
    values: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            values[field.name] = {str(name): one for name, one in value.items()}
        elif field.is_repeated:
            values[field.name] = [to_dict(v) for v in value] if field.message_type else list(value)
        elif field.message_type is not None:
            values[field.name] = to_dict(value)
        elif field.enum_type is not None:
            known = field.enum_type.values_by_number.get(value)
            values[field.name] = known.name if known else value
        else:
            values[field.name] = value
    return values


def make_batch(
    requests: Iterable[Prompt | RouteRequest], options: BatchOptions
) -> RouteBatchRequest:
    return RouteBatchRequest(requests=_made(requests), **options)


def make_frontier(
    requests: Iterable[Prompt | RouteRequest], max_points: int, score_std_weight: float
) -> FrontierRequest:
    return FrontierRequest(
        requests=_made(requests), max_points=max_points, score_std_weight=score_std_weight
    )


def _made(requests: Iterable[Prompt | RouteRequest]) -> list[RouteRequest]:
    return [r if isinstance(r, RouteRequest) else make_request(r) for r in requests]


def numbered(request: Prompt | RouteRequest, number: int) -> RouteRequest:
    """Makes a request of a stream; one without a ``request_id`` gets its number as that."""
    made = request if isinstance(request, RouteRequest) else make_request(request)
    if made.request_id:
        return made
    named = RouteRequest(request_id=str(number))
    named.MergeFrom(made)
    return named


def make_report(decision_id: str, **outcome: Unpack[Outcome]) -> ReportOutcomeRequest:
    """Makes one report of an outcome, for a stub of one's own.

    Raises:
        TypeError: a value of the wrong type.
        ValueError: a number out of the field's range, or a failure that the API does not know.
    """
    failure = outcome.pop("failure", None)
    if failure is not None and failure not in get_args(FailureName):
        raise ValueError(f"failure {failure!r} is none of {', '.join(get_args(FailureName))}")
    request = ReportOutcomeRequest(decision_id=decision_id, **outcome)
    if failure is not None:
        number = FailureCause.Value(f"FAILURE_CAUSE_{failure.upper()}")
        request.failure = number  # type: ignore[assignment] # the stubs tell its type wrongly
    return request


class Signal(TypedDict, total=False):
    """A signal that an answer gave, and limits on the next model; units as in the proto.

    At most one of ``agreement``, ``margin``, ``logprobs`` and ``check`` is given.
    """

    agreement: float | None
    margin: float | None
    logprobs: Sequence[float] | None
    check: float | None
    answered_models: Sequence[str] | None
    min_score: float | None
    max_cost_usd: float | None


def make_escalation(decision_id: str, **signal: Unpack[Signal]) -> EscalateRequest:
    """Makes one request for an escalation, for a stub of one's own.

    Raises:
        TypeError: a value of the wrong type.
        ValueError: more than one kind of signal.
    """
    kinds = [kind for kind in _KINDS if signal.get(kind) is not None]
    if len(kinds) > 1:
        raise ValueError(f"{' and '.join(kinds)} are given; an answer has one kind of signal")
    logprobs = signal.get("logprobs")
    return EscalateRequest(
        decision_id=decision_id,
        min_score=signal.get("min_score"),
        max_cost_usd=signal.get("max_cost_usd"),
        agreement=signal.get("agreement"),
        margin=signal.get("margin"),
        logprobs=None if logprobs is None else TokenLogprobs(values=logprobs),
        check=signal.get("check"),
        answered_models=signal.get("answered_models"),
    )
