"""Metrics of reported outcomes beside the predictions for the same answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import Counter, Histogram

from routoo.telemetry.exploration_counts import ExplorationCounts
from routoo.telemetry.gen_ai import TOKEN_BUCKETS
from routoo.telemetry.health_metrics import HealthCounts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry


@dataclass(slots=True)
class Capped:
    """The reports about requests of a budget that told more than these could have cost.

    Attributes:
        reports: their number, since the process was started.
        beyond_usd: the sum of what they told and was not booked.
    """

    reports: int = 0
    beyond_usd: float = 0.0


class OutcomeCounts:
    """Counters of reported outcomes; they are kept over reloads.

    Attributes:
        capped_by_budget: by the budget's name, the reports that were booked in part.
        health: the failures among them.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.capped_by_budget: dict[str, Capped] = {}
        self.health = HealthCounts(registry)
        self.exploration = ExplorationCounts(registry)
        self._capped = Counter(
            "routoo_capped_reports",
            "Outcomes that told more than their requests could have cost, by"
            " ledger.report_factor, and were booked up to that.",
            registry=registry,
        )
        self._beyond = Counter(
            "routoo_capped_report_usd",
            "Sum in US dollars of what these outcomes told and was not booked.",
            registry=registry,
        )
        self.reports = Counter(
            "routoo_outcomes",
            "Reported outcomes: accepted, failed (accepted, but there was no answer), refused"
            " (unknown, another tenant's, or reported before).",
            ("result",),
            registry=registry,
        )
        self.corrections = Counter(
            "routoo_corrections",
            "Answers for the corrections of lengths and latencies: learned, dropped (too many"
            " waited for Redis). Faults: file_damaged (learned anew), file_failed (not written),"
            " redis_failed (not shared).",
            ("result",),
            registry=registry,
        )
        self.learning = Counter(
            "routoo_learned_scores",
            "Reported scores: learned, frozen (taught nothing, by learning.freeze), dropped (too"
            " many waited for Redis). Faults: file_damaged (learned anew), file_failed (not"
            " written), redis_failed (not shared).",
            ("result",),
            registry=registry,
        )
        self.scored = Counter(
            "routoo_scored_outcomes",
            "Accepted outcomes with a score, by the model that answered and its predicted score.",
            ("model", "predicted"),
            registry=registry,
        )
        self.reported_score = Counter(
            "routoo_reported_score",
            "Sum of the reported scores of these outcomes.",
            ("model", "predicted"),
            registry=registry,
        )
        self.predicted_score = Counter(
            "routoo_reported_predicted_score",
            "Sum of the scores that were predicted for the same answers.",
            ("model", "predicted"),
            registry=registry,
        )
        self.reported_cost = Counter(
            "routoo_reported_cost_usd",
            "Sum of the reported costs in US dollars, by the model that answered.",
            ("model",),
            registry=registry,
        )
        self.estimated_cost = Counter(
            "routoo_estimated_cost_usd",
            "Sum of the costs in US dollars that were booked by an estimate, as no provider had"
            " told them, by the model that answered.",
            ("model",),
            registry=registry,
        )
        self.predicted_cost = Counter(
            "routoo_reported_predicted_cost_usd",
            "Sum of the costs in US dollars that were predicted for the same answers.",
            ("model",),
            registry=registry,
        )
        self.tokens = Histogram(
            "gen_ai_client_token_usage",
            "Reported tokens of an answer by kind, provider and model: OpenTelemetry's"
            " gen_ai.client.token.usage.",
            (
                "gen_ai_operation_name",
                "gen_ai_provider_name",
                "gen_ai_token_type",
                "gen_ai_response_model",
            ),
            buckets=TOKEN_BUCKETS,
            registry=registry,
        )
        self.reported_latency = Counter(
            "routoo_reported_latency_ms",
            "Sum of the reported times to the last token in milliseconds, by the model that"
            " answered.",
            ("model",),
            registry=registry,
        )
        self.predicted_latency = Counter(
            "routoo_reported_predicted_latency_ms",
            "Sum of the times to the last token in milliseconds that were predicted for the same"
            " answers.",
            ("model",),
            registry=registry,
        )
        self.unknown_models = Counter(
            "routoo_answers_by_unknown_models",
            "Outcomes whose reply names a model that the pool does not know; they are billed as"
            " the decided model.",
            registry=registry,
        )
        self.unknown_service_tiers = Counter(
            "routoo_unknown_service_tiers",
            "Outcomes whose reply names a service tier that the pool has no multiplier for; they"
            " are billed at the highest that it knows.",
            registry=registry,
        )

    def capped(self, beyond_usd: float, budgets: Iterable[str]) -> None:
        """Counts a report that told more than its request could have cost.

        Args:
            beyond_usd: what was not booked.
            budgets: the names of the budgets in which the rest was booked.
        """
        self._capped.inc()
        self._beyond.inc(beyond_usd)
        for name in budgets:
            found = self.capped_by_budget.setdefault(name, Capped())
            found.reports += 1
            found.beyond_usd += beyond_usd
