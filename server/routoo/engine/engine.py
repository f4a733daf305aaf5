"""The engine checks, batches, predicts and decides requests.

It knows no transport. It lives on one event loop; prediction and selection run on a worker thread,
joint solutions on another, so that a large batch does not hold up single requests. All its parts
are fixed at construction: a reload makes a new engine and lets this one finish, see ``retire``.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from time import monotonic_ns, thread_time_ns
from typing import TYPE_CHECKING, Any, TypeVar

from routoo.engine.batcher import Batcher, BatchWait
from routoo.engine.decider import Decider
from routoo.engine.escalations import Escalations
from routoo.engine.joint_parts import parts_of, together
from routoo.engine.overview import EngineInfo, ModelsOverview, corrections_info
from routoo.engine.shared import Handover, in_short_turns
from routoo.engine.trials.shadow import Shadow
from routoo.engine.trials.split import Trials
from routoo.errors import (
    DrainingError,
    InvalidRequestError,
    PredictorError,
    QueueFullError,
    RoutooError,
)
from routoo.routing.constraints import check_names, check_task
from routoo.routing.corrections.table import Layout
from routoo.routing.decision import Predicted, Versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import ThreadPoolExecutor

    from routoo.budget.ledger import BudgetState
    from routoo.config.sections.tasks import TaskSettings
    from routoo.config.settings import BatchingSettings
    from routoo.engine.accounting import Accounting
    from routoo.engine.shared import EngineThreads
    from routoo.predictor.base import Prediction, Predictor, PredictorSource
    from routoo.routing.corrections.factors import Factors
    from routoo.routing.corrections.table import ModelCorrection
    from routoo.routing.decision import BatchDecision, BatchFrontier, Decision
    from routoo.routing.escalation import Escalation, EscalationRequest
    from routoo.routing.health.overview import HealthOverview
    from routoo.routing.joint import JointConstraints
    from routoo.routing.money.operating_point import PricedSample
    from routoo.routing.outcome import OutcomeReport, ReportResult
    from routoo.routing.policies import Policies
    from routoo.routing.pool import Pool
    from routoo.routing.request import PromptRequest
    from routoo.telemetry.decision_log.log import DecisionLog
    from routoo.telemetry.metrics import Metrics
    from routoo.telemetry.outcome_counts import Capped


Result = TypeVar("Result")
_CHECKED_AT_ONCE = 1024
# Of a longer text, reading alone takes as long as two changes of threads.
_BRIEF_CHARS = 8 * 1024
BRIEF_NS = 2_000_000
"""A decision that took more processor time is not made on the loop, which it would hold up."""


class Engine:
    """Routes prompts. Construct it on the event loop that calls it.

    Args:
        source: names the predictor, which is called from one worker thread.
        pool: the models to choose among.
        sample: the calibration sample at the pool's prices.
        policies: the policies that decide.
        accounting: prices, books and reports; ``close`` closes them, ``retire`` does not.
        batching: how requests are gathered.
        tasks: what becomes of a task that a request names and the predictor does not know.
        threads: threads and decision ids; ``close`` stops the threads, ``retire`` does not.
        metrics: counts decisions.
        decision_log: logs single decisions and reports; None: nothing is logged.
        trials: an experiment, and the watch on a promise; None: nothing is tried.

    Raises:
        PoolError: the predictor does not know a model of the pool.
    """

    def __init__(  # noqa: PLR0913 - one parameter per part
        self,
        *,
        source: PredictorSource,
        pool: Pool,
        sample: PricedSample,
        policies: Policies,
        accounting: Accounting,
        batching: BatchingSettings,
        tasks: TaskSettings,
        threads: EngineThreads,
        metrics: Metrics,
        decision_log: DecisionLog | None = None,
        trials: Trials | None = None,
    ) -> None:
        self.source = source
        self.pool = pool
        self.sample = sample
        self.policies = policies
        self.shadow = Shadow.of(policies, metrics.comparisons, accounting)
        self.accounting = accounting
        self._metrics = metrics
        self._log = decision_log
        if decision_log is not None:
            accounting.outcomes.on_capped = lambda one: decision_log.capped(
                one.decision_id, one.reported_usd, one.booked_usd
            )
            accounting.outcomes.on_accepted = decision_log.reported
        self.trials = trials or Trials()
        decider = partial(
            Decider,
            pool=pool,
            policies=policies,
            ids=threads.ids,
            metrics=metrics,
            recorder=None if decision_log is None else decision_log.recorder(pool, policies),
            shadow=self.shadow,
            promise=self.trials.promise,
        )
        self._decider = decider(predictor=source.predictor, accounting=accounting)
        self._split = self.trials.split(self._decider, decider, accounting, self._predict_now)
        accounting.outcomes.on_outcome = self.trials.listener()
        self._escalations = Escalations(
            accounting, policies.rule, pool, threads.ids.new, metrics.escalations
        )
        self._books_wait = accounting.waits
        self._took_ns = 0
        self._max_batch = batching.max_batch
        self._max_joint = batching.max_joint
        self._tasks = tasks
        self._threads = threads
        self._batcher: Batcher[PromptRequest, Decision] = Batcher(
            self._decide,
            self._threads.predict,
            max_batch=batching.max_batch,
            max_queue=batching.max_queue,
            may_work_here=self._may_decide_here,
            on_dropped=metrics.dropped,
            on_undelivered=lambda decision: self._release([decision]),
        )
        self._joint_running = 0
        self._open = True
        self._stopped = False
        self._running: set[asyncio.Future[Any]] = set()
        self._joint_idle = asyncio.Event()
        self._joint_idle.set()
        metrics.watch_queue(lambda: self._batcher.depth)

    def route(
        self, request: PromptRequest, deadline_s: float | None = None
    ) -> asyncio.Future[Decision]:
        """Accepts one prompt.

        The future fails with NoEligibleModelError where the constraints leave no model, with
        BudgetSpentError where a budget refuses, and with LimitReachedError where a provider's limit
        does.

        Args:
            request: the prompt and its constraints.
            deadline_s: when the caller stops waiting, on ``time.monotonic``'s clock; None: never.

        Raises:
            InvalidRequestError: names the field.
            NoBudgetError: the tenant has no budget and needs one.
            QueueFullError: too many requests wait.
            DrainingError: the engine is closing.
        """
        self._check(request)
        return self._batcher.submit(request, deadline_s, brief=len(request.text) <= _BRIEF_CHARS)

    async def route_batch(
        self,
        requests: Sequence[PromptRequest],
        constraints: JointConstraints,
        *,
        is_dry: bool = False,
    ) -> BatchDecision:
        """Decides many prompts jointly; without constraints, each one as ``route`` does.

        What is left of the budgets bounds the batch, and nothing is booked where ``is_dry``.

        Raises:
            InvalidRequestError: names the request, or the model that the pool does not have.
            NoEligibleModelError: names the request and the constraint.
            InfeasibleError: the batch constraints cannot be kept; says by how much.
            NoBudgetError: a tenant has no budget and needs one.
            BudgetSpentError: a budget cannot pay for the batch.
            LimitReachedError: other requests took what was left of a provider's limits.
            QueueFullError: too many batches are in progress.
            DrainingError: the engine is closing.
        """
        constraints.check_names(self.pool)
        accepted_ns = monotonic_ns()
        handover: Handover[BatchDecision] = Handover()

        def decide_all(parts: Sequence[Prediction]) -> BatchDecision:
            decided = self._decider.decide_jointly(
                together(requests, parts, accepted_ns), constraints, is_dry=is_dry
            )
            if not handover.finish(decided):
                self._decider.release(decided.decisions)
            return decided

        try:
            return await self._jointly(requests, decide_all)
        except (asyncio.CancelledError, DrainingError):
            left = handover.abandon()
            if left is not None:
                self._release(left.decisions)
            raise

    async def frontier(
        self, requests: Sequence[PromptRequest], points: int | None, score_std_weight: float
    ) -> BatchFrontier:
        """Returns the cost-quality curve of a batch. Nothing is booked.

        Args:
            requests: the prompts.
            points: most vertices of the curve, at least 2; None: all of them.
            score_std_weight: how many of its standard deviations are taken off each score.

        Raises:
            InvalidRequestError: names the request, or the standard deviations are not known.
            NoEligibleModelError: names the request and the constraint.
            NoBudgetError: a tenant has no budget and needs one.
            QueueFullError: too many batches are in progress.
            DrainingError: the engine is closing.
        """
        accepted_ns = monotonic_ns()

        def solve(parts: Sequence[Prediction]) -> BatchFrontier:
            joined = together(requests, parts, accepted_ns)
            return self._decider.frontier(joined, points, score_std_weight)

        return await self._jointly(requests, solve)

    async def _jointly(
        self,
        requests: Sequence[PromptRequest],
        solve: Callable[[Sequence[Prediction]], Result],
    ) -> Result:
        """Predicts many prompts, and passes the predictions to ``solve`` on the solver's thread."""
        if not self._open:
            raise DrainingError("the service is stopping; send to another replica")
        if self._joint_running >= self._max_joint:
            raise QueueFullError(
                f"{self._max_joint} batches are in progress already; retry later or add replicas"
            )
        self._joint_running += 1
        self._joint_idle.clear()
        wait = BatchWait()
        try:
            await self._check_batch(requests)
            # Parts no larger than a batch of single requests, which can then run in between.
            parts = [
                await self._in_thread(self._threads.predict, self._predict, part, wait)
                for part in parts_of(requests, self._max_batch)
            ]
            return await self._in_thread(self._threads.solve, in_short_turns, solve, parts)
        finally:
            wait.abandon()
            self._joint_running -= 1
            if not self._joint_running:
                self._joint_idle.set()

    @property
    def predictor(self) -> Predictor:
        """The predictor that serves now."""
        return self.source.predictor

    @property
    def versions(self) -> Versions:
        """The versions of the predictor that would answer now, and of the policy in force."""
        return Versions(self.predictor.version, self.policies.version)

    @property
    def price(self) -> float:
        """Score per USD in force for requests without a tenant."""
        return self.accounting.price(self.policies.in_force.name, "")[0]

    async def report(self, outcome: OutcomeReport) -> ReportResult:
        """Books a reported outcome; the result is true where it was accepted.

        Raises:
            InvalidRequestError: names the field.
            DrainingError: the engine has stopped.
        """
        (result,) = await self.report_all([outcome])
        if isinstance(result, RoutooError):
            raise result
        return result

    async def report_all(
        self, outcomes: Sequence[OutcomeReport]
    ) -> list[ReportResult | RoutooError]:
        """Books many outcomes with one change of threads.

        Returns:
            For each outcome the result of ``report``, or the error that it would raise.

        Raises:
            DrainingError: the engine has stopped.
        """
        return await self._in_thread(
            self._threads.books, self.accounting.outcomes.report_all, outcomes
        )

    def new_id(self) -> str:
        """Returns an id for a request without a decision, which nobody can report."""
        return self._threads.ids.new("")

    def failed(self, decision_id: str, reason: str, model: str) -> None:
        """Logs a request that was not decided.

        Args:
            decision_id: the id that it was given, see ``new_id``.
            reason: a word.
            model: the model that answers all the same; empty: none.
        """
        if self._log is not None:
            self._log.failed(decision_id, reason, model)

    async def escalate(self, request: EscalationRequest) -> Escalation:
        """Keeps an answer, or decides which model is asked next.

        Raises:
            UnknownDecisionError: the decision is not open here.
            InvalidRequestError: a model that the pool lacks.
            NoRuleError: there is no rule for this signal of this model.
            DrainingError: the engine has stopped.
        """
        handover: Handover[Escalation] = Handover()
        try:
            found = await self._in_thread(self._threads.books, self._escalate, request, handover)
        except (asyncio.CancelledError, DrainingError):
            left = handover.abandon()
            if left is not None and left.decision is not None:
                self._release([left.decision])
            raise
        if self._log is not None:
            self._log.weighed(request, found)
        return found

    async def budgets(self, tenant: str = "") -> list[tuple[BudgetState, float]]:
        """Returns the budgets with their prices: all, or those that apply to a tenant.

        Raises:
            DrainingError: the engine has stopped.
        """
        return await self._in_thread(self._threads.books, self.accounting.budgets, tenant)

    @property
    def capped_reports(self) -> Mapping[str, Capped]:
        """By a budget's name, the reports that told more than their requests could have cost."""
        return self._metrics.outcomes.capped_by_budget

    async def models(self, points: int) -> ModelsOverview:
        """Describes the models by their predictions for the calibration sample.

        Args:
            points: most points of the cost-quality curve, at least 2; 0: no curve.

        Raises:
            DrainingError: the engine has stopped.
        """
        sample = self.sample
        in_force = self._factors_in_force()
        if in_force is not None:
            sample = sample.corrected(in_force)
        curve = await self._in_thread(self._threads.solve, sample.curve, points) if points else []
        return ModelsOverview(
            pool=self.pool,
            at=sample.point_at(self.price, self.policies.in_force),
            mean_scores=sample.scores.mean(axis=0).tolist(),
            mean_costs_usd=sample.costs_usd.mean(axis=0).tolist(),
            mean_output_tokens=sample.mean_output_tokens.tolist(),
            evidence=sample.evidence,
            averages=sample.averages,
            curve=curve,
            corrections=self.corrections(),
            health=self.health(),
            price_set_by=self.accounting.price(self.policies.in_force.name, "")[1],
            limits=self.accounting.limit_states(),
            presets=self.accounting.preset_points,
            learned=self.accounting.learned(self._layout),
        )

    def corrections(self) -> list[ModelCorrection] | None:
        """Returns what reports have told of each model of the pool; None: nothing is corrected."""
        corrector = self.accounting.corrector
        return None if corrector is None else corrector.of_models(self._layout)

    def health(self) -> HealthOverview | None:
        """Returns the health of models and providers; None: nobody watches it."""
        health = self.accounting.health
        return None if health is None else health.overview()

    async def info(self) -> EngineInfo:
        """Describes the parts of the engine and their state.

        Raises:
            DrainingError: the engine has stopped.
        """
        budgets = await self.budgets()
        return EngineInfo(
            predictor_version=self.predictor.version,
            predictor_backend=self.predictor.backend,
            policy_version=self.policies.version,
            policies=list(self.policies.offered),
            tasks=self.predictor.tasks,
            price_version=self.pool.prices.version,
            price=self.price,
            price_set_by=self.accounting.price(self.policies.in_force.name, "")[1],
            max_prompt_tokens=self.predictor.max_tokens,
            degraded=self.predictor.degraded
            or self.accounting.sessions.degraded
            or self.trials.is_broken
            or any(state.degraded for state, _ in budgets),
            shadow=None if self.shadow is None else self.shadow.comparison,
            corrections=corrections_info(self.corrections(), self._factors_in_force()),
            health=self.health(),
            trials=self.trials,
            presets=self.accounting.preset_points,
            learning=self.accounting.learning(self._layout),
        )

    def _factors_in_force(self) -> Factors | None:
        corrector = self.accounting.corrector
        return None if corrector is None else corrector.factors(self._layout)

    @property
    def _layout(self) -> Layout:
        pool, predictor = self.pool, self.predictor
        return Layout(predictor.version, pool.names, tuple(predictor.tasks), pool.declared)

    async def warm_up(self) -> None:
        """Runs the predictor for the first time, on the thread that will call it."""
        await asyncio.get_running_loop().run_in_executor(self._threads.predict, self.source.warm_up)

    async def close(self, grace_s: float) -> bool:
        """Refuses new requests, lets the accepted ones finish for ``grace_s``, fails the rest.

        Returns:
            Whether all of them were answered in time; if not, a thread may still be at work.
        """
        in_time = await self.retire(grace_s)
        self._threads.stop_work()
        await asyncio.to_thread(self._close_books)
        return in_time

    async def retire(self, grace_s: float | None = None) -> bool:
        """Refuses new requests and lets the accepted ones finish; threads and books stay open.

        For an engine that another one has replaced, as that one uses the same threads and books.

        Args:
            grace_s: seconds for the accepted ones; None: as long as they take.

        Returns:
            Whether all of them were answered in time.
        """
        self._open = False
        in_time = await asyncio.gather(self._batcher.close(grace_s), self._joint_finished(grace_s))
        if grace_s is None and self._running:
            await asyncio.wait(tuple(self._running))
        self._stopped = True
        for running in tuple(self._running):
            running.cancel()
        return all(in_time)

    def _escalate(self, request: EscalationRequest, handover: Handover[Escalation]) -> Escalation:
        found = self._escalations.weigh(request)
        if not handover.finish(found) and found.decision is not None:
            self._decider.release([found.decision])
        return found

    def _close_books(self) -> None:
        self._threads.close_books()
        self.accounting.close()
        self.trials.close()

    def _release(self, decisions: Sequence[Decision]) -> None:
        """Gives back, in a thread, the money of decisions that nobody received."""
        # Once the books are closed, these reservations expire like those without a report.
        with suppress(RuntimeError):
            self._threads.books.submit(self._decider.release, decisions)

    async def _in_thread(
        self, executor: ThreadPoolExecutor, call: Callable[..., Result], *arguments: Any
    ) -> Result:
        """Runs a call in a thread.

        Raises:
            DrainingError: the engine has stopped, before the call or while it ran.
        """
        stopped = DrainingError("the service stopped; send again")
        if self._stopped:
            raise stopped
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(executor, call, *arguments)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        try:
            return await running
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._stopped and task is not None and not task.cancelling():
                raise stopped from None
            raise

    async def _joint_finished(self, grace_s: float | None) -> bool:
        try:
            return await asyncio.wait_for(self._joint_idle.wait(), grace_s)
        except TimeoutError:
            return False

    def _check(self, request: PromptRequest) -> None:
        if request.constraints:
            check_names(request, self.pool)
        if request.task:
            check_task(request.task, self.predictor.tasks, self._tasks)
        if request.policy or request.constraints:
            self.policies.check(request)
        if request.session is not None:
            self.accounting.sessions.check(request, self.pool)
        if self.accounting.spending is not None:
            self.accounting.spending.check(request.tenant)

    async def _check_batch(self, requests: Sequence[PromptRequest]) -> None:
        for row, request in enumerate(requests):
            if row % _CHECKED_AT_ONCE == _CHECKED_AT_ONCE - 1:
                await asyncio.sleep(0)  # lets single requests in between
            try:
                self._check(request)
            except InvalidRequestError as error:
                raise error.within(f"requests[{row}]") from None

    def _predict_now(
        self, requests: Sequence[PromptRequest], rival: Predictor | None = None
    ) -> Prediction:
        return self._predict(requests, self._batcher.wait, rival)

    def _predict(
        self, requests: Sequence[PromptRequest], wait: BatchWait, rival: Predictor | None = None
    ) -> Prediction:
        predictor = rival or self.source.predictor
        prompts = [request.text for request in requests]
        told = [request.task for request in requests]
        try:
            prediction = predictor.predict(prompts, wait, told if any(told) else None)
        except (StopIteration, SystemExit, KeyboardInterrupt) as error:
            # asyncio does not pass these on to the waiting calls: they would hang, or end the loop.
            raise PredictorError(f"the predictor raised {type(error).__name__}") from error
        self._metrics.predicted(prediction.served_by, len(requests))
        return prediction

    def _may_decide_here(self) -> bool:
        """Returns whether a decision may be made on the loop.

        It is brief as far as is known, by the processor time of its thread, as a machine that is
        busy with other things makes any work look long; and nothing in it waits or is in use.
        """
        in_use = self._threads.predict.unfinished
        waits = self._books_wait or self.source.predictor.waits
        return not (in_use or waits) and self._took_ns <= BRIEF_NS

    def _decide(
        self, requests: Sequence[PromptRequest], accepted_ns: Sequence[int]
    ) -> list[Decision | RoutooError]:
        began_ns, started_ns = thread_time_ns(), monotonic_ns()
        if self._split is not None:
            replies = self._split.decide(requests, accepted_ns)
        else:
            prediction = self._predict(requests, self._batcher.wait)
            replies = self._decider.decide(
                Predicted(requests, prediction, accepted_ns, started_ns, monotonic_ns())
            )
        self._took_ns = thread_time_ns() - began_ns
        return replies
