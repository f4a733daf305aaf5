"""What the engine answers: decided batches as columns, and one row of them as a decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from routoo.selector.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from routoo.eligible import Narrowing
    from routoo.estimates import Estimates
    from routoo.pool import Pool


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
        coupling: the constraints over many prompts that the shadow price comes from.
        decided_jointly: the choices are the optimum over the whole batch.
        eligible: how many models the constraints left.
        shadow_price: predicted score per USD that the choices were made at.
        narrowings: the constraints that removed anything, in their order.
    """

    pool: Pool
    versions: Versions
    shadow_price: float
    coupling: tuple[str, ...]
    decided_jointly: bool
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

    @property
    def model(self) -> str:
        """The chosen model's name in the pool."""
        return self.batch.pool.names[self.batch.choices[self.row]]

    def binding_constraints(self) -> tuple[str, ...]:
        """The constraints that removed a model, and those that made a better one too dear."""
        batch = self.batch
        coupling = batch.coupling if batch.reasons[self.row] == Reason.PRICE else ()
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
        utility = estimates.scores[row] - batch.shadow_price * estimates.costs_usd[row]
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
        reason = batch.reasons[row]
        if reason == Reason.ONLY_ELIGIBLE:
            bound = " and ".join(self.binding_constraints()) or "a pool of one"
            return f"the only model that {bound} left of {len(batch.pool.names)}"
        if batch.decided_jointly:
            return (
                f"part of the best assignment of the whole batch, at {batch.shadow_price:.6g}"
                f" predicted score per USD, among {of_pool}"
            )
        if reason == Reason.BEST_SCORE:
            return f"the highest predicted score of {of_pool}, and worth its cost"
        return (
            f"the most predicted score after cost at {batch.shadow_price:.6g} score per USD,"
            f" among {of_pool}"
        )

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
