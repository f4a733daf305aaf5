"""Conversion of protobuf requests to plain ones, and of decisions to protobuf replies.

Every check of a request that needs no pool is made here.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import DecodeError, Message

from routoo.api.convert.health import unit_message
from routoo.api.convert.learning import learned_score_message
from routoo.api.convert.prices import prices_message
from routoo.errors import InvalidRequestError
from routoo.predictor.conversation import OFFERED_TOOLS, TURN, contents, conversation, role_of
from routoo.request_fields import FIELDS, PERCENTILES, Kind, checked_number
from routoo.routing.joint import JointConstraints
from routoo.routing.request import PromptRequest
from routoo.routing.sessions.facts import FIELDS as SESSION_FIELDS
from routoo.routing.sessions.facts import Tie, told_session
from routoo.routing.sessions.stay import Stay
from routoo.selector.lp.presets import PRESETS
from routoo.selector.reason import Reason
from routoo.v1 import batch_pb2, info_pb2, route_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from routoo.config.settings import LimitSettings
    from routoo.engine.overview import ModelsOverview
    from routoo.routing.corrections.table import LearnedFactor, ModelCorrection
    from routoo.routing.decision import BatchDecision, BatchFrontier, Decision
    from routoo.routing.money.operating_point import CurvePoint
    from routoo.routing.pool import Pool
    from routoo.selector.lp.presets import PresetPoint

MessageT = TypeVar("MessageT", bound=Message)

# Each tenant budget is a row of the linear program, and the prices of all rows are solved together.
_MAX_TENANT_BUDGETS = 500
_REPLIES_AT_ONCE = 256

RULES: Mapping[int, Any] = {
    reason: route_pb2.Rule.Value(
        "RULE_CHEAPEST" if reason is Reason.BUDGET_SPENT else f"RULE_{reason.name}"
    )
    for reason in Reason
    if reason is not Reason.NONE_ELIGIBLE
}
"""The rules of the API by reason: of the same name, but for a spent budget's RULE_CHEAPEST."""
_STAYS: Mapping[int, Any] = {
    stay: route_pb2.StayReason.Value(
        "STAY_REASON_UNSPECIFIED" if stay is Stay.NONE else f"STAY_REASON_{stay.name}"
    )
    for stay in Stay
}
# In a batch that is decided jointly, these reasons become RULE_BATCH_OPTIMUM.
_BY_PRICE = frozenset({Reason.BEST_SCORE, Reason.PRICE})


def parse(kind: type[MessageT], body: bytes) -> MessageT:
    """Parses a message.

    Raises:
        InvalidRequestError: the body is no message of this kind, or a string in it is not UTF-8.
    """
    try:
        return kind.FromString(body)
    except DecodeError:
        raise malformed(kind) from None


def malformed(kind: type[Message]) -> InvalidRequestError:
    """Returns the error for a body that is no message of a kind."""
    return InvalidRequestError(
        f"the body is not a {kind.DESCRIPTOR.full_name}: malformed, or a string in it is not UTF-8"
    )


def prompt_request(message: route_pb2.RouteRequest, limits: LimitSettings) -> PromptRequest:
    """Checks and converts one request.

    Raises:
        InvalidRequestError: names the field.
    """
    constraints: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    for found, value in message.ListFields():
        field = FIELDS.get(found.name)
        if field is None:
            continue
        if field.narrows is None:
            attributes[field.name] = (
                field.checked_count(value) if field.kind is Kind.COUNT else value
            )
        elif field.kind is Kind.NUMBER:
            constraints[field.name] = field.checked(value)
        else:
            constraints[field.name] = tuple(value)
    told: dict[str, Any] = {
        name: attributes.pop(name) for name in SESSION_FIELDS if name in attributes
    }
    session = told_session(told, _ties(message)) if told else None
    return PromptRequest(
        text=_text(message, limits),
        request_id=message.request_id,
        constraints=constraints,
        explain=message.explain,
        session=session,
        # What a session writes into a cache is billed higher than text.
        mixed=session is not None,
        **attributes,
    )


