"""Money by tenant, model and day, as a decision log tells it: predicted, settled, and saved.

The answers that escalations asked for are among it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from routoo.telemetry.decision_log.billed import answered, usage_cost_usd
from routoo.telemetry.decision_log.reader import DecisionLogError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from routoo.telemetry.decision_log.columns import Logged
    from routoo.telemetry.decision_log.reader import LogContents, Report

KEYS = ("tenant", "model", "day")
"""The figures by which spending may be told apart."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Sums over decisions for a model.

    Attributes:
        decisions: their number.
        escalated: those among them that an escalation made, after an answer was weighed.
        reported: those of which the outcome was reported; the others are settled at the estimate.
        predicted_usd: the sum of the predicted costs.
        settled_usd: the sum of what was settled.
        best_usd: the sum of the predicted costs of the best model for the same prompts, once for
            each prompt.
    """

    decisions: int = 0
    escalated: int = 0
    reported: int = 0
    predicted_usd: float = 0.0
    settled_usd: float = 0.0
    best_usd: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.decisions + other.decisions,
            self.escalated + other.escalated,
            self.reported + other.reported,
            self.predicted_usd + other.predicted_usd,
            self.settled_usd + other.settled_usd,
            self.best_usd + other.best_usd,
        )

    @property
    def saved_usd(self) -> float:
        """The predicted cost of the best model for everything, minus that of the decisions."""
        return self.best_usd - self.predicted_usd


@dataclass(frozen=True, slots=True)
class Spending:
    """The spending in a log.

    Attributes:
        by: the figures of ``KEYS`` by which it is told apart.
        best: the model to which everything could have been sent.
        rows: the sums by the values of these figures, in their order. The model is the one that
            answered, or the decided one; the day is that of the decision, in UTC.
        total: the sum of all rows.
    """

    by: tuple[str, ...]
    best: str
    rows: dict[tuple[str, ...], Spent]
    total: Spent


def spending(log: LogContents, by: Sequence[str] = KEYS, best: str = "") -> Spending:
    """Adds up what the decisions of a log cost.

    Args:
        log: the decisions and reports.
        by: figures of ``KEYS``.
        best: the model to which everything could have been sent; empty: the one with the highest
            mean predicted score among those that all decisions could choose.

    Raises:
        DecisionLogError: the log has no such model, or no model in common.
    """
    best = _best(log, best)
    rows: dict[tuple[str, ...], Spent] = {}
    for logged in log.decisions:
        _add(rows, logged, log, by, best)
    for answer, time_s in _next_answers(log):
        _add(rows, answer, log, by, escalated_s=time_s)
    ordered = {key: rows[key] for key in sorted(rows)}
    return Spending(tuple(by), best, ordered, sum(ordered.values(), Spent()))


def _add(
    rows: dict[tuple[str, ...], Spent],
    logged: Logged,
    log: LogContents,
    by: Sequence[str],
    best: str = "",
    escalated_s: int | None = None,
) -> None:
    """Adds decisions to the sums; those of an escalation have its time, and no best model."""
    reports = [log.reports.get(one) for one in logged.ids]
    columns = answered(logged, reports)
    costs_usd = logged.estimates.costs_usd
    for row in np.flatnonzero(logged.choice >= 0).tolist():
        column, report = int(columns[row]), reports[row]
        chosen = int(logged.choice[row])
        keys = _keys(logged, row, chosen if column < 0 else column, escalated_s)
        key = tuple(keys[name] for name in by)
        rows[key] = rows.get(key, Spent()) + Spent(
            decisions=1,
            escalated=int(escalated_s is not None),
            reported=int(report is not None),
            predicted_usd=float(costs_usd[row, chosen]),
            settled_usd=_settled_usd(logged, row, column, report),
            best_usd=float(costs_usd[row, logged.setup.pool.index[best]]) if best else 0.0,
        )


def _next_answers(log: LogContents) -> Iterator[tuple[Logged, int]]:
    """Yields each decision of an escalation whose first decision is in the log, and its time.

    It has the predictions of the decision whose answer was weighed, but for its own cost.
    """
    if not log.next_answers:
        return
    known = {one: (logged, row) for logged in log.decisions for row, one in enumerate(logged.ids)}
    for answer in log.next_answers:
        found = known.get(answer.weighed)
        column = None if found is None else found[0].setup.pool.index.get(answer.model)
        if found is None or column is None:
            continue
        before = found[0].take(np.array([found[1]], np.intp))
        costs_usd = before.estimates.costs_usd.copy()
        costs_usd[0, column] = answer.cost_usd
        new = replace(
            before,
            ids=[answer.id],
            choice=np.array([column], np.intp),
            estimates=replace(before.estimates, costs_usd=costs_usd),
        )
        known[answer.id] = (new, 0)
        yield new, answer.time_s


def _settled_usd(logged: Logged, row: int, column: int, report: Report | None) -> float:
    """Returns what was settled: as ``OutcomeSettlement.report`` does."""
    estimates = logged.estimates
    known = int(logged.choice[row]) if column < 0 else column
    if report is not None:
        if report.cost_usd is not None:
            return report.cost_usd
        billed_usd = usage_cost_usd(report, logged.setup.pool, known, estimates, row)
        if billed_usd is not None:
            return billed_usd
        if report.failed and not report.estimated:
            return 0.0
    return float(estimates.costs_usd[row, known])


def _keys(logged: Logged, row: int, column: int, at_s: int | None) -> dict[str, str]:
    if at_s is None:
        priced_s = logged.estimates.priced_s
        at_s = 0 if priced_s is None else int(priced_s[row])
    return {
        "tenant": logged.requests[row].tenant,
        "model": logged.setup.pool.names[column],
        "day": datetime.fromtimestamp(at_s, UTC).date().isoformat(),
    }


def _best(log: LogContents, best: str) -> str:
    pools = [logged.setup.pool for logged in log.decisions]
    common = [name for name in pools[0].names if all(name in pool.index for pool in pools)]
    if best and best not in common:
        raise DecisionLogError(
            f"model {best!r} could not be chosen for all decisions; name one of"
            f" {', '.join(common) or 'a log with one pool'}"
        )
    if not common:
        raise DecisionLogError("the decisions have no model in common; name the logs of one pool")
    scores = {
        name: sum(
            float(logged.estimates.scores[:, logged.setup.pool.index[name]].sum())
            for logged in log.decisions
        )
        for name in common
    }
    return best or max(common, key=lambda name: scores[name])
