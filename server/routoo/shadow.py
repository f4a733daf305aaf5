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


class Shadow(Collector):
    """A policy that decides nothing. Its counts are metrics; read and written from any thread."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._lock = threading.Lock()
        self._sums = Comparison(policy.name)

    @property
    def comparison(self) -> Comparison:
        """The counts so far."""
        return self._sums

    def compare(self, case: Case, choice: IndexArray, compared: BoolArray) -> None:
        """Decides the rows ``compared``, bool [n], again, and counts; ``choice`` is what holds."""
        rows = np.flatnonzero(compared & (choice >= 0))
        other = self._policy.choose(case)[rows]
        chosen = choice[rows]
        figures = [
            float(array[rows, columns].sum())
            for array in (case.costs_usd, case.scores)
            for columns in (chosen, other)
        ]
        with self._lock:
            sums = self._sums
            self._sums = Comparison(
                sums.policy,
                sums.decisions + len(rows),
                sums.disagreements + int(np.count_nonzero(chosen != other)),
                sums.cost_usd + figures[0],
                sums.shadow_cost_usd + figures[1],
                sums.score + figures[2],
                sums.shadow_score + figures[3],
            )

    def collect(self) -> Iterator[Metric]:
        """The metrics, read from the scraping thread."""
        sums = self._sums
        for name, text, value in (
            ("decisions", "Decisions that a shadow policy was compared on.", sums.decisions),
            ("disagreements", "Of these, the shadow chose another model.", sums.disagreements),
        ):
            counter = CounterMetricFamily(f"routoo_shadow_{name}", text, labels=("policy",))
            counter.add_metric((sums.policy,), value)
            yield counter
        for name, text, in_force, shadow in (
            ("cost_usd", "Predicted costs in US dollars", sums.cost_usd, sums.shadow_cost_usd),
            ("score", "Predicted scores", sums.score, sums.shadow_score),
        ):
            counter = CounterMetricFamily(
                f"routoo_shadow_{name}",
                f"{text} summed over the compared decisions, by who decides.",
                labels=("policy", "decided_by"),
            )
            counter.add_metric((sums.policy, "in_force"), in_force)
            counter.add_metric((sums.policy, "shadow"), shadow)
            yield counter
