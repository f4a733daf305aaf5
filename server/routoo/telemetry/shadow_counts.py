"""Metrics that compare shadow policies with the policy in force, in decisions, cost and score."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric


@dataclass(frozen=True, slots=True)
class Comparison:
    """Sums over the decisions that both policies made.

    Attributes:
        policy: the shadow's name.
        decisions: number of requests compared.
        disagreements: number of these for which the shadow chose another model.
        cost_usd: sum of the predicted costs as decided by the policy in force.
        shadow_cost_usd: sum of the predicted costs as decided by the shadow.
        score: sum of the predicted scores as decided by the policy in force.
        shadow_score: sum of the predicted scores as decided by the shadow.
    """

    policy: str
    decisions: int = 0
    disagreements: int = 0
    cost_usd: float = 0.0
    shadow_cost_usd: float = 0.0
    score: float = 0.0
    shadow_score: float = 0.0


class Comparisons(Collector):
    """The counts of every shadow policy since the start, over reloads. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[str, Comparison] = {}

    def of(self, policy: str) -> Comparison:
        """Returns the counts of a policy so far."""
        return self._sums.get(policy) or Comparison(policy)

    def add(self, seen: Comparison) -> None:
        """Adds a comparison to the counts of its policy."""
        with self._lock:
            sums = self.of(seen.policy)
            self._sums[seen.policy] = Comparison(
                seen.policy,
                sums.decisions + seen.decisions,
                sums.disagreements + seen.disagreements,
                sums.cost_usd + seen.cost_usd,
                sums.shadow_cost_usd + seen.shadow_cost_usd,
                sums.score + seen.score,
                sums.shadow_score + seen.shadow_score,
            )

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics; called from the scraping thread."""
        with self._lock:
            all_sums = list(self._sums.values())
        for name, text in (
            ("decisions", "Decisions that a shadow policy was compared on."),
            ("disagreements", "Of these, the shadow chose another model."),
        ):
            counter = CounterMetricFamily(f"routoo_shadow_{name}", text, labels=("policy",))
            for sums in all_sums:
                counter.add_metric((sums.policy,), getattr(sums, name))
            yield counter
        for name, text in (
            ("cost_usd", "Predicted costs in US dollars"),
            ("score", "Predicted scores"),
        ):
            counter = CounterMetricFamily(
                f"routoo_shadow_{name}",
                f"{text} summed over the compared decisions, by who decides.",
                labels=("policy", "decided_by"),
            )
            for sums in all_sums:
                counter.add_metric((sums.policy, "in_force"), getattr(sums, name))
                counter.add_metric((sums.policy, "shadow"), getattr(sums, f"shadow_{name}"))
            yield counter