def _ties(message: route_pb2.RouteRequest) -> Tie:
    last = next((one.role for one in reversed(message.messages) if one.role != OFFERED_TOOLS), "")
    return Tie.TOOL_LOOP if last and role_of(last) == "tool" else Tie.NONE


def joint_constraints(message: batch_pb2.RouteBatchRequest) -> JointConstraints:
    """Checks and converts the constraints over a batch; the message's prompts are not read.

    Raises:
        InvalidRequestError: names the field, e.g. ``budget_usd``.
    """
    min_mean_score = optional_number(message, "min_mean_score", 1.0)
    tenant_budgets_usd = dict(message.tenant_budgets_usd)
    if len(tenant_budgets_usd) > _MAX_TENANT_BUDGETS:
        raise InvalidRequestError(
            f"{len(tenant_budgets_usd)} tenants; name at most {_MAX_TENANT_BUDGETS} in one batch",
            field="tenant_budgets_usd",
        )
    for tenant, limit_usd in tenant_budgets_usd.items():
        checked_number(limit_usd, f"tenant_budgets_usd[{tenant}]")
    constraints = JointConstraints(
        budget_usd=optional_number(message, "budget_usd"),
        min_mean_score=min_mean_score,
        score_per_usd=optional_number(message, "score_per_usd"),
        max_requests=dict(message.max_requests),
        max_tokens=dict(message.max_tokens),
        max_mean_latency_ms=optional_number(message, "max_mean_latency_ms"),
        tenant_budgets_usd=tenant_budgets_usd,
        score_std_weight=checked_number(message.score_std_weight, "score_std_weight"),
    )
    if constraints.score_std_weight and not constraints.any:
        raise InvalidRequestError(
            "is for prompts that are decided together; set a constraint over the batch beside it,"
            " e.g. budget_usd",
            field="score_std_weight",
        )
    return constraints


def frontier_terms(message: batch_pb2.FrontierRequest) -> tuple[int | None, float]:
    """Checks and converts a request for a frontier; the message's prompts are not read.

    Returns:
        The number of points (None: all), and the ``score_std_weight``.

    Raises:
        InvalidRequestError: names the field.
    """
    points = message.max_points
    if points == 1:
        raise InvalidRequestError(
            "1; ask for 2 points or more, or 0 for every vertex", field="max_points"
        )
    return points or None, checked_number(message.score_std_weight, "score_std_weight")


def batch_prompts(
    messages: Iterable[route_pb2.RouteRequest], limits: LimitSettings, *, at_presets: bool
) -> list[PromptRequest]:
    """Checks and converts the prompts of a batch.

    Args:
        messages: the prompts.
        limits: section ``limits``.
        at_presets: whether each may name a preset: nothing else decides the batch as a whole.

    Raises:
        InvalidRequestError: names the field, e.g. ``requests[3].prompt``.
    """
    requests = []
    for row, item in enumerate(messages):
        try:
            request = prompt_request(item, limits)
        except InvalidRequestError as error:
            raise error.within(f"requests[{row}]") from None
        if item.policy and not (at_presets and item.policy in PRESETS):
            may_be = f"it may be {' or '.join(PRESETS)}, without constraints over the batch"
            raise InvalidRequestError(
                f"a batch is decided as a whole; leave it empty ({may_be})",
                field=f"requests[{row}].policy",
            )
        requests.append(request)
    return requests


def curve_points(message: info_pb2.ListModelsRequest) -> int:
    """Returns the number of points of the curve that are asked for; 0: no curve.

    Raises:
        InvalidRequestError: it is 1, or more than 1,000.
    """
    points = message.curve_points
    if points == 1 or points > 1000:
        raise InvalidRequestError(
            f"{points}; ask for 2 to 1000 points, or 0 for no curve", field="curve_points"
        )
    return points


