"""The gain of a candidate predictor over what a service decided, by the log of its decisions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from routoo.errors import RoutooError
from routoo.predictor.base import Predictor
from routoo.telemetry.decision_log.columns import Logged
from routoo.telemetry.decision_log.off_policy.grounds import LineExtras, ValueGrounds
from routoo.telemetry.decision_log.off_policy.reprediction import predicted_again
from routoo.telemetry.decision_log.off_policy.value import OffPolicyValue, judge_policy
from routoo.telemetry.decision_log.otherwise import Alternative
from routoo.telemetry.decision_log.reader import LogContents, read_logs
from routoo_export.errors import ExportError
from routoo_export.outcomes.splits import assign_buckets

TRAINED: Final = range(7)
"""Buckets of the split whose prompts the candidate is trained on; it is judged on the others."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What a candidate's decisions would have been worth, per decision, over those of the log.

    Attributes:
        decisions: Decisions that it was judged on.
        graded: Of these, graded ones.
        price: Score per USD at which costs count.
        value: Score gained at equal cost: that of scores less ``price`` times that of costs.
        low: Lower end of its interval at 95 percent.
        high: Upper end.
        quality: Score gained.
        cost_usd: Cost gained, mostly negative where it saves.
        refusal: Why the log cannot tell; empty = it can.
    """

    decisions: int
    graded: int
    price: float
    value: float = 0.0
    low: float = -1.0
    high: float = 1.0
    quality: float = 0.0
    cost_usd: float = 0.0
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class HeldOutLog:
    """The decisions of the predictor in force whose prompts no candidate is trained on.

    Attributes:
        log: These decisions, and all reports.
        extras: Their propensities and prompts.
    """

    log: LogContents
    extras: LineExtras

    @classmethod
    def read(cls, paths: list[Path], in_force: str) -> "HeldOutLog":
        """Read logs, the oldest file first.

        Args:
            paths: The files.
            in_force: Version of the predictor in force: a candidate has to beat what is decided
                now, not what was decided before.

        Raises:
            ExportError: a file cannot be read, or the log has no prompts.
        """
        try:
            log = read_logs(paths)
            extras = LineExtras.read(paths, prompts=True)
        except (RoutooError, OSError) as error:
            raise ExportError(str(error)) from error
        if not extras.prompts:
            raise ExportError(
                "the decision log has no prompts, which a predictor is trained on; set"
                " decision_log.prompts: text from now on"
            )
        ids = _decided_by(paths, in_force)
        return cls(replace(log, decisions=cls._kept(log, extras, ids)), extras)

    @staticmethod
    def _kept(log: LogContents, extras: LineExtras, ids: set[str]) -> list[Logged]:
        kept = []
        for one in log.decisions:
            texts = [extras.prompts.get(name, "") for name in one.ids]
            buckets = assign_buckets(texts, [None] * len(texts))
            is_known = [
                bool(text) and name in ids for text, name in zip(texts, one.ids, strict=True)
            ]
            is_out = ~np.isin(buckets, list(TRAINED)) & np.array(is_known)
            rows = np.flatnonzero(is_out)
            if len(rows):
                kept.append(one.take(rows))
        return kept


def _decided_by(paths: list[Path], version: str) -> set[str]:
    """The ids of the decisions that a predictor's version made; damaged lines are passed over."""
    found = set()
    for path in paths:
        with path.open("rb") as lines:
            for line in lines:
                try:
                    values = orjson.loads(line)
                    if values["kind"] == "decision" and values["predictor"] == version:
                        found.add(str(values["id"]))
                except (orjson.JSONDecodeError, KeyError, TypeError):
                    continue
    return found


def compare(
    held_out: HeldOutLog,
    candidate: Predictor,
    instead: Alternative,
    *,
    price: float | None = None,
    decide: Callable[[LogContents, Alternative], ValueGrounds] | None = None,
) -> Gain:
    """Estimate the gain of a candidate, doubly robust, on decisions that it has not learned from.

    Score and cost count together at the price in force: quality at equal cost, and cost at equal
    quality, are this gain and its quotient by the price, as far as the curve is straight.

    Args:
        held_out: The decisions.
        candidate: Predicts in place of the predictor in force.
        instead: The policy and the pool that decide by its predictions.
        price: Score per USD; None = the median of the log's prices.
        decide: Makes the grounds of the judgement; None = from the log, by ``candidate``.
    """
    log = held_out.log
    if not log.decisions:
        return Gain(
            0, 0, 0.0, refusal="no decision of the predictor in force is held out; log more"
        )
    if price is None:
        price = float(np.median(np.concatenate([one.prices for one in log.decisions])))

    def again(logged: Logged) -> Logged:
        return predicted_again(logged, held_out.extras.prompts, candidate)

    try:
        grounds = (
            ValueGrounds.of(log, instead, held_out.extras.propensities, again)
            if decide is None
            else decide(log, instead)
        )
    except RoutooError as error:
        raise ExportError(str(error)) from error
    return judge_gain(grounds, price)


def judge_gain(grounds: ValueGrounds, price: float) -> Gain:
    """Estimate the gain at a price, in score per USD, from the grounds of a log."""
    plain: OffPolicyValue = judge_policy(grounds, "candidate")
    # Scores and costs of one answer belong together: what the log does not tell of a cost is its
    # prediction.
    costs = np.where(np.isfinite(grounds.costs_usd), grounds.costs_usd, grounds.predicted_costs_usd)
    together = replace(
        grounds,
        scores=grounds.scores - price * costs,
        predicted_scores=grounds.predicted_scores - price * grounds.predicted_costs_usd,
        expected_scores=grounds.expected_scores - price * grounds.expected_costs_usd,
    )
    judged = judge_policy(together, "candidate").quality
    found = Gain(len(grounds), judged.graded, price, refusal=judged.refusal)
    if judged.gain is None:
        return found
    quality, cost = plain.quality.gain, plain.cost_usd.gain
    return replace(
        found,
        value=judged.gain.value,
        low=judged.gain.interval.low,
        high=judged.gain.interval.high,
        quality=0.0 if quality is None else quality.value,
        cost_usd=0.0 if cost is None else cost.value,
    )
