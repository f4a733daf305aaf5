"""Decisions of the engine: a decided batch as columns, and one row of it as a decision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from routoo.routing.candidate import Candidate
from routoo.selector.reason import Reason, optimum_text, reason_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from routoo.predictor.base import Prediction
    from routoo.routing.arms.spec import ArmSpec
    from routoo.routing.constraints import Narrowing
    from routoo.routing.estimates import Estimates
    from routoo.routing.exploring import Explored
    from routoo.routing.health.rows import HealthRows
    from routoo.routing.joint import JointConstraints, JointSolution
    from routoo.routing.pool import Pool
    from routoo.routing.request import PromptRequest
    from routoo.routing.sessions.stay import DecidedTurns, SessionTurns
    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray, ReasonArray
    from routoo.selector.eligibility import Eligibility
    from routoo.selector.lp.frontier import Frontier
    from routoo.selector.policies.base import Case

# Reasons of choices that depend on the price.
_COUPLED = frozenset({Reason.PRICE, Reason.BUDGET_SPENT, Reason.FALLBACK})


@dataclass(frozen=True, slots=True)
class Timing:
    """The times of a batch, in nanoseconds.

    Attributes:
        started_ns: when prediction began, ``monotonic_ns``.
        tokenize_ns: duration of tokenising.
        predict_ns: duration of inference.
        select_ns: duration of everything after the prediction.
        finished_ns: when the batch was decided, ``monotonic_ns``.
    """

    started_ns: int
    tokenize_ns: int
    predict_ns: int
    select_ns: int
    finished_ns: int


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of the parts that decided.

    Attributes:
        predictor: the version of the predictor's artifact.
        policy: the name of the policy in force and the digest of its settings.
    """

    predictor: str
    policy: str


@dataclass(frozen=True, slots=True)
class DecidedBatch:
    """n decisions as columns; the lists have one entry per prompt.

    Attributes:
        pool: the m models.
        versions: the predictor, and the policy in force.
        policy_versions: per row, the name of the policy that decided and its settings' digest.
        shadow_prices: per row, the value of money in predicted score per USD.
        couplings: per row, the constraints over many prompts that its shadow price comes from.
        decided_jointly: whether the choices are the optimum over the whole batch.
        degraded: whether a component failed and the decisions were made without it.
        refused: number of prompts that a budget refused; their choice is -1.
        limited: number of prompts that the limits of providers left no model; their choice is -1.
        estimates: predictions for all prompts and models.
        mask: bool [n, m], eligible cells.
        narrowings: the constraints that removed models, in their order.
        timing: the times of the batch.
        accepted_ns: when each request was accepted, ``monotonic_ns``.
        choices: columns of the chosen models; -1: none.
        reasons: values of ``Reason``.
        eligible: number of models that the constraints left.
        scores: predicted scores of the chosen models.
        costs_usd: predicted costs of the chosen models.
        latencies_ms: predicted times to the last token of the chosen models.
        output_tokens: predicted lengths of the chosen models' answers.
        input_tokens: lengths of the prompts, as the chosen models count them.
        truncated: whether the middle of the prompt was not read.
        sessions: the turns of sessions; None: no row has one.
        charges: float64 [n, m], score that limits of providers take off; None: they take nothing.
        seconds: columns of the models to ask beside the chosen ones, -1: none; None: none at all.
        health: the health of the models as each row sees it; None: all are well.
        fallbacks: columns of the models to ask where the chosen one's provider fails, the best
            first, -1: no more; None: none at all.
        limits_usd: what is reserved, which fallbacks cost at most; infinite: no budget pays; None:
            none pays in any row, or there are no fallbacks.
        explored: what was drawn; None: nothing could be, and the choice follows from the rest.
        odds: the chances of the choices in the policies' own draws, NaN: not known; None: no draws.
        trials: per row, its arm of an experiment, empty: none; None: no row has one.
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
    sessions: DecidedTurns | None = None
    charges: NDArray[np.float64] | None = None
    seconds: list[int] | None = None
    health: HealthRows | None = None
    fallbacks: list[list[int]] | None = None
    limits_usd: list[float] | None = None
    explored: Explored | None = None
    odds: list[float] | None = None
    trials: list[str] | None = None

    def fallback_columns(self, row: int) -> list[int]:
        """Returns the columns of a row's fallbacks, the best first."""
        if self.fallbacks is None:
            return []
        return [column for column in self.fallbacks[row] if column >= 0]

    limited: int = 0

    def propensity(self, row: int) -> float | None:
        """Returns the probability of a row's choice, by all draws together; None: not known."""
        found = 1.0 if self.explored is None else self.explored.propensity[row]
        if self.odds is not None:
            found *= self.odds[row]
        return None if isnan(found) else found

    def rows(self, start: int, end: int) -> DecidedBatch:
        """Returns a part of the batch, in memory of its own."""
        at, part = np.arange(start, end), slice(start, end)
        narrowings = tuple(replace(one, mask=one.mask[at]) for one in self.narrowings)
        columns: dict[str, Any] = {name: getattr(self, name)[part] for name in _COLUMNS}
        return replace(
            self,
            estimates=self.estimates.rows(at),
            mask=self.mask[at],
            narrowings=narrowings,
            seconds=None if self.seconds is None else self.seconds[part],
            charges=None if self.charges is None else self.charges[at],
            fallbacks=None if self.fallbacks is None else self.fallbacks[part],
            limits_usd=None if self.limits_usd is None else self.limits_usd[part],
            trials=None if self.trials is None else self.trials[part],
            sessions=None if self.sessions is None else self.sessions.part(start, end),
            health=None if self.health is None else self.health.take(at),
            explored=None if self.explored is None else self.explored.take(at),
            odds=None if self.odds is None else self.odds[part],
            **columns,
        )