def optional_number(message: Message, field: str, highest: float = inf) -> float | None:
    """Returns a field's number; None: the field is not set.

    Raises:
        InvalidRequestError: it is below 0, not finite, or above ``highest``.
    """
    if not message.HasField(field):
        return None
    return checked_number(float(getattr(message, field)), field, highest)


def _text(message: route_pb2.RouteRequest, limits: LimitSettings) -> str:
    field = "prompt"
    text = message.prompt
    if message.messages:
        if text:
            raise InvalidRequestError("set either prompt or messages, not both", field="prompt")
        field = "messages"
        text = conversation([(role_of(one.role), one.content) for one in message.messages])
        chars = sum(len(one.content) + 1 for one in message.messages) - 1
    else:
        chars = len(text)
    if chars > limits.max_prompt_chars:
        raise InvalidRequestError(
            f"{chars} characters; send at most {limits.max_prompt_chars}", field=field
        )
    said = contents(text) if text[:1] == TURN else text
    if not said or said.isspace():
        raise InvalidRequestError("is empty; there is nothing to route", field=field)
    return text


def route_response(decision: Decision) -> route_pb2.RouteResponse:
    """Converts one decision to its reply."""
    batch, row = decision.batch, decision.row
    timing, insight = batch.timing, decision.insight
    percentile, percentile_ms = decision.percentile_latency or (None, None)
    accepted_ns = batch.accepted_ns[row]
    reason = batch.reasons[row]
    rule = (
        route_pb2.RULE_BATCH_OPTIMUM
        if batch.decided_jointly and reason in _BY_PRICE
        else RULES[reason]
    )
    response = route_pb2.RouteResponse(
        request_id=decision.request_id,
        model=decision.model,
        decision_id=decision.decision_id,
        predicted_score=batch.scores[row],
        predicted_cost_usd=batch.costs_usd[row],
        predicted_latency_ms=batch.latencies_ms[row],
        shadow_price=batch.shadow_prices[row],
        predictor_version=batch.versions.predictor,
        policy_version=batch.policy_versions[row],
        degraded=batch.degraded or reason == Reason.GUARANTEE_BROKEN,
        truncated=batch.truncated[row],
        input_tokens=int(batch.input_tokens[row]),
        predicted_output_tokens=batch.output_tokens[row],
        task=insight.task,
        task_confidence=insight.task_confidence,
        ood=insight.ood,
        score_std=insight.score_std,
        evidence=insight.evidence,
        published_averages=insight.averages,
        max_output_tokens=decision.max_output_tokens,
        arm=arm_message(batch.pool, batch.choices[row]),
        second_model=decision.second_model or None,
        unhealthy=decision.is_ill,
        latency_percentile=percentile,
        percentile_latency_ms=percentile_ms,
        propensity=decision.propensity,
        unexplored_model=decision.unexplored_model or None,
        experiment_arm=None if batch.trials is None else batch.trials[row],
    )
    # Filled in place: a message that is made by itself is copied into the reply.
    why = response.reason
    why.rule = rule
    why.binding_constraints.extend(decision.binding_constraints())
    why.text = decision.reason_text()
    took = response.timing
    took.queue_ns = timing.started_ns - accepted_ns
    took.tokenize_ns = timing.tokenize_ns
    took.predict_ns = timing.predict_ns
    took.select_ns = timing.select_ns
    took.total_ns = timing.finished_ns - accepted_ns
    took.batch_size = len(batch.choices)
    if batch.estimates.learned is not None:
        response.learned_version = batch.estimates.learned.id
    if batch.fallbacks is not None:
        for one in decision.fallbacks():
            response.fallbacks.add(
                model=one.model,
                arm=None if one.arm is None else arm_message(batch.pool, one.column),
                predicted_score=one.score,
                predicted_cost_usd=one.cost_usd,
                predicted_latency_ms=one.latency_ms,
                max_output_tokens=one.max_output_tokens,
            )
    if batch.sessions is not None and batch.sessions.rows.on[row]:
        sessions = batch.sessions
        response.stay_reason = _STAYS[sessions.stays[row]]
        response.session_turns = int(sessions.rows.turns[row])
        response.session_spent_usd = float(sessions.rows.spent_usd[row])
        if sessions.rows.current[row] >= 0:
            response.switch_cost_usd = sessions.switch_costs_usd[row]
    if decision.explain:
        response.candidates.extend(
            route_pb2.Candidate(
                model=one.model,
                arm=one.arm or None,
                predicted_score=one.score,
                predicted_cost_usd=one.cost_usd,
                predicted_latency_ms=one.latency_ms,
                predicted_output_tokens=one.output_tokens,
                utility=one.utility,
                eligible=not one.removed_by,
                removed_by=one.removed_by,
                score_std=one.score_std,
                evidence=one.evidence,
                published_averages=one.averages,
                percentile_latency_ms=one.percentile_latency_ms,
            )
            for one in decision.candidates()
        )
    return response


