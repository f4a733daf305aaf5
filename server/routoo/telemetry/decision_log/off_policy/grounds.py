"""Columns of logged decisions from which the value of another policy is estimated."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Self

import numpy as np
import orjson

from routoo.telemetry.decision_log.billed import answered, cost_again_usd
from routoo.telemetry.decision_log.otherwise import at_pool, decide_otherwise, renamed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from routoo.selector.arrays import BoolArray, FloatArray
    from routoo.telemetry.decision_log.columns import Logged
    from routoo.telemetry.decision_log.otherwise import Alternative
    from routoo.telemetry.decision_log.reader import LogContents


@dataclass(frozen=True, slots=True)
class LineExtras:
    """Lines of decisions, as far as replay has no use for them.

    Attributes:
        propensities: by decision id, where it is not 1; NaN: the log says that it is not known.
        prompts: by decision id, where the log has the texts and they are wanted.
    """

    propensities: Mapping[str, float]
    prompts: Mapping[str, str]

    @classmethod
    def read(cls, paths: Iterable[Path], *, prompts: bool) -> Self:
        """Reads files that ``read_logs`` could read; lines that are damaged are passed over."""
        propensities: dict[str, float] = {}
        texts: dict[str, str] = {}
        for path in paths:
            with path.open("rb") as lines:
                for line in lines:
                    if b'"propensity"' not in line and not prompts:
                        continue
                    try:
                        values = orjson.loads(line)
                        if values["kind"] != "decision":
                            continue
                        told = values.get("propensity", 1.0)
                        # Null: a budget or a limit had no room for what was drawn.
                        chance = nan if told is None else float(told)
                    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
                        continue
                    if chance != 1.0:
                        propensities[str(values["id"])] = chance
                    if prompts and isinstance(values.get("prompt"), str):
                        texts[str(values["id"])] = values["prompt"]
        return cls(propensities, texts)


@dataclass(frozen=True, slots=True)
class ValueGrounds:
    """n logged decisions beside those of another policy.

    Attributes:
        models: [n], the logged model.
        others: [n], the other policy's model.
        propensities: float64 [n], of the logged choice.
        matched: bool [n], whether the other policy chooses the same.
        scores: float64 [n], the reported scores of the logged choices; NaN: none.
        costs_usd: float64 [n], their costs at the other pool's prices; NaN: none.
        predicted_scores, predicted_costs_usd: float64 [n], those of the logged choices.
        expected_scores, expected_costs_usd: float64 [n], those of the other policy's choices, by
            the same predictor.
        without: decisions that are left out, as one of the two ways found no model.
        odd: decisions that are left out, as their propensity is not known, or outside (0, 1].
    """

    models: tuple[str, ...]
    others: tuple[str, ...]
    propensities: FloatArray
    matched: BoolArray
    scores: FloatArray
    costs_usd: FloatArray
    predicted_scores: FloatArray
    predicted_costs_usd: FloatArray
    expected_scores: FloatArray
    expected_costs_usd: FloatArray
    without: int = 0
    odd: int = 0

    def __len__(self) -> int:
        return len(self.models)

    @classmethod
    def of(
        cls,
        log: LogContents,
        instead: Alternative,
        propensities: Mapping[str, float],
        predict: Callable[[Logged], Logged] | None = None,
    ) -> Self:
        """Decides a log in another way.

        Args:
            log: the decisions and their reports.
            instead: the other way.
            propensities: by decision id; 1 where there is none.
            predict: puts another predictor's estimates in place of the log's, for the choices of
                the other policy; None: those of the log.

        Raises:
            DecisionLogError: the other way does not fit the log; the message says why.
        """
        parts = [_part(log, logged, instead, propensities, predict) for logged in log.decisions]

        def together(name: str) -> FloatArray:
            return np.concatenate([getattr(part, name) for part in parts])

        return cls(
            models=tuple(name for part in parts for name in part.models),
            others=tuple(name for part in parts for name in part.others),
            propensities=together("propensities"),
            matched=np.concatenate([part.matched for part in parts]),
            scores=together("scores"),
            costs_usd=together("costs_usd"),
            predicted_scores=together("predicted_scores"),
            predicted_costs_usd=together("predicted_costs_usd"),
            expected_scores=together("expected_scores"),
            expected_costs_usd=together("expected_costs_usd"),
            without=sum(part.without for part in parts),
            odd=sum(part.odd for part in parts),
        )


def _part(
    log: LogContents,
    logged: Logged,
    instead: Alternative,
    propensities: Mapping[str, float],
    predict: Callable[[Logged], Logged] | None,
) -> ValueGrounds:
    decided = decide_otherwise(logged if predict is None else predict(logged), instead, draws=False)
    pool, choice = decided.pool, decided.choice
    # Figures of both ways are the log's own: a model that was not trained on these decisions.
    moved = decided.logged if predict is None else at_pool(logged, pool)[0]
    estimates, before = moved.estimates, logged.estimates
    there = renamed(logged.choice, logged.setup.pool, pool)
    chances = np.array([propensities.get(one, 1.0) for one in logged.ids], np.float64)
    odd = ~((chances > 0.0) & (chances <= 1.0))
    without = (logged.choice < 0) | (choice < 0)
    rows = np.flatnonzero(~without & ~odd)
    reports = [log.reports.get(one) for one in logged.ids]
    by = answered(logged, reports)
    scores = np.full(len(logged), np.nan)
    costs_usd = np.full(len(logged), np.nan)
    for row in rows.tolist():
        report = reports[row]
        if report is None or report.failed or by[row] != logged.choice[row]:
            continue
        if report.score is not None and 0.0 <= report.score <= 1.0:
            scores[row] = report.score
        # A model that the other pool lacks has no price there; nothing of it is chosen there.
        costs_usd[row] = (
            cost_again_usd(report, pool, int(there[row]), estimates, row)
            if there[row] >= 0
            else (np.nan if report.cost_usd is None else report.cost_usd)
        )
    then, now = logged.choice[rows], choice[rows]
    found = there[rows]
    predicted_usd = np.where(
        found >= 0,
        estimates.costs_usd[rows, np.maximum(found, 0)],
        before.costs_usd[rows, then],
    )
    names, others = logged.setup.pool.names, pool.names
    return ValueGrounds(
        models=tuple(names[column] for column in then.tolist()),
        others=tuple(others[column] for column in now.tolist()),
        propensities=chances[rows],
        matched=found == now,
        scores=scores[rows],
        costs_usd=costs_usd[rows],
        predicted_scores=before.scores[rows, then],
        predicted_costs_usd=predicted_usd,
        expected_scores=estimates.scores[rows, now],
        expected_costs_usd=estimates.costs_usd[rows, now],
        without=int(np.count_nonzero(without)),
        odd=int(np.count_nonzero(odd & ~without)),
    )