_COLUMNS: Final = (
    *("policy_versions", "shadow_prices", "couplings", "accepted_ns", "choices", "reasons"),
    *("eligible", "scores", "costs_usd", "latencies_ms", "output_tokens", "input_tokens"),
    "truncated",
)


@dataclass(slots=True)  # not frozen: made for each request, and three times as fast so
class Insight:
    """What a predictor knows of a prompt and of a model's answer to it; None: it does not tell.

    Attributes:
        task: the kind of task that was decided for.
        task_confidence: its probability.
        ood: distance from the training prompts, in [0, 1].
        score_std: standard deviation of the model's score.
        evidence: graded prompts behind that score.
        averages: published averages behind it.
    """

    task: str | None
    task_confidence: float | None
    ood: float | None
    score_std: float | None
    evidence: float | None
    averages: float | None

    @classmethod
    def of(cls, estimates: Estimates, row: int, column: int) -> Insight:
        """Returns what is known of a row and of a model's column."""
        tasks, confidence, ood = estimates.tasks, estimates.confidence, estimates.ood
        std, evidence, averages = estimates.score_std, estimates.evidence, estimates.averages
        return cls(
            task=None if tasks is None else estimates.task_names[tasks.item(row)],
            task_confidence=None if confidence is None else confidence.item(row),
            ood=None if ood is None else ood.item(row),
            score_std=None if std is None else std.item(row, column),
            evidence=None if evidence is None else evidence.item(row, column),
            averages=None if averages is None else averages.item(row, column),
        )


@dataclass(slots=True)  # not frozen: made for each request, and three times as fast so
class FallbackArm:
    """A model, or one of its arms, to ask where the chosen one's provider fails.

    Attributes:
        column: its column in the pool.
        name: the column's name: ``model``, or ``model@arm``.
        model: the model's name in the pool.
        arm: how it is asked; None: the model has no arms.
        score: predicted score, in [0, 1].
        cost_usd: predicted cost.
        latency_ms: predicted time to the last token.
        max_output_tokens: see ``Decision``.
    """

    column: int
    name: str
    model: str
    arm: ArmSpec | None
    score: float
    cost_usd: float
    latency_ms: float
    max_output_tokens: int | None


