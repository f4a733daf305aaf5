"""Counts the decisions that another policy would have made for the same requests."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from routoo.selector.lp.presets import PRESETS
from routoo.telemetry.shadow_counts import Comparison, Comparisons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.engine.accounting import Accounting
    from routoo.routing.policies import Policies
    from routoo.selector.arrays import BoolArray, IndexArray
    from routoo.selector.policies.base import Case, Policy


class Shadow:
    """Runs a second policy beside the one in force, for comparison only. Thread-safe.

    Args:
        policy: the shadow policy.
        comparisons: holds its counts.
        repriced: has the shadow's own prices; None: they are those of the policy in force.
    """

    def __init__(
        self, policy: Policy, comparisons: Comparisons, repriced: Accounting | None = None
    ) -> None:
        self._policy = policy
        self._repriced = repriced
        self._comparisons = comparisons
        comparisons.add(Comparison(policy.name))  # so that its metrics are there from the start

    @classmethod
    def of(
        cls, policies: Policies, comparisons: Comparisons, accounting: Accounting
    ) -> Shadow | None:
        """Returns the shadow of the settings; None: they name none."""
        shadow = policies.shadow
        if shadow is None:
            return None
        own = accounting if {policies.in_force.name, shadow.name} & {*PRESETS} else None
        return cls(shadow, comparisons, own)

    @property
    def comparison(self) -> Comparison:
        """The counts so far."""
        return self._comparisons.of(self._policy.name)

    def compare(
        self, case: Case, choice: IndexArray, compared: BoolArray, tenants: Sequence[str]
    ) -> None:
        """Decides rows again by the shadow policy, and counts the differences.

        Args:
            case: the input of both policies.
            choice: int [n], by the policy in force.
            compared: bool [n], the rows to compare.
            tenants: [n].
        """
        if self._repriced is not None:
            case = replace(case, prices=self._repriced.prices(self._policy.name, tenants))
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
