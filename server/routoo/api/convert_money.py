"""Reports, budgets and a shadow's counts to and from protobuf."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.api.convert import optional_number
from routoo.errors import InvalidRequestError
from routoo.routing.outcome import Outcome
from routoo.v1 import budget_pb2, info_pb2

if TYPE_CHECKING:
    from routoo.budget.ledger import BudgetState
    from routoo.telemetry.shadow_counts import Comparison
    from routoo.v1 import outcome_pb2

_NANO = 1e9


def outcome(message: outcome_pb2.ReportOutcomeRequest, tenant: str | None = None) -> Outcome:
    """Checks and converts a report; ``tenant``: whose decision it has to be, None: anybody's.

    Raises:
        InvalidRequestError: names the field.
    """
    if not message.decision_id:
        raise InvalidRequestError(
            "is empty; send the decision_id of the reply", field="decision_id"
        )
    cost_usd = optional_number(message, "cost_usd")
    score = optional_number(message, "score")
    if score is not None and score > 1.0:
        raise InvalidRequestError(f"{score} is above 1; scores are in [0, 1]", field="score")
    latency_ms = optional_number(message, "latency_ms")
    return Outcome(
        decision_id=message.decision_id,
        model=message.model,
        score=score,
        cost_usd=cost_usd,
        input_tokens=message.input_tokens if message.HasField("input_tokens") else None,
        output_tokens=message.output_tokens if message.HasField("output_tokens") else None,
        latency_ms=latency_ms,
        error=message.error,
        tenant=tenant,
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