def arm_message(pool: Pool, column: int) -> route_pb2.Arm | None:
    """Converts the arm of a column; None: its model has none."""
    arms = pool.arms
    arm = None if arms is None else arms.specs[column]
    if arms is None or arm is None:
        return None
    return route_pb2.Arm(
        name=arm.name,
        effort=arm.effort or "",
        thinking_budget_tokens=arm.thinking_budget_tokens,
        max_output_tokens=arm.max_output_tokens,
        service_tier=arm.service_tier or "",
        body_json=arms.told[column],
        known=bool(arms.offsets.known[column]),
    )


def batch_response(solved: BatchDecision) -> bytes:
    """Converts a joint decision to its reply, serialised."""
    slices = (batch_pb2.RouteBatchResponse(responses=one) for one in batch_slices(solved))
    parts = [one.SerializeToString() for one in slices]
    return b"".join((*parts, batch_totals(solved).SerializeToString()))


def batch_slices(solved: BatchDecision) -> Iterator[list[route_pb2.RouteResponse]]:
    """Converts the decisions of a batch to their replies, in slices.

    All together as messages, they would take several times the memory of their bytes, which may
    follow each other as those of a repeated field do.
    """
    decisions = solved.decisions
    for start in range(0, len(decisions), _REPLIES_AT_ONCE):
        yield [route_response(one) for one in decisions[start : start + _REPLIES_AT_ONCE]]


