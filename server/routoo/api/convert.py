"""Proto to plain requests, with every check that needs no pool; decisions to proto."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError, Message

from routoo.errors import InvalidRequestError
from routoo.joint import JointConstraints
from routoo.outcomes import Outcome
from routoo.prompt import PromptRequest
from routoo.selector.reason import Reason
from routoo.v1 import batch_pb2, budget_pb2, info_pb2, outcome_pb2, route_pb2

if TYPE_CHECKING:
    from routoo.budget.ledger import BudgetState
    from routoo.config import LimitSettings
    from routoo.decision import BatchDecision, Decision
    from routoo.operating_point import CurvePoint
    from routoo.pool import Pool
    from routoo.shadow import Comparison

MessageT = TypeVar("MessageT", bound=Message)

_RULES = {
    Reason.ONLY_ELIGIBLE: route_pb2.RULE_ONLY_ELIGIBLE,
    Reason.BEST_SCORE: route_pb2.RULE_BEST_SCORE,
    Reason.PRICE: route_pb2.RULE_PRICE,
    Reason.CHEAPEST: route_pb2.RULE_CHEAPEST,
    Reason.BUDGET_SPENT: route_pb2.RULE_CHEAPEST,
    Reason.THRESHOLD: route_pb2.RULE_THRESHOLD,
    Reason.QUALITY_GAP: route_pb2.RULE_QUALITY_GAP,
    Reason.FIXED: route_pb2.RULE_FIXED,
    Reason.ROUND_ROBIN: route_pb2.RULE_ROUND_ROBIN,
    Reason.FALLBACK: route_pb2.RULE_FALLBACK,
}
_NANO = 1e9
# What the optimum of a batch is called instead.
_BY_PRICE = frozenset({Reason.BEST_SCORE, Reason.PRICE})


def parse(kind: type[MessageT], body: bytes) -> MessageT:
    """Reads a message.

    Raises:
        InvalidRequestError: not a message of this kind, or a string in it is not UTF-8.
    """
    try:
        return kind.FromString(body)
    except DecodeError:
        raise InvalidRequestError(
            f"the body is not a {kind.DESCRIPTOR.full_name}: malformed, or a string in it is not"
            " UTF-8"
        ) from None


def prompt_request(message: route_pb2.RouteRequest, limits: LimitSettings) -> PromptRequest:
    """Checks and converts one request.

    Raises:
        InvalidRequestError: names the field.
    """
    max_cost_usd = _optional_number(message, "max_cost_usd")
    min_score = _optional_number(message, "min_score")
    max_latency_ms = _optional_number(message, "max_latency_ms")
    if min_score is not None and min_score > 1.0:
        raise InvalidRequestError(
            f"{min_score} is above 1; scores are in [0, 1]", field="min_score"
        )
    allowed = tuple(message.allowed_models)
    denied = tuple(message.denied_models)
    capabilities = tuple(message.required_capabilities)
    max_quality_gap = _optional_number(message, "max_quality_gap")
    if max_quality_gap is not None and max_quality_gap > 1.0:
        raise InvalidRequestError(
            f"{max_quality_gap} is above 1; scores are in [0, 1]", field="max_quality_gap"
        )
    return PromptRequest(
        text=_text(message, limits),
        request_id=message.request_id,
        max_cost_usd=max_cost_usd,
        min_score=min_score,
        max_latency_ms=max_latency_ms,
        allowed_models=allowed,
        denied_models=denied,
        required_capabilities=capabilities,
        tenant=message.tenant,
        policy=message.policy,
        max_quality_gap=max_quality_gap,
        expected_output_tokens=(
            message.expected_output_tokens if message.HasField("expected_output_tokens") else None
        ),
        explain=message.explain,
        constrained=bool(
            allowed
            or denied
            or capabilities
            or max_cost_usd is not None
            or min_score is not None
            or max_latency_ms is not None
        ),
    )


def batch_request(
    message: batch_pb2.RouteBatchRequest, limits: LimitSettings
) -> tuple[list[PromptRequest], JointConstraints]:
    """Checks and converts a batch.

    Raises:
        InvalidRequestError: names the field, e.g. ``requests[3].prompt``.
    """
    size = len(message.requests)
    if not 1 <= size <= limits.max_batch_prompts:
        raise InvalidRequestError(
            f"{size} prompts; send 1 to {limits.max_batch_prompts} in one batch", field="requests"
        )
    budget_usd = _optional_number(message, "budget_usd")
    min_mean_score = _optional_number(message, "min_mean_score")
    if min_mean_score is not None and min_mean_score > 1.0:
        raise InvalidRequestError(
            f"{min_mean_score} is above 1; scores are in [0, 1]", field="min_mean_score"
        )
    requests = []
    for row, item in enumerate(message.requests):
        try:
            request = prompt_request(item, limits)
        except InvalidRequestError as error:
            raise error.within(f"requests[{row}]") from None
        if item.policy:
            raise InvalidRequestError(
                "a batch is decided as a whole; leave it empty", field=f"requests[{row}].policy"
            )
        requests.append(request)
    return requests, JointConstraints(budget_usd, min_mean_score)


def curve_points(message: info_pb2.ListModelsRequest) -> int:
    """How many points of the curve are asked for.

    Raises:
        InvalidRequestError: 1, or more than 1,000.
    """
    points = message.curve_points
    if points == 1 or points > 1000:
        raise InvalidRequestError(
            f"{points}; ask for 2 to 1000 points, or 0 for no curve", field="curve_points"
        )
    return points


def _optional_number(message: Message, field: str) -> float | None:
    if not message.HasField(field):
        return None
    value = float(getattr(message, field))
    if not isfinite(value) or value < 0.0:
        raise InvalidRequestError(f"{value} is not a finite number of at least 0", field=field)
    return value


def _text(message: route_pb2.RouteRequest, limits: LimitSettings) -> str:
    field = "prompt"
    text = message.prompt
    if message.messages:
        if text:
            raise InvalidRequestError("set either prompt or messages, not both", field="prompt")
        field = "messages"
        text = "\n".join([one.content for one in message.messages])
    if len(text) > limits.max_prompt_chars:
        raise InvalidRequestError(
            f"{len(text)} characters; send at most {limits.max_prompt_chars}", field=field
        )
    if not text or text.isspace():
        raise InvalidRequestError("is empty; there is nothing to route", field=field)
    return text


def route_response(decision: Decision) -> route_pb2.RouteResponse:
    """One decision as its reply."""
    batch, row = decision.batch, decision.row
    timing = batch.timing
    accepted_ns = batch.accepted_ns[row]
    reason = Reason(batch.reasons[row])
    rule = (
        route_pb2.RULE_BATCH_OPTIMUM
        if batch.decided_jointly and reason in _BY_PRICE
        else _RULES[reason]
    )
    response = route_pb2.RouteResponse(
        request_id=decision.request_id,
        model=decision.model,
        decision_id=decision.decision_id,
        predicted_score=batch.scores[row],
        predicted_cost_usd=batch.costs_usd[row],
        predicted_latency_ms=batch.latencies_ms[row],
        reason=route_pb2.Reason(
            rule=rule,
            binding_constraints=decision.binding_constraints(),
            text=decision.reason_text(),
        ),
        shadow_price=batch.shadow_prices[row],
        predictor_version=batch.versions.predictor,
        policy_version=batch.policy_versions[row],
        degraded=batch.degraded,
        truncated=batch.truncated[row],
        timing=route_pb2.Timing(
            queue_ns=timing.started_ns - accepted_ns,
            tokenize_ns=timing.tokenize_ns,
            predict_ns=timing.predict_ns,
            select_ns=timing.select_ns,
            total_ns=timing.finished_ns - accepted_ns,
            batch_size=len(batch.choices),
        ),
        input_tokens=int(batch.input_tokens[row]),
        predicted_output_tokens=batch.output_tokens[row],
    )
    if decision.explain:
        response.candidates.extend(
            route_pb2.Candidate(
                model=one.model,
                predicted_score=one.score,
                predicted_cost_usd=one.cost_usd,
                predicted_latency_ms=one.latency_ms,
                predicted_output_tokens=one.output_tokens,
                utility=one.utility,
                eligible=not one.removed_by,
                removed_by=one.removed_by,
            )
            for one in decision.candidates()
        )
    return response


def batch_response(solved: BatchDecision) -> batch_pb2.RouteBatchResponse:
    """A joint decision as its reply."""
    timing = solved.timing
    return batch_pb2.RouteBatchResponse(
        responses=[route_response(decision) for decision in solved.decisions],
        total_predicted_cost_usd=solved.total_cost_usd,
        mean_predicted_score=solved.mean_score,
        bound=solved.bound,
        gap=solved.gap,
        shadow_price=solved.shadow_price,
        binding_constraints=solved.binding,
        timing=route_pb2.Timing(
            tokenize_ns=timing.tokenize_ns,
            predict_ns=timing.predict_ns,
            select_ns=timing.select_ns,
            total_ns=timing.finished_ns - timing.started_ns,
            batch_size=len(solved.decisions),
        ),
    )


def outcome(message: outcome_pb2.ReportOutcomeRequest) -> Outcome:
    """Checks and converts a report.

    Raises:
        InvalidRequestError: names the field.
    """
    if not message.decision_id:
        raise InvalidRequestError(
            "is empty; send the decision_id of the reply", field="decision_id"
        )
    cost_usd = _optional_number(message, "cost_usd")
    score = _optional_number(message, "score")
    if score is not None and score > 1.0:
        raise InvalidRequestError(f"{score} is above 1; scores are in [0, 1]", field="score")
    _optional_number(message, "latency_ms")
    return Outcome(
        decision_id=message.decision_id,
        model=message.model,
        score=score,
        cost_usd=cost_usd,
        input_tokens=message.input_tokens if message.HasField("input_tokens") else None,
        output_tokens=message.output_tokens if message.HasField("output_tokens") else None,
        error=message.error,
    )


def budgets_response(budgets: list[tuple[BudgetState, float]]) -> budget_pb2.GetBudgetResponse:
    """Budgets, each with its price, as their reply."""
    return budget_pb2.GetBudgetResponse(
        budgets=[
            budget_pb2.Budget(
                name=state.terms.name,
                tenant=state.terms.tenant,
                limit_usd=state.terms.limit_nano_usd / _NANO,
                reserved_usd=state.reserved_usd,
                settled_usd=state.settled_usd,
                period_s=state.terms.period_ns / _NANO,
                period_left_s=state.period_left_s,
                shadow_price=price,
                degraded=state.degraded,
                overdraft_usd=state.overdraft_usd,
                granted_requests=state.granted,
            )
            for state, price in budgets
        ]
    )


def shadow(counts: Comparison) -> info_pb2.Shadow:
    """A shadow policy's counts as a message."""
    decisions = max(1, counts.decisions)
    return info_pb2.Shadow(
        policy=counts.policy,
        decisions=counts.decisions,
        disagreements=counts.disagreements,
        cost_usd=counts.cost_usd,
        shadow_cost_usd=counts.shadow_cost_usd,
        mean_score=counts.score / decisions,
        shadow_mean_score=counts.shadow_score / decisions,
    )


