"""Settles reported outcomes of decisions, and counts them beside the predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.budget.ledger import Settled
from routoo.errors import InvalidRequestError, RoutooError
from routoo.routing.estimates import tokens_cost_usd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.budget.ledger import Ledger
    from routoo.engine.open_decisions import OpenDecisions
    from routoo.routing.decision import Decision
    from routoo.routing.outcome import OutcomeReport
    from routoo.routing.pool import Pool
    from routoo.telemetry.outcome_counts import OutcomeCounts


class OutcomeSettlement:
    """Takes reports of outcomes. Thread-safe; may wait for the ledger.

    Args:
        decisions: the decisions that may be reported.
        ledger: settles costs; None: there are no budgets.
        pool: prices the tokens of decisions that are not known here; a known one has its own pool.
        counts: sums up what is reported.
        settled: called with the tenant, the predicted and the true cost of each report; None:
            nobody wants to know.
    """

    def __init__(
        self,
        decisions: OpenDecisions,
        ledger: Ledger | None,
        pool: Pool,
        counts: OutcomeCounts,
        settled: Callable[[str, float, float], None] | None = None,
    ) -> None:
        self._decisions = decisions
        self._ledger = ledger
        self._pool = pool
        self._counts = counts
        self._settled = settled

    def report(self, outcome: OutcomeReport) -> bool:
        """Books an outcome.

        The cost is the first of these that is known: the reported cost; the reported tokens at the
        pool's prices; 0 when an error is reported; the predicted cost. A decision of another
        replica is known to the shared ledger alone: its report needs the cost, or the tokens and
        the model.

        Returns:
            False when the decision is unknown, of another tenant, or was reported before.

        Raises:
            InvalidRequestError: a model that the pool lacks, one kind of tokens without the other,
                or a cost out of range.
        """
        decision = self._decisions.get(outcome.decision_id)
        if decision is not None and outcome.tenant not in (None, decision.tenant):
            self._counts.reports.labels("refused").inc()
            return False
        model = outcome.model or ("" if decision is None else decision.model)
        cost_usd = self._cost_usd(outcome, decision, model)
        accepted = self._settle(outcome.decision_id, cost_usd)
        if not accepted:
            self._counts.reports.labels("refused").inc()
            return False
        self._counts.reports.labels("failed" if outcome.error else "accepted").inc()
        if decision is not None:
            self._watch(outcome, decision, model, cost_usd)
        return True

    def report_all(self, outcomes: Sequence[OutcomeReport]) -> list[bool | RoutooError]:
        """Books each outcome as ``report`` does; an error is returned in its outcome's place."""
        booked: list[bool | RoutooError] = []
        for outcome in outcomes:
            try:
                booked.append(self.report(outcome))
            except RoutooError as error:
                booked.append(error)
        return booked

    def _settle(self, decision_id: str, cost_usd: float | None) -> bool:
        settled = None
        if self._ledger is not None and cost_usd is not None:
            settled = self._ledger.settle(decision_id, cost_usd)
        first = self._decisions.report(decision_id)
        if settled in (Settled.SETTLED, Settled.EXPIRED):
            return True
        # The ledger does not know it: the open decisions tell whether it was reported before.
        return settled is not Settled.TWICE and first

    def _cost_usd(
        self, outcome: OutcomeReport, decision: Decision | None, model: str
    ) -> float | None:
        # The pool may have been reloaded since: a decision has the columns and prices of its own.
        pool = self._pool if decision is None else decision.batch.pool
        if outcome.model:
            pool.column(outcome.model, "model")
        tokens = (outcome.input_tokens, outcome.output_tokens)
        if outcome.cost_usd is not None:
            return outcome.cost_usd
        if tokens[0] is not None and tokens[1] is not None:
            if not model:
                return None
            return tokens_cost_usd(pool, pool.index[model], tokens[0], tokens[1])
        if tokens != (None, None):
            missing = "input_tokens" if tokens[0] is None else "output_tokens"
            raise InvalidRequestError(
                "is not set; the cost needs both kinds of tokens, or cost_usd", field=missing
            )
        if outcome.error:
            return 0.0
        if decision is None:
            return None
        column = pool.index[model]
        return float(decision.batch.estimates.costs_usd[decision.row, column])

    def _watch(
        self, outcome: OutcomeReport, decision: Decision, model: str, cost_usd: float | None
    ) -> None:
        """Adds the reported figures to the counts, and the predicted ones beside them."""
        estimates, row = decision.batch.estimates, decision.row
        column = decision.batch.pool.index[model]
        if outcome.score is not None:
            predicted = float(estimates.scores[row, column])
            labels = (model, _tenth(predicted))
            self._counts.scored.labels(*labels).inc()
            self._counts.reported_score.labels(*labels).inc(outcome.score)
            self._counts.predicted_score.labels(*labels).inc(predicted)
        if cost_usd is not None and self._settled is not None:
            predicted_usd = decision.batch.costs_usd[decision.row]
            self._settled(decision.tenant, predicted_usd, cost_usd)
        if cost_usd is not None and not outcome.error:
            self._counts.reported_cost.labels(model).inc(cost_usd)
            self._counts.predicted_cost.labels(model).inc(float(estimates.costs_usd[row, column]))
        if outcome.latency_ms is not None and not outcome.error:
            self._counts.reported_latency.labels(model).inc(outcome.latency_ms)
            predicted_ms = float(estimates.latencies_ms[row, column])
            self._counts.predicted_latency.labels(model).inc(predicted_ms)


def _tenth(score: float) -> str:
    """Returns the lower end of the tenth of [0, 1] that a score is in; at most ten labels."""
    return f"{min(int(score * 10.0), 9) / 10.0:.1f}"
