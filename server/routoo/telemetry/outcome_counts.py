"""Metrics of reported outcomes beside the predictions for the same answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class OutcomeCounts:
    """Counters of reported outcomes; they are kept over reloads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reports = Counter(
            "routoo_outcomes",
            "Reported outcomes: accepted, failed (accepted, but there was no answer), refused"
            " (unknown, another tenant's, or reported before).",
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
