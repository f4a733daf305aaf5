"""Escalations between proto and plain types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.api.convert import optional_number, route_response
from routoo.errors import InvalidRequestError
from routoo.routing.escalation import EscalationRequest
from routoo.selector.cascade import feature_of
from routoo.v1 import outcome_pb2

if TYPE_CHECKING:
    from routoo.routing.escalation import Escalation


def escalation_request(
    message: outcome_pb2.EscalateRequest, tenant: str | None = None
) -> EscalationRequest:
    """Checks and converts one request for an escalation.

    Args:
        message: the request.
        tenant: whose decision it has to be; None: anybody's.

    Raises:
        InvalidRequestError: names the field.
    """
    if not message.decision_id:
        raise InvalidRequestError("is empty; name the decision to escalate", field="decision_id")
    min_score = optional_number(message, "min_score")
    if min_score is not None and min_score > 1.0:
        raise InvalidRequestError(
            f"{min_score} is above 1; scores are in [0, 1]", field="min_score"
        )
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
    """An escalation as its reply."""
    decision = escalation.decision
    return outcome_pb2.EscalateResponse(
        response=None if decision is None else route_response(decision),
        kept_score=escalation.kept_score,
        expected_gain=escalation.gain,
        extra_cost_usd=escalation.extra_cost_usd,
        price=escalation.price,
        reason=escalation.text,
    )
