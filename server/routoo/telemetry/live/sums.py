"""Sums over decisions of the feed, and another policy on the same requests."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from routoo.selector.policies.base import Case

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routoo.selector.arrays import FloatArray, IndexArray
    from routoo.selector.policies.base import Policy
    from routoo.telemetry.live.seen_decision import SeenDecision


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over decisions.

    Attributes:
        decisions: their number, without requests that were refused.
        refused: requests that were refused.
        cost_usd: the sum of the predicted costs.
        mean_score: the mean predicted score; 0 where there are no decisions.
        best: the name of the model with the highest mean predicted score among those that all of
            them could choose; empty: there is none.
        best_cost_usd: the sum of its predicted costs.
        best_mean_score: its mean predicted score.
        models: decisions by the name of the model or its arm.
    """

    decisions: int = 0
    refused: int = 0
    cost_usd: float = 0.0
    mean_score: float = 0.0
    best: str = ""
    best_cost_usd: float = 0.0
    best_mean_score: float = 0.0
    models: Mapping[str, int] = field(default_factory=dict)


def totals_of(seen: Sequence[SeenDecision], choice: Sequence[int] | None = None) -> Totals:
    """Adds up decisions.

    Args:
        seen: n decisions. Those with another pool than the last one count in the sums, and leave
            no best model.
        choice: the chosen columns, int [n], -1: none; None: as decided.
    """
    columns = [one.choice for one in seen] if choice is None else choice
    made = [(one, column) for one, column in zip(seen, columns, strict=True) if column >= 0]
    if not made:
        return Totals(refused=len(seen))
    costs_usd = sum(float(one.costs_usd[column]) for one, column in made)
    scores = sum(float(one.scores[column]) for one, column in made)
    best, best_cost_usd, best_mean_score = "", 0.0, 0.0
    names = made[-1][0].pool.names
    if all(one.pool.names == names for one, _ in made):
        every = np.logical_and.reduce([one.mask for one, _ in made])
        if every.any():
            means = np.mean([one.scores for one, _ in made], axis=0)
            column = int(np.argmax(np.where(every, means, -np.inf)))
            best, best_mean_score = names[column], float(means[column])
            best_cost_usd = sum(float(one.costs_usd[column]) for one, _ in made)
    return Totals(
        decisions=len(made),
        refused=len(seen) - len(made),
        cost_usd=costs_usd,
        mean_score=scores / len(made),
        best=best,
        best_cost_usd=best_cost_usd,
        best_mean_score=best_mean_score,
        models=dict(Counter(one.pool.names[column] for one, column in made).most_common()),
    )


def decided_by(policy: Policy, seen: Sequence[SeenDecision], prices: FloatArray) -> IndexArray:
    """Decides requests again by another policy, within the constraints that they had.

    Args:
        policy: decides.
        seen: n decisions with one pool.
        prices: float64 [n], score per USD.

    Returns:
        The chosen columns, int [n]; -1 where no model was eligible.
    """
    if not seen:
        return np.zeros(0, np.intp)
    return policy.choose(
        Case(
            scores=np.array([one.scores for one in seen]),
            costs_usd=np.array([one.costs_usd for one in seen]),
            mask=np.array([one.mask for one in seen]),
            prices=prices,
            max_quality_gaps=np.full(len(seen), np.nan),
            tickets=np.array([one.ticket for one in seen], np.int64),
        )
    )
