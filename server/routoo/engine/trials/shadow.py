"""Counts the decisions that another policy would have made for the same requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from routoo.telemetry.shadow_counts import Comparison, Comparisons

if TYPE_CHECKING:
    from routoo.selector.arrays import BoolArray, IndexArray
    from routoo.selector.policies.base import Case, Policy


class Shadow:
    """Runs a second policy beside the one in force, for comparison only. Thread-safe.

    Args:
        policy: the shadow policy.
        comparisons: holds its counts.
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
        """Decides rows again by the shadow policy, and counts the differences.

        Args:
            case: the input of both policies.
            choice: int [n], by the policy in force.
            compared: bool [n], the rows to compare.
        """
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