def batch_totals(solved: BatchDecision) -> batch_pb2.RouteBatchResponse:
    """Converts what a joint decision tells of the whole batch; the decisions are left out."""
    timing = solved.timing
    return batch_pb2.RouteBatchResponse(
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


def frontier_response(found: BatchFrontier) -> batch_pb2.FrontierResponse:
    """Converts a batch's cost-quality curve to its reply."""
    curve = found.curve
    return batch_pb2.FrontierResponse(
        total_cost_usd=curve.mean_cost_usd * found.prompts,
        mean_score=curve.mean_score,
        shadow_price=curve.price,
        timing=route_pb2.Timing(
            tokenize_ns=found.timing.tokenize_ns,
            predict_ns=found.timing.predict_ns,
            select_ns=found.timing.select_ns,
            total_ns=found.timing.finished_ns - found.timing.started_ns,
            batch_size=found.prompts,
        ),
    )


def _limits_of(models: ModelsOverview, column: int) -> list[info_pb2.UsageLimit]:
    rows = models.pool.limits
    if rows is None:
        return []
    return [
        info_pb2.UsageLimit(
            name=one.name,
            scope=one.scope,
            kind=one.kind,
            limit=one.limit,
            used=one.used,
            price=one.price,
            refused=one.refused,
        )
        for one, counts in zip(models.limits, rows.members[:, column].tolist(), strict=True)
        if counts
    ]


def models_response(models: ModelsOverview) -> info_pb2.ListModelsResponse:
    """Converts an overview of the pool's models to its reply."""
    pool = models.pool
    nothing: list[ModelCorrection | None] = [None] * len(pool.names)
    unknown = (None,) * len(pool.names)
    corrections = models.corrections or nothing
    learned = models.learned or unknown
    watched = () if models.health is None else models.health.models
    health = {one.model: unit_message(one) for one in watched}
    return info_pb2.ListModelsResponse(
        models=[
            info_pb2.Model(
                name=pool.names[column],
                usd_per_1m_input_tokens=spec.usd_per_1m_input_tokens,
                usd_per_1m_output_tokens=spec.usd_per_1m_output_tokens,
                context_window_tokens=spec.context_window_tokens,
                capabilities=spec.capabilities,
                time_to_first_token_ms=pool.time_to_first_token_ms[column],
                time_per_output_token_ms=pool.time_per_output_token_ms[column],
                mean_predicted_score=score,
                mean_predicted_cost_usd=cost_usd,
                mean_predicted_output_tokens=models.mean_output_tokens[column],
                share=share,
                evidence=evidence,
                published_averages=averages,
                prices=prices_message(spec),
                arm=arm_message(pool, column),
                health=health.get(spec.name),
                limits=_limits_of(models, column),
                learned_score=learned_score_message(learned[column]),
                **_correction(correction, models.mean_output_tokens[column]),
            )
            for column, spec, share, score, cost_usd, correction, evidence, averages in zip(
                range(len(pool.names)),
                pool.specs,
                models.at.shares.tolist(),
                models.mean_scores,
                models.mean_costs_usd,
                corrections,
                models.evidence or unknown,
                models.averages or unknown,
                strict=True,
            )
        ],
        curve=[_curve_point(pool, point) for point in models.curve],
        operating_point=_curve_point(pool, models.at),
        price_version=pool.prices.version,
        price_set_by=models.price_set_by,
        presets=[preset_message(point) for point in models.presets],
    )


def _correction(found: ModelCorrection | None, tokens: float) -> dict[str, Any]:
    """Returns the fields of a model that its corrections fill; none without corrections."""
    if found is None:
        return {}
    times = found.times
    factors = dict(zip(PERCENTILES, times.percentiles, strict=True))
    mean_ms = times.first_token_ms + tokens * times.per_token_ms
    return {
        "learned_times": info_pb2.LearnedTimes(
            first_token_ms=times.first_token_ms,
            per_output_token_ms=times.per_token_ms,
            percentile_factors=factors,
            reports=times.reports,
            first_token_reports=times.first_token_reports,
        ),
        "p95_latency_ms": mean_ms * factors[95],
        "length_correction": _learned(found.lengths),
        "latency_correction": _learned(found.latencies),
        "task_corrections": [
            info_pb2.TaskCorrection(
                task=task, length=_learned(length), latency=_learned(found.latencies)
            )
            for task, length in found.kinds.items()
        ],
    }


def _learned(factor: LearnedFactor) -> info_pb2.LearnedFactor:
    return info_pb2.LearnedFactor(factor=factor.factor, reports=factor.answers)


def preset_message(point: PresetPoint) -> info_pb2.Preset:
    """Converts a named point of the curve to its message."""
    return info_pb2.Preset(
        name=point.name,
        mean_cost_usd=point.mean_cost_usd,
        mean_score=point.mean_score,
        shadow_price=point.price,
    )


def _curve_point(pool: Pool, point: CurvePoint) -> info_pb2.CurvePoint:
    shares = zip(pool.names, point.shares.tolist(), strict=True)
    return info_pb2.CurvePoint(
        mean_cost_usd=point.mean_cost_usd,
        mean_score=point.mean_score,
        shadow_price=point.price,
        shares={name: share for name, share in shares if share > 0.0},
    )