def models_response(
    pool: Pool, at: CurvePoint, means: list[tuple[float, float]], curve: list[CurvePoint]
) -> info_pb2.ListModelsResponse:
    """The pool as its reply; ``means``: mean score and cost of each model over the sample."""
    return info_pb2.ListModelsResponse(
        models=[
            info_pb2.Model(
                name=spec.name,
                usd_per_1m_input_tokens=spec.usd_per_1m_input_tokens,
                usd_per_1m_output_tokens=spec.usd_per_1m_output_tokens,
                context_window_tokens=spec.context_window_tokens,
                capabilities=spec.capabilities,
                time_to_first_token_ms=spec.time_to_first_token_ms,
                time_per_output_token_ms=spec.time_per_output_token_ms,
                mean_predicted_score=score,
                mean_predicted_cost_usd=cost_usd,
                share=share,
            )
            for spec, share, (score, cost_usd) in zip(
                pool.models, at.shares.tolist(), means, strict=True
            )
        ],
        curve=[_curve_point(pool, point) for point in curve],
        operating_point=_curve_point(pool, at),
    )


def _curve_point(pool: Pool, point: CurvePoint) -> info_pb2.CurvePoint:
    shares = zip(pool.names, point.shares.tolist(), strict=True)
    return info_pb2.CurvePoint(
        mean_cost_usd=point.mean_cost_usd,
        mean_score=point.mean_score,
        shadow_price=point.price,
        shares={name: share for name, share in shares if share > 0.0},
    )
