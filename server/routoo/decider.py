"""From predictions to decisions: estimates, eligible models, prices, the policy, the money.

Synchronous and free of any transport; the engine calls it from its worker threads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from time import monotonic_ns
from typing import TYPE_CHECKING

import numpy as np

from routoo.decision import BatchDecision, DecidedBatch, Decision, Timing, Versions
from routoo.eligible import narrow
from routoo.errors import NoEligibleModelError
from routoo.estimates import estimates_of
from routoo.joint import solve_jointly
from routoo.selector.policies.base import Case
from routoo.selector.reason import reasons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.eligible import Narrowing
    from routoo.estimates import Estimates
    from routoo.joint import JointConstraints, JointSolution
    from routoo.policies import Policies
    from routoo.pool import Pool
    from routoo.predictor.base import Prediction
    from routoo.pricing.in_force import Pricing
    from routoo.prompt import PromptRequest
    from routoo.selector.arrays import IndexArray
    from routoo.selector.eligibility import Eligibility
    from routoo.selector.reason import ReasonArray
    from routoo.shadow import Shadow
    from routoo.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class Predicted:
    """n requests with their prediction; times are ``monotonic_ns``.

    Attributes:
        accepted_ns: when each request was accepted.
        started_ns: when prediction began.
        predicted_ns: when it was done.
    """

    requests: Sequence[PromptRequest]
    prediction: Prediction
    accepted_ns: Sequence[int]
    started_ns: int
    predicted_ns: int


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is chosen from; ``couplings``: per row, the constraints that its price comes from."""

    estimates: Estimates
    eligibility: Eligibility
    narrowings: tuple[Narrowing, ...]
    case: Case
    couplings: list[tuple[str, ...]]
    ids: list[str]


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The choice, int [n] (-1: no model), and why; ``joint``: all rows at once."""

    choice: IndexArray
    reasons: ReasonArray
    joint: JointSolution | None = None


class Decider:
    """Decides. Called from several threads.

    Args:
        pool: the models to choose among.
        columns: [m], the pool's models among the prediction's columns.
        predictor_version: the artifact that predictions come from.
        policies: who decides.
        pricing: what money is worth.
        id_prefix: makes decision ids unique across processes.
        metrics: told what was decided.
        shadow: a policy that runs beside.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        columns: IndexArray,
        predictor_version: str,
        policies: Policies,
        pricing: Pricing,
        id_prefix: str,
        metrics: Metrics,
        shadow: Shadow | None,
    ) -> None:
        self._versions = Versions(predictor_version, policies.version)
        self._pool = pool
        self._columns = columns
        self._policies = policies
        self._pricing = pricing
        self._id_prefix = id_prefix
        self._tickets = count(1)
        self._metrics = metrics
        self._shadow = shadow

    def decide(self, predicted: Predicted) -> list[Decision | NoEligibleModelError]:
        """Decides each request on its own; one that has no model left fails alone."""
        prepared = self._prepare(predicted)
        batch = self._decided(predicted, prepared, self._choose(predicted.requests, prepared))
        return [
            self._decision(batch, row, request, prepared)
            if chosen >= 0
            else _no_model_left(prepared.eligibility, row)
            for row, (request, chosen) in enumerate(
                zip(predicted.requests, batch.choices, strict=True)
            )
        ]

    def decide_jointly(self, predicted: Predicted, constraints: JointConstraints) -> BatchDecision:
        """Decides all requests together; without constraints each as ``decide`` does.

        Raises:
            NoEligibleModelError: names the request and the constraint.
            InfeasibleError: the batch constraints cannot be kept; says by how much.
        """
        prepared = self._prepare(predicted)
        eligibility = prepared.eligibility
        if eligibility.empty_rows.size:
            row = int(eligibility.empty_rows[0])
            raise _no_model_left(eligibility, row, f"requests[{row}]: ")
        if constraints.any:
            joint = solve_jointly(prepared.estimates, eligibility.mask, constraints)
            codes = reasons(prepared.estimates.scores, eligibility.mask, joint.choice)
            chosen = _Chosen(joint.choice, codes, joint)
        else:
            joint = None
            chosen = self._choose(predicted.requests, prepared)
        batch = self._decided(predicted, prepared, chosen)
        mean_score = float(np.mean(batch.scores))
        return BatchDecision(
            decisions=[
                self._decision(batch, row, request, prepared)
                for row, request in enumerate(predicted.requests)
            ],
            total_cost_usd=float(np.sum(batch.costs_usd)),
            mean_score=mean_score,
            bound=mean_score if joint is None else joint.bound,
            gap=0.0 if joint is None else joint.gap,
            shadow_price=max(batch.shadow_prices) if joint is None else joint.shadow_price,
            binding=() if joint is None else joint.binding,
            timing=batch.timing,
        )

    def _prepare(self, predicted: Predicted) -> _Prepared:
        requests = predicted.requests
        estimates = estimates_of(predicted.prediction, requests, self._pool, self._columns)
        eligibility, narrowings = narrow(requests, estimates, self._pool)
        tenants = [request.tenant for request in requests]
        prices, couplings = self._pricing.in_force.of_rows(tenants)
        tickets = [next(self._tickets) for _ in requests]
        case = Case(
            scores=estimates.scores,
            costs_usd=estimates.costs_usd,
            mask=eligibility.mask,
            prices=prices,
            max_quality_gaps=np.array(
                [
                    np.nan if request.max_quality_gap is None else request.max_quality_gap
                    for request in requests
                ],
                np.float64,
            ),
            tickets=np.array(tickets, np.int64),
        )
        self._pricing.observe(tenants, case.scores, case.costs_usd, case.mask)
        ids = [f"{self._id_prefix}-{ticket:x}" for ticket in tickets]
        return _Prepared(estimates, eligibility, narrowings, case, couplings, ids)

    def _choose(self, requests: Sequence[PromptRequest], prepared: _Prepared) -> _Chosen:
        """Each row by the policy that its request names; all policies see all rows."""
        case = prepared.case
        choice = np.full(len(requests), -1, np.intp)
        codes = np.zeros(len(requests), np.int8)
        for name in {request.policy for request in requests}:
            policy = self._policies.named(name)
            rows = np.array([request.policy == name for request in requests])
            chosen = policy.choose(case)
            choice[rows] = chosen[rows]
            codes[rows] = policy.explain(case, chosen)[rows]
            if self._shadow is not None and policy is self._policies.in_force:
                self._shadow.compare(case, choice, rows)
        return _Chosen(choice, codes)

    def _decided(self, predicted: Predicted, prepared: _Prepared, chosen: _Chosen) -> DecidedBatch:
        prediction, estimates, choice = predicted.prediction, prepared.estimates, chosen.choice
        joint = chosen.joint
        n = len(choice)
        rows = np.arange(n)
        version_of = self._policies.version_of
        finished_ns = monotonic_ns()
        batch = DecidedBatch(
            pool=self._pool,
            versions=replace(self._versions, predictor=prediction.version)
            if prediction.version
            else self._versions,
            degraded=prediction.degraded,
            policy_versions=[version_of(request.policy) for request in predicted.requests],
            shadow_prices=prepared.case.prices.tolist()
            if joint is None
            else [joint.shadow_price] * n,
            couplings=prepared.couplings if joint is None else [joint.binding] * n,
            decided_jointly=joint is not None,
            estimates=estimates,
            mask=prepared.case.mask,
            narrowings=prepared.narrowings,
            timing=Timing(
                started_ns=predicted.started_ns,
                tokenize_ns=prediction.tokenize_ns,
                predict_ns=prediction.predict_ns,
                select_ns=finished_ns - predicted.predicted_ns,
                finished_ns=finished_ns,
            ),
            accepted_ns=predicted.accepted_ns,
            choices=choice.tolist(),
            reasons=chosen.reasons.tolist(),
            eligible=prepared.case.mask.sum(axis=1).tolist(),
            scores=estimates.scores[rows, choice].tolist(),
            costs_usd=estimates.costs_usd[rows, choice].tolist(),
            latencies_ms=estimates.latencies_ms[rows, choice].tolist(),
            output_tokens=estimates.output_tokens[rows, choice].tolist(),
            input_tokens=estimates.input_tokens.tolist(),
            truncated=prediction.truncated.tolist(),
        )
        self._metrics.decided(batch)
        return batch

    def _decision(
        self, batch: DecidedBatch, row: int, request: PromptRequest, prepared: _Prepared
    ) -> Decision:
        return Decision(batch, row, request.request_id, prepared.ids[row], request.explain)


def _no_model_left(eligibility: Eligibility, row: int, where: str = "") -> NoEligibleModelError:
    return NoEligibleModelError(
        f"{where}{eligibility.describe(row)}", constraint=eligibility.removed_by(row) or ""
    )
