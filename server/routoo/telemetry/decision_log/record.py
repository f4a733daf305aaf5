"""The decisions of a batch, kept until they are written, and their lines in the log."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isfinite, isnan
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from routoo.routing.sessions.stay import Stay
from routoo.selector.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from routoo.routing.decision import Chosen, DecidedBatch, Prepared
    from routoo.routing.request import PromptRequest
    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray
    from routoo.telemetry.decision_log.header import Setup
    from routoo.telemetry.decision_log.prompts.lines import PromptLines
    from routoo.telemetry.decision_log.writer import LogHead

ASKED: Final[dict[str, Any]] = {
    "max_output_tokens": None,
    "answers": 1,
    "added_output_tokens": 0,
    "longest_share": 1.0,
    "mixed": False,
    "images": 0,
    "service_tier": "",
    "named": False,
    "api": "",
    "effort": "",
    "forbids_thinking": False,
}
"""What a request says of the answers to it, by attributes of ``PromptRequest``, and the value that
is not logged."""
_OF_ARMS = frozenset({"api", "effort", "forbids_thinking"})
_asked: Final = attrgetter(*ASKED)
_USUAL: Final = tuple(ASKED.values())
_REASONS: Final = {int(reason): reason.name for reason in Reason}
_AT_ONCE: Final = 256
"""Rows whose figures are taken out of the arrays together; those of a large batch would fill the
memory."""
_LINE = orjson.OPT_APPEND_NEWLINE


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """Decisions of one batch; the arrays are the batch's own and are not written to.

    Attributes:
        setup: pool and policies.
        time: the time of the decisions, RFC 3339.
        rows: int [k], the rows that are logged.
        requests: of the whole batch.
        prepared: the input of the choice, of the whole batch.
        chosen: the choice before the money was booked, of the whole batch.
        batch: the decisions, of the whole batch.
        prompts: what is kept of the prompts.
    """

    setup: Setup
    time: str
    rows: IndexArray
    requests: Sequence[PromptRequest]
    prepared: Prepared
    chosen: Chosen
    batch: DecidedBatch
    prompts: PromptLines

    @property
    def heads(self) -> tuple[LogHead, ...]:
        """The setup, and the corrections in force."""
        correction = self.batch.estimates.correction
        return (self.setup,) if correction is None else (self.setup, correction)

    @property
    def decisions(self) -> int:
        """The number of decisions that are logged."""
        return len(self.rows)

    def lines(self) -> Iterator[bytes]:
        """Yields one line per decision; of a joint batch, a line for the whole comes first."""
        joint = self.chosen.joint
        common: dict[str, Any] = {}
        if joint is not None:
            constraints = asdict(joint.constraints)
            common = {"batch": self.prepared.ids[0]}
            head = {"kind": "batch", "id": common["batch"], "decisions": len(self.rows)}
            yield orjson.dumps({**head, "constraints": constraints}, option=_LINE)
        for start in range(0, len(self.rows), _AT_ONCE):
            some = self.rows[start : start + _AT_ONCE]
            figures = self._figures(some)
            rows = some.tolist()
            prompts = self.prompts.fields([self.requests[row].text for row in rows])
            for row, prompt, *cells in zip(rows, prompts, *figures.values(), strict=True):
                values = self._values(row, zip(figures, cells, strict=True), common)
                values.update(prompt)
                yield orjson.dumps(values, option=_LINE)

    def _figures(self, rows: IndexArray) -> dict[str, list[Any]]:
        """Returns what the lines of some rows have of each model, by field; many rows at once."""
        batch, estimates = self.batch, self.batch.estimates
        # A slice of the whole batch, as most records are, is no copy.
        at = slice(None) if len(rows) == len(self.requests) else rows
        figures = {
            "scores": estimates.scores[at].tolist(),
            "costs_usd": estimates.costs_usd[at].tolist(),
            "latencies_ms": estimates.latencies_ms[at].tolist(),
            "output_tokens": _whole(estimates.output_tokens[at]),
            "input_tokens": _whole(estimates.input_tokens[at]),
            "eligible": _cells_of_rows(batch.mask[at]),
        }
        if estimates.score_std is not None:
            std = estimates.score_std[at]
            # A joint batch is decided by these, so that replay needs every digit.
            figures["score_std"] = (std.round(4) if self.chosen.joint is None else std).tolist()
        if estimates.evidence is not None:
            figures["evidence"] = estimates.evidence[at].tolist()
        return figures

    def _values(
        self, row: int, figures: Iterable[tuple[str, Any]], common: dict[str, Any]
    ) -> dict[str, Any]:
        """Returns the fields of a line; each part is put into one dict, as there are many lines."""
        batch, estimates = self.batch, self.batch.estimates
        names = batch.pool.names
        choice, wanted = batch.choices[row], int(self.chosen.choice[row])
        request = self.requests[row]
        values: dict[str, Any] = {
            "kind": "decision",
            "id": self.prepared.ids[row],
            "time": self.time,
            "setup": self.setup.id,
            "predictor": batch.versions.predictor,
            "policy": batch.policy_versions[row],
            "model": names[choice] if choice >= 0 else None,
            "reason": _REASONS[batch.reasons[row]],
            "price": batch.shadow_prices[row],
            "priced_by": batch.couplings[row],
        }
        values.update(figures)
        values["prices"] = batch.pool.prices.version
        values.update(common)
        if wanted != choice:
            values["wanted"] = names[wanted]
        self._put_odds(values, row)
        self._put_known(values, row)
        self._put_fallbacks(values, row)
        self._put_tried(values, row)
        if request.constraints:
            values["constraints"] = request.constraints
        if request.tenant:
            values["tenant"] = request.tenant
        arms = batch.pool.arms
        limited = request.max_output_tokens is not None or (
            arms is not None and arms.longest_answers is not None
        )
        if estimates.most_input_tokens is not None and limited:
            values["most_input_tokens"] = _whole(estimates.most_input_tokens[row])
        asked = _asked(request)
        if asked != _USUAL:
            for (name, usual), value in zip(ASKED.items(), asked, strict=True):
                # Where no model has arms, the fields that leave some of them decide nothing.
                if value != usual and not (arms is None and name in _OF_ARMS):
                    values[name] = value
        self._put_limits(values, row)
        self._put_session(values, row)
        for name, flag in (("degraded", batch.degraded), ("truncated", batch.truncated[row])):
            if flag:
                values[name] = True
        return values

    def _put_odds(self, values: dict[str, Any], row: int) -> None:
        """Puts the probability of the choice, null if it is not known, and what it comes of."""
        explored = self.batch.explored
        values["propensity"] = self.batch.propensity(row)
        if explored is None or isnan(explored.propensity[row]):
            return
        if explored.propensity[row] < 1.0:
            values["explore"] = {"share": explored.shares[row], "most_usd": explored.most_usd}
        if explored.drawn is not None and explored.drawn.rows[row]:
            values["unexplored"] = self.batch.pool.names[explored.drawn.best[row]]

    def _put_tried(self, values: dict[str, Any], row: int) -> None:
        """Puts the arm of an experiment, and whether a refuted promise turned the row."""
        trials, fallen = self.batch.trials, self.chosen.fallen
        if trials is not None and trials[row]:
            values["trial"] = trials[row]
        if fallen is not None and fallen[row]:
            values["fallen"] = True

    def _put_limits(self, values: dict[str, Any], row: int) -> None:
        """Puts what limits of providers changed: cells that they closed, and charges."""
        before = self.prepared.unlimited
        if before is not None and (before[row] != self.batch.mask[row]).any():
            closed = before[row] & ~self.batch.mask[row]
            values["limited"] = "".join("01"[cell] for cell in closed.tolist())
        if self.batch.charges is not None:
            values["charges"] = self.batch.charges[row].tolist()

    def _put_fallbacks(self, values: dict[str, Any], row: int) -> None:
        """Puts the fallbacks, and what a budget has reserved, which they cost at most."""
        batch = self.batch
        if batch.fallbacks is None:
            return
        names = batch.pool.names
        values["fallbacks"] = [names[column] for column in batch.fallback_columns(row)]
        if batch.limits_usd is not None and isfinite(batch.limits_usd[row]):
            values["reserved_usd"] = batch.limits_usd[row]

    def _put_session(self, values: dict[str, Any], row: int) -> None:
        """Puts the session that a decision is a turn of, if it is one."""
        sessions = self.batch.sessions
        if sessions is None or not sessions.rows.on[row]:
            return
        told = sessions.rows.logged(row, self.batch.pool)
        told["stay"] = Stay(sessions.stays[row]).name
        told["switch_cost_usd"] = sessions.switch_costs_usd[row]
        values["session"] = told

    def _put_known(self, values: dict[str, Any], row: int) -> None:
        """Puts when the prices held, who failed, and what the predictor tells but scores."""
        estimates, health = self.batch.estimates, self.batch.health
        if health is not None and not health.mask[row].all():
            values["healthy"] = _cells(health.mask[row])
        if estimates.priced_s is not None:
            values["priced_s"] = int(estimates.priced_s[row])
        if estimates.tasks is not None:
            values["task"] = estimates.task_names[int(estimates.tasks[row])]
        for name, figures in (("task_confidence", estimates.confidence), ("ood", estimates.ood)):
            if figures is not None:
                values[name] = float(figures[row])
        if estimates.unsure is not None and estimates.unsure[row]:
            values["unsure"] = True
        if estimates.percentiles is not None and estimates.percentiles[row]:
            values["latency_percentile"] = int(estimates.percentiles[row])
        self._put_learned(values, row)
        self._put_corrected(values, row)

    def _put_learned(self, values: dict[str, Any], row: int) -> None:
        """Puts which learned scores were in force, and what they were made from."""
        estimates = self.batch.estimates
        plain, odds, learned = estimates.plain_scores, estimates.score_odds, estimates.learned
        if plain is None or odds is None or learned is None:
            return
        values["learned"] = learned.id
        values["plain_scores"] = plain[row].tolist()
        values["score_odds"] = odds[row].tolist()

    def _put_corrected(self, values: dict[str, Any], row: int) -> None:
        """Puts what the correction in force has changed, if there is one."""
        estimates = self.batch.estimates
        correction, plain_tokens = estimates.correction, estimates.plain_tokens
        limits = estimates.max_output_tokens
        if correction is None or plain_tokens is None or limits is None:
            return
        values["correction"] = correction.id
        if not np.isnan(limits[row]):  # else the request's own figures hold
            values["plain_tokens"] = _whole(plain_tokens[row])


def _cells(flags: BoolArray) -> str:
    # Of the bytes 0 and 1, the signs "0" and "1".
    return (np.ascontiguousarray(flags).view(np.uint8) + np.uint8(ord("0"))).tobytes().decode()


def _cells_of_rows(flags: BoolArray) -> list[str]:
    text, m = _cells(flags), flags.shape[1]
    return [text[start : start + m] for start in range(0, len(text), m)]


def _whole(tokens: FloatArray) -> list[Any]:
    whole: list[Any] = tokens.astype(np.int64).tolist()
    return whole
