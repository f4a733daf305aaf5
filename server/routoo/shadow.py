"""Counts what another policy would have done with the same requests."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from routoo.selector.arrays import BoolArray, IndexArray
    from routoo.selector.policies.base import Case, Policy


@dataclass(frozen=True, slots=True)
class Comparison:
    """Sums over the decisions that both policies made.

    Attributes:
        policy: the shadow's name.
        decisions: requests compared.
        disagreements: of these, where the shadow chose another model.
        cost_usd: sum of the predicted costs as decided by the policy in force.
        shadow_cost_usd: the same, had the shadow decided.
        score: sum of the predicted scores as decided by the policy in force.
        shadow_score: the same, had the shadow decided.
    """

    policy: str
    decisions: int = 0
    disagreements: int = 0
    cost_usd: float = 0.0
    shadow_cost_usd: float = 0.0
    score: float = 0.0
    shadow_score: float = 0.0


class Comparisons(Collector):
    """The counts of every shadow policy that there was; they outlive engines. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[str, Comparison] = {}

    def of(self, policy: str) -> Comparison:
        """The counts of one so far."""
        return self._sums.get(policy) or Comparison(policy)

    def add(self, seen: Comparison) -> None:
        """Adds to the counts of its policy."""
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
        """The metrics, read from the scraping thread."""
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


class Shadow:
    """A policy that decides nothing. From any thread.

    Args:
        policy: the shadow.
        comparisons: where it counts.
    """

    def __init__(self, policy: Policy, comparisons: Comparisons) -> None:
        self._policy = policy
        self._comparisons = comparisons
        comparisons.add(Comparison(policy.name))  # so that its metrics are there from the start

    @property
    def comparison(self) -> Comparison:
        """The counts so far."""
        return self._comparisons.of(self._policy.name)

    def compare(self, case: Case, choice: IndexArray, compared: BoolArray) -> None:
        """Decides the rows ``compared``, bool [n], again, and counts; ``choice`` is what holds."""
        rows = np.flatnonzero(compared & (choice >= 0))
        other = self._policy.choose(case)[rows]
        chosen = choice[rows]
        cost_usd, shadow_cost_usd, score, shadow_score = (
            float(array[rows, columns].sum())
            for array in (case.costs_usd, case.scores)
            for columns in (chosen, other)
        )
        self._comparisons.add(
            Comparison(
                self._policy.name,
                decisions=len(rows),
                disagreements=int(np.count_nonzero(chosen != other)),
                cost_usd=cost_usd,
                shadow_cost_usd=shadow_cost_usd,
                score=score,
                shadow_score=shadow_score,
            )
        )
