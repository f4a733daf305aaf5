"""Settles reported outcomes of decisions, and counts them beside the predictions."""

from __future__ import annotations

from dataclasses import replace
from time import time_ns
from typing import TYPE_CHECKING

from routoo.budget.ledger import Settled
from routoo.budget.terms import one_nano_usd
from routoo.engine.booking.report_bound import CappedReport
from routoo.engine.corrections.corrector import ToldAnswer
from routoo.engine.corrections.learner import ToldScore
from routoo.engine.open_decisions import made_for
from routoo.errors import InvalidRequestError, RoutooError
from routoo.routing.health.failures import Cause
from routoo.routing.outcome import LAST_ACCEPTED, ReportResult, estimated_usage
from routoo.tariffs.tariff import NANO_PER_USD, cost_nano_usd
from routoo.tariffs.usage import Usage
from routoo.telemetry.gen_ai import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.budget.ledger import Ledger
    from routoo.engine.booking.report_bound import ReportBound
    from routoo.engine.corrections.corrector import Corrector
    from routoo.engine.corrections.learner import Learner
    from routoo.engine.health.tracker import ProviderHealth
    from routoo.engine.limits.guard import LimitGuard
    from routoo.engine.open_decisions import OpenDecisions
    from routoo.engine.sessions.tracker import Sessions
    from routoo.routing.decision import Decision
    from routoo.routing.outcome import OutcomeReport
    from routoo.routing.pool import Pool
    from routoo.telemetry.outcome_counts import OutcomeCounts

NANO_PER_S = 1_000_000_000