@dataclass(slots=True)  # not frozen: made for each request, and three times as fast so
class Decision:
    """One row of a decided batch.

    Attributes:
        batch: the batch.
        row: the row in it.
        request_id: the caller's name of the request.
        decision_id: the id by which the decision is reported or escalated.
        explain: whether the caller wants every candidate.
        tenant: the tenant that pays; empty: none.
        max_output_tokens: the longest answer that keeps the request's limit of the cost; None: it
            has no such limit, or a longest answer of its own.
        longest_answer: the longest answer, in tokens, that the request allows; None: it sets none.
        answers: how many answers the request asks for.
        longest_of_fallbacks: ``max_output_tokens`` of each fallback; empty: the request has no such
            limit.
    """

    batch: DecidedBatch
    row: int
    request_id: str
    decision_id: str
    explain: bool
    tenant: str = ""
    max_output_tokens: int | None = None
    longest_answer: int | None = None
    answers: int = 1
    longest_of_fallbacks: tuple[int | None, ...] = ()

    @property
    def name(self) -> str:
        """The name of the chosen column: ``model``, or ``model@arm``."""
        return self.batch.pool.names[self.batch.choices[self.row]]

    @property
    def model(self) -> str:
        """The chosen model's name in the pool, without its arm."""
        pool, column = self.batch.pool, self.batch.choices[self.row]
        return pool.names[column] if pool.arms is None else pool.arms.models[column]

    @property
    def arm(self) -> ArmSpec | None:
        """The chosen model's arm; None: it has none."""
        arms = self.batch.pool.arms
        return None if arms is None else arms.specs[self.batch.choices[self.row]]

    @property
    def second_model(self) -> str:
        """The name of the column to ask beside the chosen one; empty: none."""
        seconds = self.batch.seconds
        second = -1 if seconds is None else seconds[self.row]
        return "" if second < 0 else self.batch.pool.names[second]

    def fallbacks(self) -> list[FallbackArm]:
        """Lists the models to ask where the chosen one's provider fails, the best first."""
        batch, row = self.batch, self.row
        estimates, names, arms = batch.estimates, batch.pool.names, batch.pool.arms
        columns = batch.fallback_columns(row)
        longest = self.longest_of_fallbacks or (None,) * len(columns)
        return [
            FallbackArm(
                column=column,
                name=names[column],
                model=names[column] if arms is None else arms.models[column],
                arm=None if arms is None else arms.specs[column],
                score=estimates.scores.item(row, column),
                cost_usd=estimates.costs_usd.item(row, column),
                latency_ms=estimates.latencies_ms.item(row, column),
                max_output_tokens=tokens,
            )
            for column, tokens in zip(columns, longest, strict=True)
        ]

    @property
    def propensity(self) -> float | None:
        """The probability with which this model was chosen; None: not known."""
        return self.batch.propensity(self.row)

    @property
    def unexplored_model(self) -> str:
        """The column's name that the policy chose, where another was drawn; else empty."""
        explored = self.batch.explored
        drawn = None if explored is None else explored.drawn
        if drawn is None or not drawn.rows[self.row]:
            return ""
        return self.batch.pool.names[int(drawn.best[self.row])]

    @property
    def is_ill(self) -> bool:
        """Whether the chosen model fails, and is taken as none else is left or it is named."""
        health = self.batch.health
        return health is not None and health.is_ill(self.row, self.batch.choices[self.row])

    @property
    def percentile_latency(self) -> tuple[int, float] | None:
        """The percentile that the request names, and the chosen model's time at it in ms."""
        batch = self.batch
        found = batch.estimates.percentile_ms(self.row)
        return None if found is None else (found[0], float(found[1][batch.choices[self.row]]))

    @property
    def insight(self) -> Insight:
        """What the predictor knows of the prompt and of the chosen model's answer."""
        return Insight.of(self.batch.estimates, self.row, self.batch.choices[self.row])

    def binding_constraints(self) -> tuple[str, ...]:
        """Returns the constraints that removed a model or made a better one too expensive."""
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
        """Lists every model and arm of the pool: the chosen one, the eligible ones, the others.

        Each group is sorted by utility, then by cost.
        """
        batch, row = self.batch, self.row
        estimates = batch.estimates
        std, evidence, averages = estimates.score_std, estimates.evidence, estimates.averages
        limited = estimates.percentile_ms(row)
        utility = estimates.scores[row] - batch.shadow_prices[row] * estimates.costs_usd[row]
        if batch.charges is not None:
            utility = utility - batch.charges[row]
        arms = batch.pool.arms
        names = [""] * len(batch.pool.names)
        if arms is not None:
            names = ["" if arm is None else arm.name for arm in arms.specs]
        found = [
            Candidate(
                model=batch.pool.model_of(column),
                arm=arm,
                score=float(estimates.scores[row, column]),
                cost_usd=float(estimates.costs_usd[row, column]),
                latency_ms=float(estimates.latencies_ms[row, column]),
                output_tokens=float(estimates.output_tokens[row, column]),
                utility=float(utility[column]),
                removed_by=self._removed_by(column),
                score_std=None if std is None else float(std[row, column]),
                evidence=None if evidence is None else float(evidence[row, column]),
                averages=None if averages is None else float(averages[row, column]),
                percentile_latency_ms=None if limited is None else float(limited[1][column]),
            )
            for column, arm in enumerate(names)
        ]
        # The chosen one comes first: a joint decision may choose either of two equal utilities.
        chosen = found[batch.choices[row]]
        return sorted(
            found,
            key=lambda one: (
                one is not chosen,
                bool(one.removed_by),
                -one.utility,
                one.cost_usd,
            ),
        )

    def reason_text(self) -> str:
        """Returns the reason as text for people."""
        health = self.batch.health
        if health is None:
            return self._reason_text()
        column, about = self.batch.choices[self.row], ""
        if health.is_ill(self.row, column):
            about = "; it fails at present: no other model is left, or the request names it"
        elif health.is_probe(self.row, column):
            about = "; it failed lately, and is asked to see whether it answers again"
        return self._reason_text() + about

    def _reason_text(self) -> str:
        batch, row = self.batch, self.row
        what = "models" if batch.pool.arms is None else "arms"
        of_pool = batch.eligible[row], len(batch.pool.names), what
        reason = batch.reasons[row]
        if reason == Reason.ONLY_ELIGIBLE:
            bound = " and ".join(self.binding_constraints()) or "a pool of one"
            return f"the only {what[:-1]} that {bound} left of {of_pool[1]}"
        if reason == Reason.BUDGET_SPENT:
            budgets = " and ".join(batch.couplings[row])
            spent_of = "{} of {} {}".format(*of_pool)
            return f"the lowest predicted cost of {spent_of}; {budgets} has not enough left"
        price = batch.shadow_prices[row]
        return (
            optimum_text(price, *of_pool)
            if batch.decided_jointly
            else reason_text(reason, price, *of_pool)
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
        decisions: one per prompt.
        total_cost_usd: sum of the predicted costs.
        mean_score: mean predicted score.
        bound: mean score, or total cost in USD under a floor alone, that no assignment beats.
        gap: relative distance to the bound.
        shadow_price: predicted score per USD.
        binding: the batch constraints that bind.
        timing: the times of the batch.
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
    """The cost-quality curve of a batch.

    Attributes:
        curve: its vertices.
        prompts: number of prompts.
        timing: the times of the batch.
    """

    curve: Frontier
    prompts: int
    timing: Timing


@dataclass(frozen=True, slots=True)
class Predicted:
    """n requests with their prediction; times are ``monotonic_ns``.

    Attributes:
        requests: the n requests.
        prediction: their prediction, on all models of the predictor.
        accepted_ns: when each request was accepted.
        started_ns: when prediction began.
        predicted_ns: when it was done.
        trials: per request, its arm of an experiment, empty: none; None: there is none.
    """

    requests: Sequence[PromptRequest]
    prediction: Prediction
    accepted_ns: Sequence[int]
    started_ns: int
    predicted_ns: int
    trials: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """The input of a choice for n requests.

    Attributes:
        estimates: predictions on the pool's models.
        eligibility: the models that the constraints leave.
        narrowings: the constraints that removed models.
        case: the input of the policies.
        couplings: per row, the constraints that its price comes from.
        tenants: per row, the tenant that pays.
        ids: per row, the decision id.
        turns: the turns of sessions; None: no row has one.
        health: the health of the models as each row sees it; None: all are well.
        unlimited: bool [n, m], cells that were eligible before limits of providers closed some;
            None: they closed none.
    """

    estimates: Estimates
    eligibility: Eligibility
    narrowings: tuple[Narrowing, ...]
    case: Case
    couplings: list[tuple[str, ...]]
    tenants: list[str]
    ids: list[str]
    turns: SessionTurns | None = None
    health: HealthRows | None = None
    unlimited: BoolArray | None = None

    def with_case(self, **changes: Any) -> Prepared:
        """Returns the input with changes to the case, in the turns of sessions, too."""
        turns = self.turns
        if turns is not None:
            turns = replace(
                turns,
                alone=replace(turns.alone, **changes),
                weighed=replace(turns.weighed, **changes),
            )
        return replace(self, case=replace(self.case, **changes), turns=turns)

    @property
    def prefix(self) -> str:
        """What the decision ids of this process begin with."""
        return self.ids[0].partition("-")[0]

    @property
    def billed(self) -> Case:
        """The case with what each request may cost in place of the predicted costs."""
        most_usd = self.estimates.most_usd
        return self.case if most_usd is None else replace(self.case, costs_usd=most_usd)


@dataclass(frozen=True, slots=True)
class Joint:
    """A joint decision of all rows: the batch's constraints, and the optimum under them."""

    constraints: JointConstraints
    solution: JointSolution


@dataclass(slots=True)  # not frozen: made for each request, and three times as fast so
class Chosen:
    """A choice for n requests.

    Attributes:
        choice: int [n], columns of models; -1: no model.
        reasons: int8 [n] of ``Reason``.
        priced: bool [n], rows in which score minus price times cost decided.
        joint: the joint decision of all rows; None: each row was decided on its own.
        turns: the turns of sessions after the choice; None: no row has one.
        seconds: int [n], columns to ask beside the chosen ones where the reason is CASCADE; None:
            no policy asks two.
        explored: what was drawn in place of the policies' choices; None: nothing could be.
        fallen: bool [n], rows that a refuted promise turned to its reference; None: none.
        odds: float64 [n], the chances of the choices in the policies' own draws; None: no draws.
    """

    choice: IndexArray
    reasons: ReasonArray
    priced: BoolArray
    joint: Joint | None = None
    turns: SessionTurns | None = None
    seconds: IndexArray | None = None
    explored: Explored | None = None
    fallen: BoolArray | None = None
    odds: FloatArray | None = None
