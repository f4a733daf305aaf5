"""Metrics of exploring: explored decisions, and what they are expected to cost beyond the best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class ExplorationCounts:
    """Counts of exploring. Thread-safe.

    Attributes:
        explored: explored decisions, by the model that was drawn.
        cost_usd: what they are expected to cost beyond the best ones.
        withdrawn: drawn models that a budget or a limit had no room for, so that the best one
            answers.
        share: the share of decisions that are explored at present.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.explored = Counter(
            "routoo_explored_decisions",
            "Decisions for another model than the best, by policy.explore, by that model.",
            ("model",),
            registry=registry,
        )
        self.cost_usd = Counter(
            "routoo_exploration_cost_usd",
            "Sum in US dollars of what these are expected to cost beyond the best models.",
            registry=registry,
        )
        self.withdrawn = Counter(
            "routoo_explorations_withdrawn",
            "Drawn models that a budget or a limit had no room for; the best one answers.",
            registry=registry,
        )
        self.share = Gauge(
            "routoo_exploration_share",
            "Share of the decisions that are explored at present.",
            registry=registry,
        )
