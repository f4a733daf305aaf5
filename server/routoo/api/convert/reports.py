"""Conversion of reports, escalations, budgets and a shadow's counts to and from protobuf."""

from __future__ import annotations

import re
from math import inf
from typing import TYPE_CHECKING

from routoo import __version__
from routoo.api.convert.health import health_message, reported_failure
from routoo.api.convert.learning import learning_message
from routoo.api.convert.messages import optional_number, preset_message, route_response
from routoo.api.convert.trials import experiment_message, promise_messages
from routoo.errors import InvalidRequestError
from routoo.routing.escalation import EscalationRequest
from routoo.routing.outcome import OutcomeReport
from routoo.selector.cascade import feature_of
from routoo.tariffs.tariff import check_usage
from routoo.tariffs.usage import Usage
from routoo.telemetry.outcome_counts import Capped
from routoo.v1 import budget_pb2, info_pb2, outcome_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routoo.budget.ledger import BudgetState
    from routoo.config.settings import Settings
    from routoo.engine.overview import EngineInfo
    from routoo.routing.escalation import Escalation
    from routoo.routing.outcome import ReportResult
    from routoo.telemetry.shadow_counts import Comparison


_REASON_CODE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_INPUT_PARTS = (
    "cached_input_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "audio_input_tokens",
    "image_input_tokens",
    "video_input_tokens",
)
_OUTPUT_PARTS = ("reasoning_tokens", "audio_output_tokens")


def outcome(message: outcome_pb2.ReportOutcomeRequest, tenant: str | None = None) -> OutcomeReport:
    """Checks and converts a report of an outcome.

    Args:
        message: the report.
        tenant: the tenant whose decision it has to be; None: any tenant's.

    Raises:
        InvalidRequestError: names the field.
    """
    if not message.decision_id:
        raise InvalidRequestError(
            "is empty; send the decision_id of the reply", field="decision_id"
        )
    cost_usd = optional_number(message, "cost_usd")
    score = optional_number(message, "score", 1.0)
    latency_ms = optional_number(message, "latency_ms")
    first_token_ms = optional_number(message, "time_to_first_token_ms")
    if first_token_ms is not None and first_token_ms > (inf if latency_ms is None else latency_ms):
        raise InvalidRequestError(
            f"{first_token_ms} is later than the last token; it counts from the same start as"
            " latency_ms",
            field="time_to_first_token_ms",
        )
    failure, error = reported_failure(message)
    return OutcomeReport(
        decision_id=message.decision_id,
        model=message.model,
        score=score,
        cost_usd=cost_usd,
        input_tokens=message.input_tokens if message.HasField("input_tokens") else None,
        output_tokens=message.output_tokens if message.HasField("output_tokens") else None,
        latency_ms=latency_ms,
        time_to_first_token_ms=first_token_ms,
        error=error,
        tenant=tenant,
        usage=_usage(message),
        status=message.status_code,
        failure=failure,
        reason_code=_reason_code(message.reason_code),
    )


def _reason_code(code: str) -> str:
    if code and not _REASON_CODE.fullmatch(code):
        raise InvalidRequestError(
            f"{code[:80]!r} is no code; take up to 64 letters, digits, '.', '_' and '-', and no"
            " text of the prompt",
            field="reason_code",
        )
    return code


def report_response(result: ReportResult) -> outcome_pb2.ReportOutcomeResponse:
    """Converts what came of a report to its reply."""
    # The numbers are those of the API.
    return outcome_pb2.ReportOutcomeResponse(accepted=bool(result), result=result.value)  # type: ignore[arg-type]


def _usage(message: outcome_pb2.ReportOutcomeRequest) -> Usage | None:
    """Returns the usage that a report tells; None: it tells no tokens.

    Raises:
        InvalidRequestError: an amount that no answer can have, or parts that are more than their
            total; names the field.
    """
    usage = Usage(
        input_tokens=message.input_tokens if message.HasField("input_tokens") else None,
        output_tokens=message.output_tokens if message.HasField("output_tokens") else None,
        service_tier=message.service_tier,
        **{name: getattr(message, name) for name in (*_INPUT_PARTS, *_OUTPUT_PARTS, "images")},
    )
    check_usage(usage)
    if usage == Usage():
        return None
    for total, parts in (("input_tokens", _INPUT_PARTS), ("output_tokens", _OUTPUT_PARTS)):
        tokens = getattr(usage, total)
        if tokens is None:
            raise InvalidRequestError(
                "is not set; the cost needs both kinds of tokens, or cost_usd", field=total
            )
        for part in parts:
            if getattr(usage, part) > tokens:
                raise InvalidRequestError(
                    f"{getattr(usage, part)} are more than {total} ({tokens}), which they are part"
                    " of; count them there, too",
                    field=part,
                )
    return usage


