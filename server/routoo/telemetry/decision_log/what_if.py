"""Decides a log's requests again by another policy, another price or another pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from routoo.selector.reason import Reason
from routoo.telemetry.decision_log.billed import answered, cost_again_usd
from routoo.telemetry.decision_log.otherwise import decide_otherwise, renamed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routoo.routing.pool import Pool
    from routoo.selector.arrays import FloatArray, IndexArray
    from routoo.telemetry.decision_log.columns import Logged
    from routoo.telemetry.decision_log.otherwise import Alternative
    from routoo.telemetry.decision_log.reader import LogContents, Report


@dataclass(frozen=True, slots=True)
class Reported:
    """Sums over reports with a score and over those with a cost.

    Attributes:
        scored: the number of reports with a score.
        score: the sum of those scores.
        predicted_score: the sum of the scores that were predicted for the same answers.
        costed: the number of reports with a cost.
        cost_usd: the sum of those costs.
        predicted_cost_usd: the sum of the costs that were predicted for the same answers.
    """

    scored: int = 0
    score: float = 0.0
    predicted_score: float = 0.0
    costed: int = 0
    cost_usd: float = 0.0
    predicted_cost_usd: float = 0.0

    def __add__(self, other: Reported) -> Reported:
        return Reported(
            self.scored + other.scored,
            self.score + other.score,
            self.predicted_score + other.predicted_score,
            self.costed + other.costed,
            self.cost_usd + other.cost_usd,
            self.predicted_cost_usd + other.predicted_cost_usd,
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums over decisions.

    Attributes:
        models: the number of decisions for each model.
        refused: the number of decisions without a model.
        score: the sum of the predicted scores.
        cost_usd: the sum of the predicted costs.
        reported: sums over the reports of these models' answers to these prompts.
    """

    models: Mapping[str, int]
    refused: int
    score: float
    cost_usd: float
    reported: Reported

    @property
    def decided(self) -> int:
        """The number of decisions for any model."""
        return sum(self.models.values())

    def __add__(self, other: Figures) -> Figures:
        names = {**self.models, **other.models}
        return Figures(
            {name: self.models.get(name, 0) + other.models.get(name, 0) for name in names},
            self.refused + other.refused,
            self.score + other.score,
            self.cost_usd + other.cost_usd,
            self.reported + other.reported,
        )


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A comparison of two ways to decide the same requests.

    Attributes:
        instead: a description of the other way.
        as_decided: the sums of the logged way.
        as_instead: the sums of the other way.
        same: the number of decisions that are the same.
        turned: the number of decisions that a budget changed or refused; the other way has no
            budgets.
    """

    instead: str
    as_decided: Figures
    as_instead: Figures
    same: int
    turned: int


def what_if(log: LogContents, instead: Alternative) -> WhatIf:
    """Decides every request of a log in another way, each on its own.

    Predicted scores and lengths, and the requests' own constraints, are the log's. Budgets are not
    simulated, and joint batches are decided prompt by prompt at their shadow price.

    Raises:
        DecisionLogError: the other way does not fit the log; the message says why.
    """
    nothing = Figures({}, 0, 0.0, 0.0, Reported())
    then = other = nothing
    same = turned = 0
    for logged in log.decisions:
        decided = decide_otherwise(logged, instead)
        moved, pool, choice = decided.logged, decided.pool, decided.choice
        reports = [log.reports.get(one) for one in logged.ids]
        by = answered(logged, reports)
        then += _figures(logged, logged.setup.pool, logged.choice, reports, by)
        # Columns of the other pool, by the model's name.
        there = renamed(by, logged.setup.pool, pool)
        other += _figures(moved, pool, choice, reports, there)
        same += int(np.count_nonzero(renamed(logged.choice, logged.setup.pool, pool) == choice))
        spent = logged.reasons == Reason.BUDGET_SPENT
        turned += int(np.count_nonzero(spent | (logged.choice != logged.wanted)))
    return WhatIf(instead.text, then, other, same, turned)


def _figures(
    logged: Logged,
    pool: Pool,
    choice: IndexArray,
    reports: Sequence[Report | None],
    by: IndexArray,
) -> Figures:
    rows = np.flatnonzero(choice >= 0)
    scores = logged.estimates.scores[rows, choice[rows]]
    costs_usd = logged.estimates.costs_usd[rows, choice[rows]]
    counts = np.bincount(choice[rows], minlength=len(pool.names)).tolist()
    return Figures(
        models=dict(zip(pool.names, counts, strict=True)),
        refused=len(choice) - len(rows),
        score=float(scores.sum()),
        cost_usd=float(costs_usd.sum()),
        reported=_reported(logged, pool, choice, reports, by),
    )


def _reported(
    logged: Logged,
    pool: Pool,
    choice: IndexArray,
    reports: Sequence[Report | None],
    by: IndexArray,
) -> Reported:
    """Sums over the reports of the decisions whose model is the one that answered."""
    rows = np.flatnonzero((choice >= 0) & (choice == by))
    known = [reports[row] for row in rows.tolist()]
    scores = np.array(
        [np.nan if one is None or one.score is None else one.score for one in known], np.float64
    )
    costs = np.array(
        [
            np.nan
            if one is None or one.failed
            else cost_again_usd(one, pool, column, logged.estimates, row)
            for one, column, row in zip(known, choice[rows].tolist(), rows.tolist(), strict=True)
        ],
        np.float64,
    )

    def predicted(figures: FloatArray, where: FloatArray) -> float:
        return float(figures[rows, choice[rows]][np.isfinite(where)].sum())

    return Reported(
        scored=int(np.isfinite(scores).sum()),
        score=float(np.nansum(scores)),
        predicted_score=predicted(logged.estimates.scores, scores),
        costed=int(np.isfinite(costs).sum()),
        cost_usd=float(np.nansum(costs)),
        predicted_cost_usd=predicted(logged.estimates.costs_usd, costs),
    )
