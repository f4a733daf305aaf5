"""Conversion of the latest decisions, and of sums over them, to protobuf."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from routoo.api.convert.messages import RULES
from routoo.v1 import live_pb2, route_pb2

if TYPE_CHECKING:
    from routoo.telemetry.live.seen_decision import SeenDecision
    from routoo.telemetry.live.sums import Totals


def decision_message(seen: SeenDecision) -> live_pb2.LiveDecision:
    """Converts a decision, or a refused request."""
    message = live_pb2.LiveDecision(
        number=seen.number,
        decision_id=seen.decision_id,
        time=_time_text(seen.time_s),
        tenant=seen.tenant,
        policy=seen.policy,
        refused=seen.refused,
        shadow_price=seen.price,
        priced_by=seen.priced_by,
        degraded=seen.degraded,
        joint=seen.joint,
        prompt=seen.prompt,
    )
    column, insight = seen.choice, seen.insight
    if column < 0 or insight is None:
        return message
    message.model = seen.pool.names[column]
    message.rule = RULES[seen.reason]
    message.predicted_score = float(seen.scores[column])
    message.predicted_cost_usd = float(seen.costs_usd[column])
    message.predicted_latency_ms = float(seen.latencies_ms[column])
    if seen.joint:
        message.rule = route_pb2.RULE_BATCH_OPTIMUM
    for name in ("task", "task_confidence", "score_std"):
        value = getattr(insight, name)
        if value is not None:
            setattr(message, name, value)
    return message


def totals_message(totals: Totals) -> live_pb2.DecisionTotals:
    """Converts sums over decisions."""
    return live_pb2.DecisionTotals(
        decisions=totals.decisions,
        refused=totals.refused,
        predicted_cost_usd=totals.cost_usd,
        mean_predicted_score=totals.mean_score,
        best_model=totals.best,
        best_cost_usd=totals.best_cost_usd,
        best_mean_score=totals.best_mean_score,
        models=totals.models,
    )


def difference_message(seen: SeenDecision, column: int, other: int) -> live_pb2.PolicyDifference:
    """Converts a request on which two policies differ.

    Args:
        seen: the decision that was made.
        column: the choice of the first policy.
        other: the choice of the other one.
    """
    return live_pb2.PolicyDifference(
        decision_id=seen.decision_id,
        model=seen.pool.names[column],
        predicted_score=float(seen.scores[column]),
        predicted_cost_usd=float(seen.costs_usd[column]),
        other_model=seen.pool.names[other],
        other_predicted_score=float(seen.scores[other]),
        other_predicted_cost_usd=float(seen.costs_usd[other]),
        prompt=seen.prompt,
    )


def _time_text(time_s: float) -> str:
    now = datetime.fromtimestamp(time_s, UTC)
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
