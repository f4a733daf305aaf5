"""What the engine answers: decided batches as columns, and one row of them as a decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from routoo.selector.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from routoo.predictor.base import Prediction
    from routoo.routing.constraints import Narrowing
    from routoo.routing.estimates import Estimates
    from routoo.routing.joint import JointConstraints, JointSolution
    from routoo.routing.pool import Pool
    from routoo.routing.request import PromptRequest
    from routoo.selector.arrays import BoolArray, IndexArray, ReasonArray
    from routoo.selector.eligibility import Eligibility
    from routoo.selector.lp.frontier import Frontier
    from routoo.selector.policies.base import Case

# Reasons in which the price had a say.
_COUPLED = frozenset({Reason.PRICE, Reason.BUDGET_SPENT, Reason.FALLBACK})


@dataclass(frozen=True, slots=True)
class Timing:
    """Where a batch's time went, in nanoseconds; ``started_ns`` is ``monotonic_ns``."""

    started_ns: int
    tokenize_ns: int
    predict_ns: int
    select_ns: int
    finished_ns: int


@dataclass(frozen=True, slots=True)
class Versions:
    """What decided."""

    predictor: str
    policy: str


@dataclass(frozen=True, slots=True)
class DecidedBatch:
    """n decisions as columns; the lists have one entry per prompt.

    Attributes:
        policy_versions: per row, the policy that decided and its settings.
        shadow_prices: per row, the predicted score per USD that money was worth.
        couplings: per row, the constraints over many prompts that its shadow price comes from.
        decided_jointly: the choices are the optimum over the whole batch.
        degraded: a component failed and the decisions were made without it.
        refused: how many of the prompts a budget refused; their choice is -1.
        eligible: how many models the constraints left.
        narrowings: the constraints that removed anything, in their order.
    """

    pool: Pool
    versions: Versions
    policy_versions: Sequence[str]
    shadow_prices: Sequence[float]
    couplings: Sequence[tuple[str, ...]]
    decided_jointly: bool
    degraded: bool
    refused: int
    estimates: Estimates
    mask: NDArray[np.bool_]
    narrowings: tuple[Narrowing, ...]
    timing: Timing
    accepted_ns: Sequence[int]
    choices: list[int]
    reasons: list[int]
    eligible: list[int]
    scores: list[float]
    costs_usd: list[float]
    latencies_ms: list[float]
    output_tokens: list[float]
    input_tokens: list[float]
    truncated: list[bool]


@dataclass(frozen=True, slots=True)
class Candidate:
    """What one model was expected to do; ``removed_by`` is empty where it is eligible."""

    model: str
    score: float
    cost_usd: float
    latency_ms: float
    output_tokens: float
    utility: float
    removed_by: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One row of a decided batch."""

    batch: DecidedBatch
    row: int
    request_id: str
    decision_id: str
    explain: bool
    tenant: str = ""

    @property
    def model(self) -> str:
        """The chosen model's name in the pool."""
        return self.batch.pool.names[self.batch.choices[self.row]]

    def binding_constraints(self) -> tuple[str, ...]:
        """The constraints that removed a model, and those that made a better one too dear."""
        batch = self.batch
        priced = batch.reasons[self.row] in _COUPLED
        coupling = batch.couplings[self.row] if priced else ()
        if not batch.narrowings:
            return coupling
        bound = []
        left = len(self.batch.pool.names)
        for narrowing in self.batch.narrowings:
            now = int(narrowing.mask[self.row].sum())
            if now < left:
                bound.append(narrowing.constraint)
            left = now
        return (*bound, *coupling)

    def candidates(self) -> list[Candidate]:
        """Every model of the pool: eligible ones by utility, then the others by score."""
        batch, row = self.batch, self.row
        estimates = batch.estimates
        utility = estimates.scores[row] - batch.shadow_prices[row] * estimates.costs_usd[row]
        found = [
            Candidate(
                model=name,
                score=float(estimates.scores[row, column]),
                cost_usd=float(estimates.costs_usd[row, column]),
                latency_ms=float(estimates.latencies_ms[row, column]),
                output_tokens=float(estimates.output_tokens[row, column]),
                utility=float(utility[column]),
                removed_by=self._removed_by(column),
            )
            for column, name in enumerate(batch.pool.names)
        ]
        # The chosen one first: a joint decision may settle a tie at the price either way.
        chosen = self.model
        return sorted(
            found,
            key=lambda one: (
                one.model != chosen,
                bool(one.removed_by),
                -one.utility,
                one.cost_usd,
            ),
        )

    def reason_text(self) -> str:
        """One sentence for people."""
        batch, row = self.batch, self.row
        of_pool = f"{batch.eligible[row]} of {len(batch.pool.names)} models"
        reason = Reason(batch.reasons[row])
        price = f"{batch.shadow_prices[row]:.6g}"
        if reason is Reason.ONLY_ELIGIBLE:
            bound = " and ".join(self.binding_constraints()) or "a pool of one"
            return f"the only model that {bound} left of {len(batch.pool.names)}"
        if reason is Reason.BUDGET_SPENT:
            budgets = " and ".join(batch.couplings[row])
            return f"the lowest predicted cost of {of_pool}; {budgets} has not enough left"
        if batch.decided_jointly:
            return (
                f"part of the best assignment of the whole batch, at {price}"
                f" predicted score per USD, among {of_pool}"
            )
        return reason.text.format(of_pool=of_pool, price=price)

    def _removed_by(self, column: int) -> str:
        for narrowing in self.batch.narrowings:
            if not narrowing.mask[self.row, column]:
                return narrowing.constraint
        return ""


@dataclass(frozen=True, slots=True)
class BatchDecision:
    """A joint decision over n prompts.

    Attributes:
        total_cost_usd: sum of the predicted costs.
        mean_score: mean predicted score.
        bound: mean score, or total cost in USD under a floor alone, that no assignment beats.
        gap: relative distance to the bound.
        shadow_price: predicted score per USD.
        binding: the batch constraints that bind.
    """

    decisions: list[Decision]
    total_cost_usd: float
    mean_score: float
    bound: float
    gap: float
    shadow_price: float
    binding: tuple[str, ...]
    timing: Timing


@dataclass(frozen=True, slots=True)
class BatchFrontier:
    """The curve over ``prompts`` prompts, and where the time went."""

    curve: Frontier
    prompts: int
    timing: Timing


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
class Prepared:
    """What is chosen from; ``couplings``: per row, the constraints that its price comes from."""

    estimates: Estimates
    eligibility: Eligibility
    narrowings: tuple[Narrowing, ...]
    case: Case
    couplings: list[tuple[str, ...]]
    tenants: list[str]
    ids: list[str]


@dataclass(frozen=True, slots=True)
class Joint:
    """All rows decided at once: what was to be kept, and the optimum."""

    constraints: JointConstraints
    solution: JointSolution


@dataclass(frozen=True, slots=True)
class Chosen:
    """The choice, int [n] (-1: no model), and why.

    Attributes:
        priced: bool [n], rows in which score minus price times cost decided.
        joint: all rows at once; None: each on its own.
    """

    choice: IndexArray
    reasons: ReasonArray
    priced: BoolArray
    joint: Joint | None = None