class OutcomeSettlement:
    """Takes reports of outcomes. Thread-safe; may wait for the ledger.

    Args:
        decisions: the decisions that may be reported.
        ledger: settles costs; None: there are no budgets.
        pool: prices the tokens of decisions that are not known here; a known one has its own pool.
        counts: sums up what is reported.
        clock_ns: nanoseconds since 1970; the hour whose prices hold for decisions that are not
            known here.
        corrector: learns lengths and latencies from what is reported; None: nothing does.
        settled: called with the tenant, the predicted and the true cost of each report; None:
            nobody wants to know.
        sessions: keeps what became of the turns of sessions; None: there are none.
        health: learns who fails; None: nobody does.
        bound: bounds what a report may book.
        limits: counts the use of providers' limits; None: there are none.
        learner: learns scores from what is reported; None: nothing does.

    Attributes:
        on_capped: called with each report that told more than is booked.
        on_accepted: called with what counts of each accepted report; None: nobody wants to know.
        on_outcome: called with the same, the decision, and the cost that is booked, None for a
            grade alone; None: nobody wants to know.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - one parameter per part
        self,
        decisions: OpenDecisions,
        ledger: Ledger | None,
        pool: Pool,
        counts: OutcomeCounts,
        clock_ns: Callable[[], int] = time_ns,
        corrector: Corrector | None = None,
        settled: Callable[[str, float, float], None] | None = None,
        sessions: Sessions | None = None,
        health: ProviderHealth | None = None,
        *,
        bound: ReportBound,
        limits: LimitGuard | None = None,
        learner: Learner | None = None,
    ) -> None:
        self.on_capped: Callable[[CappedReport], None] = lambda _: None
        self.on_accepted: Callable[[OutcomeReport], None] | None = None
        self.on_outcome: Callable[[OutcomeReport, Decision, float | None], None] | None = None
        self._bound = bound
        self._decisions = decisions
        self._ledger = ledger
        self._pool = pool
        self._counts = counts
        self._clock_ns = clock_ns
        self._corrector = corrector
        self._settled = settled
        self._sessions = sessions
        self._health = health
        self._limits = limits
        self._learner = learner

    def report(self, outcome: OutcomeReport) -> ReportResult:
        """Books an outcome.

        The cost is the first of these that is known: the reported cost; the cost that the reply
        itself tells, where the pool trusts it; the reported usage at the prices of the model that
        answered, at the hour of the decision; 0 when an error is reported; the predicted cost. An
        estimated usage has predicted totals, and an error with it may have cost something. A
        reply that names a model that the pool does not know is billed as the decided one, and
        counted. A decision of another replica is known to the shared ledger alone: its report
        needs the cost, or the usage and the model. A cost above what the request could have cost
        is booked up to that bound, see ``ReportBound``, and teaches nothing.

        A grade alone books nothing, and may come before or after all else, once: those who report
        what an answer took are seldom those who grade it. A later score does not count.

        Returns:
            What came of it. Of a report that is not accepted, nothing is kept.

        Raises:
            InvalidRequestError: a model that the pool lacks, one kind of tokens without the other,
                or an amount or a cost out of range.
        """
        decision = self._decisions.get(outcome.decision_id)
        if not _is_of(outcome, decision):
            self._counts.reports.labels("refused").inc()
            return ReportResult.UNKNOWN_DECISION
        # The pool may have been reloaded since: a decision has the columns and prices of its own.
        pool = self._pool if decision is None else decision.batch.pool
        if decision is not None and outcome.score is not None and outcome.is_grade:
            return self._grade(outcome, decision)
        column = self._answered(outcome, decision, pool)
        told_usd = self._cost_usd(outcome, decision, pool, column)
        cost_usd = told_usd
        if told_usd and told_usd > self._bound.factor * _reserved_usd(decision, column):
            one_nano_usd(told_usd)  # one that is no cost at all is refused, not booked in part
            cost_usd = self._bound.booked_usd(
                told_usd, outcome, decision, pool, column, self._priced_s(decision)
            )
        result = self._settle(outcome, decision, cost_usd, column)
        if self._health is not None and column is not None and self._is_news(outcome, result):
            _tell_health(self._health, outcome, decision, pool.model_of(column))
        self._tell_limits(outcome, pool, column)
        if result > LAST_ACCEPTED:
            self._counts.reports.labels("refused").inc()
            return result
        outcome = self._accepted(outcome, decision)
        is_capped = False
        if told_usd is not None and cost_usd is not None and cost_usd < told_usd:
            is_capped = True
            self._tell_capped(outcome, decision, told_usd, cost_usd)
        if decision is not None and column is not None:
            self._watch(outcome, decision, column, cost_usd, learns=not is_capped)
            if self._sessions is not None and decision.batch.sessions is not None:
                self._sessions.reported(outcome, decision, column, cost_usd)
            if self.on_outcome is not None:
                self.on_outcome(outcome, decision, cost_usd)
        return result

    def report_all(self, outcomes: Sequence[OutcomeReport]) -> list[ReportResult | RoutooError]:
        """Books each outcome as ``report`` does; an error is returned in its outcome's place."""
        booked: list[ReportResult | RoutooError] = []
        for outcome in outcomes:
            try:
                booked.append(self.report(outcome))
            except RoutooError as error:
                booked.append(error)
        return booked

    def _grade(self, outcome: OutcomeReport, decision: Decision) -> ReportResult:
        """Counts a score that was told alone."""
        column = self._answered(outcome, decision, decision.batch.pool)
        before = self._decisions.was_reported(outcome.decision_id)
        if before and not outcome.model:
            column = self._decisions.answered(outcome.decision_id)
        if not self._decisions.grade(outcome.decision_id):
            self._counts.reports.labels("refused").inc()
            return ReportResult.REPORTED_BEFORE
        self._counts.reports.labels("accepted").inc()
        if self.on_accepted is not None:
            self.on_accepted(outcome)
        if column is not None:
            if not before:
                if self._health is not None:
                    model = decision.batch.pool.model_of(column)
                    _tell_health(self._health, outcome, decision, model)
                self._tell_limits(outcome, decision.batch.pool, column)
            self._watch_score(outcome, decision, column)
            if self.on_outcome is not None:
                self.on_outcome(outcome, decision, None)
        return ReportResult.COUNTED

    def _accepted(self, outcome: OutcomeReport, decision: Decision | None) -> OutcomeReport:
        """Counts an accepted report; returns it without its score where a grade came before it."""
        self._counts.reports.labels("failed" if outcome.error else "accepted").inc()
        if decision is not None and outcome.score is not None:
            one = outcome.decision_id
            # Neither new nor graded: it has become too old at this moment, and its score counts.
            if not self._decisions.grade(one) and self._decisions.was_graded(one):
                outcome = replace(outcome, score=None, reason_code="")
        if self.on_accepted is not None:
            self.on_accepted(outcome)
        return outcome

    def _settle(
        self,
        outcome: OutcomeReport,
        decision: Decision | None,
        cost_usd: float | None,
        column: int | None,
    ) -> ReportResult:
        """Books the cost, and marks the decision as reported if the report is accepted."""
        if self._ledger is not None and cost_usd is not None:
            settled = self._ledger.settle(outcome.decision_id, cost_usd)
            if settled.books:
                self._decisions.report(outcome.decision_id, column)
                return ReportResult.BOOKED
            if settled is Settled.TWICE:
                return ReportResult.REPORTED_BEFORE
        if decision is None:
            is_lacking = self._ledger is not None and cost_usd is None
            return ReportResult.COST_NEEDED if is_lacking else ReportResult.UNKNOWN_DECISION
        return self._count(outcome, decision, column)

    def _tell_limits(self, outcome: OutcomeReport, pool: Pool, column: int | None) -> None:
        """Ends a request's place among those in progress, and tells its tokens, if it knows them.

        A failed request may have been counted by its provider, so it counts as it was predicted.
        """
        if self._limits is None:
            return
        usage = outcome.usage or Usage(outcome.input_tokens, outcome.output_tokens)
        known = not (outcome.error or outcome.estimated)
        self._limits.ended(
            outcome.decision_id,
            "" if column is None else pool.names[column],
            usage.input_tokens if known else None,
            usage.output_tokens if known else None,
        )

    def _is_news(self, outcome: OutcomeReport, result: ReportResult) -> bool:
        """Returns whether a report tells of a model's health what no report before it has told."""
        if result <= LAST_ACCEPTED:
            tells_failure = outcome.error or outcome.failure or outcome.first_try
            # A grade has told already that the model answers.
            return bool(tells_failure) or not self._decisions.was_graded(outcome.decision_id)
        # What Envoy tells of another replica's decision is news here, wherever it is booked.
        return outcome.witnessed and result in {
            ReportResult.UNKNOWN_DECISION,
            ReportResult.COST_NEEDED,
        }

    def _count(
        self, outcome: OutcomeReport, decision: Decision, column: int | None
    ) -> ReportResult:
        """Marks a decision as reported that the ledger does not know, if the report tells much."""
        if self._decisions.was_reported(decision.decision_id):
            return ReportResult.REPORTED_BEFORE
        is_budgeted = self._ledger is not None and bool(self._ledger.applies(decision.tenant))
        if not _tells_more_than_cost(outcome) and (is_budgeted or outcome.cost_usd is None):
            return ReportResult.TOO_LATE if is_budgeted else ReportResult.NOTHING_TOLD
        if not self._decisions.report(decision.decision_id, column):
            return ReportResult.REPORTED_BEFORE
        if is_budgeted:
            return ReportResult.COUNTED_TOO_LATE_FOR_BUDGETS
        return ReportResult.COUNTED

    def _answered(
        self, outcome: OutcomeReport, decision: Decision | None, pool: Pool
    ) -> int | None:
        """Returns the column of the model that answered; None: nobody tells.

        Raises:
            InvalidRequestError: the report names a model that the pool lacks.
        """
        decided = None if decision is None else decision.batch.choices[decision.row]
        if outcome.model:
            named = pool.answering(outcome.model, decided)
            return pool.column(outcome.model, "model") if named is None else named
        if outcome.usage is None or not outcome.usage.model:
            return decided
        named = pool.answering(outcome.usage.model, decided)
        if named is None:
            self._counts.unknown_models.inc()
            return decided
        return named

    def _cost_usd(
        self, outcome: OutcomeReport, decision: Decision | None, pool: Pool, column: int | None
    ) -> float | None:
        if outcome.cost_usd is not None:
            return outcome.cost_usd
        usage = outcome.usage or Usage(outcome.input_tokens, outcome.output_tokens)
        if outcome.usage is not None and outcome.estimated and decision is not None:
            assert column is not None  # noqa: S101 - that of the decision, if of no other model
            usage = estimated_usage(usage, decision.batch.estimates, decision.row, column)
        if usage.complete or usage.told_cost_usd is not None:
            billed_usd = self._billed_usd(usage, decision, pool, column)
            if billed_usd is not None or column is None:
                return billed_usd
        elif outcome.usage is None and (usage.input_tokens, usage.output_tokens) != (None, None):
            missing = "input_tokens" if usage.input_tokens is None else "output_tokens"
            raise InvalidRequestError(
                "is not set; the cost needs both kinds of tokens, or cost_usd", field=missing
            )
        if outcome.error and not outcome.estimated:
            return 0.0
        if decision is None or column is None:
            return None
        return float(decision.batch.estimates.costs_usd[decision.row, column])

    def _billed_usd(
        self, usage: Usage, decision: Decision | None, pool: Pool, column: int | None
    ) -> float | None:
        """Returns what the provider bills for a usage; None: that is not known."""
        if column is None:
            return None
        if usage.told_cost_usd is not None and pool.specs[column].trust_reported_cost:
            return usage.told_cost_usd
        if not usage.complete:
            return None
        tariff = pool.prices.tariffs[column]
        # A usage that tells no tier is of the one that the arm asks for.
        tier = usage.service_tier
        if not tier and pool.arms is not None:
            tier = pool.arms.service_tiers[column]
        if not tariff.knows(tier):
            self._counts.unknown_service_tiers.inc()
        return cost_nano_usd(tariff, usage, self._priced_s(decision), tier) / NANO_PER_USD

    def _priced_s(self, decision: Decision | None) -> int:
        """Returns the time whose prices hold, in seconds since 1970: that of the decision."""
        priced_s = None if decision is None else decision.batch.estimates.priced_s
        if decision is None or priced_s is None:
            return self._clock_ns() // NANO_PER_S
        return int(priced_s[decision.row])

    def _tell_capped(
        self,
        outcome: OutcomeReport,
        decision: Decision | None,
        told_usd: float,
        booked_usd: float,
    ) -> None:
        tenant = (outcome.tenant or "") if decision is None else decision.tenant
        capped = CappedReport(outcome.decision_id, tenant, told_usd, booked_usd)
        budgets: list[str] = []
        if self._ledger is not None:
            terms = self._ledger.terms
            budgets = [terms[index].name for index in self._ledger.applies(tenant)]
        self._counts.capped(told_usd - booked_usd, budgets)
        self._bound.warn(capped)
        self.on_capped(capped)

    def _watch_tokens(self, outcome: OutcomeReport, decision: Decision, column: int) -> None:
        """Adds the tokens that the provider told to the counts, not those of an estimate."""
        if outcome.error or outcome.estimated:
            return
        pool = decision.batch.pool
        provider = pool.specs[column].provider
        usage = outcome.usage or Usage(outcome.input_tokens, outcome.output_tokens)
        for kind, tokens in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            if tokens is not None:
                labels = ("chat", PROVIDERS.get(provider.lower(), provider), kind)
                self._counts.tokens.labels(*labels, pool.names[column]).observe(tokens)

    def _watch(
        self,
        outcome: OutcomeReport,
        decision: Decision,
        column: int,
        cost_usd: float | None,
        *,
        learns: bool,
    ) -> None:
        """Adds the reported figures to the counts, and the predicted ones beside them."""
        self._watch_score(outcome, decision, column)
        estimates, row = decision.batch.estimates, decision.row
        model = decision.batch.pool.names[column]
        if cost_usd is not None and outcome.estimated:
            self._counts.estimated_cost.labels(model).inc(cost_usd)
        if cost_usd is not None and self._settled is not None:
            predicted_usd = decision.batch.costs_usd[decision.row]
            self._settled(decision.tenant, predicted_usd, cost_usd)
        if cost_usd is not None and not outcome.error:
            self._counts.reported_cost.labels(model).inc(cost_usd)
            self._counts.predicted_cost.labels(model).inc(float(estimates.costs_usd[row, column]))
        self._watch_tokens(outcome, decision, column)
        timed_out = outcome.failure is not None and outcome.failure.cause is Cause.TIMEOUT
        if outcome.latency_ms is not None and not (outcome.error or timed_out):
            self._counts.reported_latency.labels(model).inc(outcome.latency_ms)
            predicted_ms = float(estimates.latencies_ms[row, column])
            self._counts.predicted_latency.labels(model).inc(predicted_ms)
        is_answer = timed_out or not (outcome.error or outcome.estimated)
        if learns and is_answer and self._corrector is not None:
            usage = outcome.usage
            self._corrector.told.append(
                ToldAnswer(
                    decision,
                    column,
                    outcome.output_tokens if usage is None else usage.output_tokens,
                    outcome.latency_ms,
                    outcome.time_to_first_token_ms,
                    timed_out,
                    self._clock_ns() / NANO_PER_S,
                )
            )

    def _watch_score(self, outcome: OutcomeReport, decision: Decision, column: int) -> None:
        """Adds the reported score to the counts, the predicted one beside it, and teaches it."""
        if outcome.score is None:
            return
        predicted = float(decision.batch.estimates.scores[decision.row, column])
        labels = (decision.batch.pool.names[column], _tenth(predicted))
        self._counts.scored.labels(*labels).inc()
        self._counts.reported_score.labels(*labels).inc(outcome.score)
        self._counts.predicted_score.labels(*labels).inc(predicted)
        if self._learner is not None:
            confined = outcome.tenant is not None
            self._learner.told.append(ToldScore(decision, column, outcome.score, confined))


