"""A decision, or a refused request, as the feed keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from routoo.routing.decision import Insight
from routoo.selector.reason import Reason

if TYPE_CHECKING:
    from routoo.routing.decision import DecidedBatch
    from routoo.routing.pool import Pool
    from routoo.selector.arrays import BoolArray, FloatArray


@dataclass(frozen=True, slots=True)
class SeenDecision:
    """One decision, with the figures of all models that it was made from.

    Attributes:
        number: counts up in this process.
        time_s: seconds since 1970.
        decision_id: names the decision.
        tenant: pays; empty: nobody was named.
        pool: the m models.
        choice: the chosen column; -1: the request was refused.
        policy: the name of the policy that decided.
        reason: the rule that chose.
        refused: why no model was left; empty: one was.
        scores: float64 [m], predicted scores.
        costs_usd: float64 [m], predicted costs.
        latencies_ms: float64 [m], predicted times to the last token.
        mask: bool [m], eligible models.
        price: score per USD in force.
        priced_by: the constraints over many prompts that the price comes from.
        ticket: the number of the request in the service.
        insight: what the predictor tells of the prompt; None: the request was refused.
        degraded: whether a component failed.
        joint: whether it was decided together with others.
        prompt: the beginning of the prompt; empty: prompts are not kept.
    """

    number: int
    time_s: float
    decision_id: str
    tenant: str
    pool: Pool
    choice: int
    policy: str
    reason: Reason
    refused: str
    scores: FloatArray
    costs_usd: FloatArray
    latencies_ms: FloatArray
    mask: BoolArray
    price: float
    priced_by: tuple[str, ...]
    ticket: int
    insight: Insight | None
    degraded: bool
    joint: bool
    prompt: str

    @classmethod
    def of(cls, batch: DecidedBatch, row: int, **others: Any) -> SeenDecision:
        """Takes a row of a batch, in memory of its own.

        Args:
            batch: the decisions.
            row: the row.
            others: ``number``, ``time_s``, ``decision_id``, ``tenant``, ``refused``, ``ticket`` and
                ``prompt``.
        """
        choice, estimates = batch.choices[row], batch.estimates
        return cls(
            pool=batch.pool,
            choice=choice,
            policy=batch.policy_versions[row].rpartition("-")[0],
            reason=Reason(batch.reasons[row]),
            scores=estimates.scores[row].copy(),
            costs_usd=estimates.costs_usd[row].copy(),
            latencies_ms=estimates.latencies_ms[row].copy(),
            mask=batch.mask[row].copy(),
            price=batch.shadow_prices[row],
            priced_by=tuple(batch.couplings[row]),
            insight=None if choice < 0 else Insight.of(estimates, row, choice),
            degraded=batch.degraded,
            joint=batch.decided_jointly,
            **others,
        )
