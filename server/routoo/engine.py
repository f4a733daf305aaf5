"""One request's life: checked, batched, predicted, narrowed to eligible models, decided.

The engine knows no transport. It lives on one event loop; prediction and selection run on a worker
thread, joint solutions on another, so that a large batch does not hold up single requests. All its
parts are fixed at construction: a reload makes a new engine and lets this one finish.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from routoo.batch_frontier import BatchFrontier, frontier_of
from routoo.batching import Batcher
from routoo.decision import BatchDecision, DecidedBatch, Decision, Timing, Versions
from routoo.eligible import check_names, narrow
from routoo.errors import (
    DrainingError,
    InvalidRequestError,
    NoEligibleModelError,
    PredictorError,
    QueueFullError,
)
from routoo.estimates import estimates_of
from routoo.joint import JointSolution, solve_jointly
from routoo.predictor.base import checked, join
from routoo.selector.online import decide
from routoo.selector.reason import reasons

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from routoo.config import BatchingSettings
    from routoo.eligible import Narrowing
    from routoo.estimates import Estimates
    from routoo.joint import JointConstraints
    from routoo.operating_point import CurvePoint, PricedSample
    from routoo.pool import Pool
    from routoo.predictor.base import Prediction, Predictor
    from routoo.prompt import PromptRequest
    from routoo.selector.eligibility import Eligibility
    from routoo.telemetry import Metrics


Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Selected:
    """Choices int [n] (-1: no model left) and what they were made from; ``joint``: all at once."""

    estimates: Estimates
    mask: NDArray[np.bool_]
    narrowings: tuple[Narrowing, ...]
    choice: NDArray[np.intp]
    joint: JointSolution | None


class Engine:
    """Routes prompts. Construct it on the event loop that calls it.

    Args:
        predictor: estimates scores and lengths; called from one worker thread.
        pool: the models to choose among.
        sample: the calibration sample at the pool's prices.
        price: predicted score per USD that single requests are decided at.
        batching: how requests are gathered.
        policy_version: names the policy and its settings.
        id_prefix: makes decision ids unique across processes.
        metrics: told what was decided.

    Raises:
        PoolError: the predictor does not know a model of the pool.
    """

    def __init__(
        self,
        *,
        predictor: Predictor,
        pool: Pool,
        sample: PricedSample,
        price: float,
        batching: BatchingSettings,
        policy_version: str,
        id_prefix: str,
        metrics: Metrics,
    ) -> None:
        self.predictor = predictor
        self.pool = pool
        self.sample = sample
        self.price = price
        self._coupling = ("max_mean_cost_usd",) if price > 0.0 else ()
        self.versions = Versions(predictor.version, policy_version)
        self._columns = pool.columns_in(predictor.models)
        self._max_batch = batching.max_batch
        self._max_joint = batching.max_joint
        self._id_prefix = id_prefix
        self._sequence = count(1)
        self._metrics = metrics
        self._worker = ThreadPoolExecutor(1, "routoo-predict")
        self._solver = ThreadPoolExecutor(1, "routoo-solve")
        self._batcher: Batcher[PromptRequest, Decision] = Batcher(
            self._decide,
            self._worker,
            max_batch=batching.max_batch,
            max_queue=batching.max_queue,
            on_dropped=metrics.dropped,
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
        """Accepts one prompt; ``deadline_s`` is on ``time.monotonic``'s clock.

        The future fails with NoEligibleModelError where the constraints leave no model.

        Raises:
            InvalidRequestError, QueueFullError, DrainingError.
        """
        if request.constrained:
            check_names(request, self.pool)
        return self._batcher.submit(request, deadline_s)

    async def route_batch(
        self,
        requests: Sequence[PromptRequest],
        constraints: JointConstraints,
    ) -> BatchDecision:
        """Decides many prompts jointly; without constraints each as ``route`` would.

        Raises:
            InvalidRequestError: names the request, or the model that the pool does not have.
            NoEligibleModelError: names the request and the constraint.
            InfeasibleError: the batch constraints cannot be kept; says by how much.
            QueueFullError: too many batches are in progress.
            DrainingError: the engine is closing.
        """
        constraints.check_names(self.pool)
        accepted_ns = monotonic_ns()

        def decide_all(parts: Sequence[Prediction]) -> BatchDecision:
            return self._decide_jointly(requests, parts, constraints, accepted_ns)

        return await self._jointly(requests, decide_all)

    async def frontier(
        self, requests: Sequence[PromptRequest], points: int | None, score_std_weight: float
    ) -> BatchFrontier:
        """The cost-quality curve of a batch: every vertex, or ``points`` >= 2 of them.

        Raises:
            As ``route_batch``, but for InfeasibleError.
        """
        accepted_ns = monotonic_ns()

        def solve(parts: Sequence[Prediction]) -> BatchFrontier:
            prediction = join(parts)
            predicted_ns = monotonic_ns()
            estimates = estimates_of(prediction, requests, self.pool, self._columns)
            eligibility, _ = narrow(requests, estimates, self.pool)
            _check_all_eligible(eligibility)
            curve = frontier_of(estimates, eligibility.mask, points, score_std_weight)
            finished_ns = monotonic_ns()
            timing = Timing(
                started_ns=accepted_ns,
                tokenize_ns=prediction.tokenize_ns,
                predict_ns=prediction.predict_ns,
                select_ns=finished_ns - predicted_ns,
                finished_ns=finished_ns,
            )
            return BatchFrontier(curve, len(requests), timing)

        return await self._jointly(requests, solve)

    async def _jointly(
        self,
        requests: Sequence[PromptRequest],
        solve: Callable[[Sequence[Prediction]], Result],
    ) -> Result:
        """Predicts many prompts and hands them to ``solve`` on the solver's thread."""
        if not self._open:
            raise DrainingError("the service is stopping; send to another replica")
        if self._joint_running >= self._max_joint:
            raise QueueFullError(
                f"{self._max_joint} batches are in progress already; retry later or add replicas"
            )
        self._check_batch(requests)
        self._joint_running += 1
        self._joint_idle.clear()
        try:
            # Parts as large as a batch of single requests: those slip in between.
            parts = [
                await self._in_thread(
                    self._worker, self._predict, requests[start : start + self._max_batch]
                )
                for start in range(0, len(requests), self._max_batch)
            ]
            return await self._in_thread(self._solver, solve, parts)
        finally:
            self._joint_running -= 1
            if not self._joint_running:
                self._joint_idle.set()

    async def curve(self, points: int) -> list[CurvePoint]:
        """The cost-quality curve over the calibration sample, at most ``points`` >= 2 long."""
        return await self._in_thread(self._solver, self.sample.curve, points)

    async def warm_up(self) -> None:
        """Pays for the predictor's first runs, on the thread that will run it."""
        await asyncio.get_running_loop().run_in_executor(self._worker, self.predictor.warm_up)

    async def close(self, grace_s: float) -> bool:
        """Refuses new requests, lets the accepted ones finish for ``grace_s``, fails the rest.

        Returns:
            Whether all of them were answered in time; if not, a thread may still be at work.
        """
        self._open = False
        in_time = await asyncio.gather(self._batcher.close(grace_s), self._joint_finished(grace_s))
        self._stopped = True
        for running in tuple(self._running):
            running.cancel()
        self._worker.shutdown(wait=False, cancel_futures=True)
        self._solver.shutdown(wait=False, cancel_futures=True)
        return all(in_time)

    async def _in_thread(
        self, executor: ThreadPoolExecutor, call: Callable[..., Result], *arguments: Any
    ) -> Result:
        """Runs a call in a thread; ``close`` fails it once the grace period is over."""
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

    async def _joint_finished(self, grace_s: float) -> bool:
        try:
            return await asyncio.wait_for(self._joint_idle.wait(), grace_s)
        except TimeoutError:
            return False

    def _check_batch(self, requests: Sequence[PromptRequest]) -> None:
        for row, request in enumerate(requests):
            if request.constrained:
                try:
                    check_names(request, self.pool)
                except InvalidRequestError as error:
                    raise error.within(f"requests[{row}]") from None

    def _predict(self, requests: Sequence[PromptRequest]) -> Prediction:
        try:
            prediction = self.predictor.predict([request.text for request in requests])
        except (StopIteration, SystemExit, KeyboardInterrupt) as error:
            # asyncio would not hand these to the waiting calls, but leave them or end the loop.
            raise PredictorError(f"the predictor raised {type(error).__name__}") from error
        return checked(prediction, len(requests), len(self.predictor.models))

    def _decide(
        self, requests: Sequence[PromptRequest], accepted_ns: Sequence[int]
    ) -> list[Decision | NoEligibleModelError]:
        started_ns = monotonic_ns()
        prediction = self._predict(requests)
        predicted_ns = monotonic_ns()
        estimates = estimates_of(prediction, requests, self.pool, self._columns)
        eligibility, narrowings = narrow(requests, estimates, self.pool)
        choice = decide(estimates.scores, estimates.costs_usd, eligibility.mask, self.price)
        batch = self._decided(
            prediction,
            _Selected(estimates, eligibility.mask, narrowings, choice, None),
            accepted_ns,
            (started_ns, predicted_ns),
        )
        return [
            self._decision(batch, row, request) if chosen >= 0 else _no_model_left(eligibility, row)
            for row, (request, chosen) in enumerate(zip(requests, batch.choices, strict=True))
        ]

    def _decide_jointly(
        self,
        requests: Sequence[PromptRequest],
        parts: Sequence[Prediction],
        constraints: JointConstraints,
        accepted_ns: int,
    ) -> BatchDecision:
        prediction = join(parts)
        predicted_ns = monotonic_ns()
        estimates = estimates_of(prediction, requests, self.pool, self._columns)
        eligibility, narrowings = narrow(requests, estimates, self.pool)
        _check_all_eligible(eligibility)
        joint = None
        if constraints.any:
            joint = solve_jointly(estimates, eligibility.mask, constraints, requests, self.pool)
            choice = joint.choice
        else:
            choice = decide(estimates.scores, estimates.costs_usd, eligibility.mask, self.price)
        batch = self._decided(
            prediction,
            _Selected(estimates, eligibility.mask, narrowings, choice, joint),
            [accepted_ns] * len(requests),
            (accepted_ns, predicted_ns),
        )
        mean_score = float(np.mean(batch.scores))
        return BatchDecision(
            decisions=[self._decision(batch, row, request) for row, request in enumerate(requests)],
            total_cost_usd=float(np.sum(batch.costs_usd)),
            mean_score=mean_score,
            bound=mean_score if joint is None else joint.bound,
            gap=0.0 if joint is None else joint.gap,
            shadow_price=batch.shadow_price,
            binding=() if joint is None else joint.binding,
            timing=batch.timing,
        )

    def _decided(
        self,
        prediction: Prediction,
        selected: _Selected,
        accepted_ns: Sequence[int],
        started_and_predicted_ns: tuple[int, int],
    ) -> DecidedBatch:
        estimates, choice, joint = selected.estimates, selected.choice, selected.joint
        rows = np.arange(len(choice))
        codes = reasons(estimates.scores, selected.mask, choice)
        started_ns, predicted_ns = started_and_predicted_ns
        finished_ns = monotonic_ns()
        batch = DecidedBatch(
            pool=self.pool,
            versions=self.versions,
            shadow_price=self.price if joint is None else joint.shadow_price,
            coupling=self._coupling if joint is None else joint.binding,
            decided_jointly=joint is not None,
            estimates=estimates,
            mask=selected.mask,
            narrowings=selected.narrowings,
            timing=Timing(
                started_ns=started_ns,
                tokenize_ns=prediction.tokenize_ns,
                predict_ns=prediction.predict_ns,
                select_ns=finished_ns - predicted_ns,
                finished_ns=finished_ns,
            ),
            accepted_ns=accepted_ns,
            choices=choice.tolist(),
            reasons=codes.tolist(),
            eligible=selected.mask.sum(axis=1).tolist(),
            scores=estimates.scores[rows, choice].tolist(),
            costs_usd=estimates.costs_usd[rows, choice].tolist(),
            latencies_ms=estimates.latencies_ms[rows, choice].tolist(),
            output_tokens=estimates.output_tokens[rows, choice].tolist(),
            input_tokens=estimates.input_tokens.tolist(),
            truncated=prediction.truncated.tolist(),
        )
        self._metrics.decided(batch)
        return batch

    def _decision(self, batch: DecidedBatch, row: int, request: PromptRequest) -> Decision:
        decision_id = f"{self._id_prefix}-{next(self._sequence):x}"
        return Decision(batch, row, request.request_id, decision_id, request.explain)


def _check_all_eligible(eligibility: Eligibility) -> None:
    if eligibility.empty_rows.size:
        row = int(eligibility.empty_rows[0])
        raise _no_model_left(eligibility, row, f"requests[{row}]: ")


def _no_model_left(eligibility: Eligibility, row: int, where: str = "") -> NoEligibleModelError:
    return NoEligibleModelError(
        f"{where}{eligibility.describe(row)}", constraint=eligibility.removed_by(row) or ""
    )