def _tells_more_than_cost(outcome: OutcomeReport) -> bool:
    """Returns whether a report tells anything besides a cost that counts without a budget."""
    known = (
        outcome.score,
        outcome.input_tokens,
        outcome.output_tokens,
        outcome.latency_ms,
        outcome.usage,
    )
    told = bool(outcome.error or outcome.status or outcome.estimated)
    return told or any(one is not None for one in known)


def _tell_health(
    health: ProviderHealth, outcome: OutcomeReport, decision: Decision | None, model: str
) -> None:
    """Tells what a report says of its model, and of the one that failed before it was asked."""
    asked_s = None if decision is None else decision.batch.timing.finished_ns / NANO_PER_S
    if decision is not None and outcome.first_try is not None:
        health.failed(decision.model, outcome.first_try, asked_s)
    elif decision is not None and decision.model != model:
        health.undone([decision])  # nobody tells how the decided one did
    health.reported(outcome, model, asked_s)


def _reserved_usd(decision: Decision | None, column: int | None) -> float:
    """Returns what was reserved for an answer of a model; 0 where that is not known."""
    if decision is None or column is None:
        return 0.0
    return float(decision.batch.estimates.reserved_usd[decision.row, column])


def _is_of(outcome: OutcomeReport, decision: Decision | None) -> bool:
    """Returns whether the decision is one of the tenant that the report is confined to."""
    if outcome.tenant is None:
        return True
    if decision is None:
        return made_for(outcome.decision_id, outcome.tenant)
    return outcome.tenant == decision.tenant


def _tenth(score: float) -> str:
    """Returns the lower end of the tenth of [0, 1] that a score is in; at most ten labels."""
    return f"{min(int(score * 10.0), 9) / 10.0:.1f}"