def budgets_response(
    budgets: list[tuple[BudgetState, float]], capped: Mapping[str, Capped]
) -> budget_pb2.GetBudgetResponse:
    """Converts budgets to their reply.

    Args:
        budgets: each with its price.
        capped: by a budget's name, the reports that were booked in part.
    """
    none = Capped()
    return budget_pb2.GetBudgetResponse(
        budgets=[
            budget_pb2.Budget(
                name=state.terms.name,
                tenant=state.terms.tenant,
                limit_usd=state.terms.limit_usd,
                reserved_usd=state.reserved_usd,
                settled_usd=state.settled_usd,
                period_s=state.terms.period_s,
                period_left_s=state.period_left_s,
                shadow_price=price,
                degraded=state.degraded,
                overdraft_usd=state.overdraft_usd,
                granted_requests=state.granted,
                reported_usd=state.reported_usd,
                reported_reserved_usd=state.reported_reserved_usd,
                unreported_requests=state.expired,
                capped_reports=capped.get(state.terms.name, none).reports,
                capped_usd=capped.get(state.terms.name, none).beyond_usd,
            )
            for state, price in budgets
        ]
    )


def add_capped(response: budget_pb2.GetBudgetResponse, other: bytes) -> None:
    """Adds to budgets what another worker has counted of reports that were booked in part.

    Args:
        response: the budgets, with what this worker has counted.
        other: the other worker's reply.
    """
    counted = {one.name: one for one in budget_pb2.GetBudgetResponse.FromString(other).budgets}
    for one in response.budgets:
        if one.name in counted:
            one.capped_reports += counted[one.name].capped_reports
            one.capped_usd += counted[one.name].capped_usd


def info_response(
    info: EngineInfo, settings: Settings, uptime_s: float
) -> info_pb2.GetInfoResponse:
    """Converts the facts about the running service to their reply.

    Args:
        info: the facts that the engine knows.
        settings: the settings in force.
        uptime_s: seconds since the service was ready.
    """
    return info_pb2.GetInfoResponse(
        version=__version__,
        predictor_version=info.predictor_version,
        predictor_backend=info.predictor_backend,
        policy_version=info.policy_version,
        policies=info.policies,
        tasks=info.tasks,
        price_version=info.price_version,
        max_mean_cost_usd=settings.policy.max_mean_cost_usd,
        shadow_price=info.price,
        price_set_by=info.price_set_by,
        max_prompt_tokens=info.max_prompt_tokens,
        max_prompt_chars=settings.limits.max_prompt_chars,
        max_batch_prompts=settings.limits.max_batch_prompts,
        max_queue=settings.batching.max_queue,
        degraded=info.degraded,
        uptime_s=uptime_s,
        shadow=None if info.shadow is None else _shadow(info.shadow),
        corrections=info_pb2.Corrections(enabled=False)
        if info.corrections is None
        else info_pb2.Corrections(
            enabled=True,
            version=info.corrections.version,
            length_reports=info.corrections.length_reports,
            latency_reports=info.corrections.latency_reports,
        ),
        health=health_message(info.health),
        experiment=experiment_message(info.trials),
        guarantee=promise_messages(info.trials),
        learning=learning_message(info.learning),
        presets=[preset_message(point) for point in info.presets],
    )


def _shadow(counts: Comparison) -> info_pb2.Shadow:
    """Converts a shadow policy's counts to a message."""
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


def escalation_request(
    message: outcome_pb2.EscalateRequest, tenant: str | None = None
) -> EscalationRequest:
    """Checks and converts one request for an escalation.

    Args:
        message: the request.
        tenant: the tenant whose decision it has to be; None: any tenant's.

    Raises:
        InvalidRequestError: names the field.
    """
    if not message.decision_id:
        raise InvalidRequestError("is empty; name the decision to escalate", field="decision_id")
    min_score = optional_number(message, "min_score", 1.0)
    kind = message.WhichOneof("signal")
    signal = None
    if kind is not None:
        value = message.logprobs.values if kind == "logprobs" else getattr(message, kind)
        signal = (kind, feature_of(kind, value))
    return EscalationRequest(
        decision_id=message.decision_id,
        signal=signal,
        answered_models=tuple(message.answered_models),
        min_score=min_score,
        max_cost_usd=optional_number(message, "max_cost_usd"),
        tenant=tenant,
    )


def escalate_response(escalation: Escalation) -> outcome_pb2.EscalateResponse:
    """Converts an escalation to its reply."""
    decision = escalation.decision
    return outcome_pb2.EscalateResponse(
        response=None if decision is None else route_response(decision),
        kept_score=escalation.kept_score,
        expected_gain=escalation.gain,
        extra_cost_usd=escalation.extra_cost_usd,
        price=escalation.price,
        reason=escalation.text,
        second_model=escalation.second or None,
    )
