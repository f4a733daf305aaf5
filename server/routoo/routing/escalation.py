"""Two-tier selection keeps the answer of a first model, or asks another model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import monotonic_ns
from typing import TYPE_CHECKING, Literal

import numpy as np

from routoo.errors import NoRuleError
from routoo.routing.constraints import Narrowing
from routoo.routing.decision import Decision, Timing
from routoo.routing.health.rows import HEALTH
from routoo.selector.cascade import judge
from routoo.selector.reason import Reason

if TYPE_CHECKING:
    from routoo.routing.decision import DecidedBatch
    from routoo.routing.health.rows import HealthRows
    from routoo.routing.pool import Pool
    from routoo.selector.arrays import BoolArray, FloatArray
    from routoo.selector.cascade import Rule, SignalKind


@dataclass(frozen=True, slots=True)
class EscalationRequest:
    """A caller's description of an answer, free of transport.

    Attributes:
        decision_id: the decision whose model gave the answer.
        signal: the kind and its feature, see ``routoo.selector.cascade.feature_of``; None: the
            answer is of no use.
        answered_models: other models whose answers are at hand.
        min_score: least expected score, in [0, 1], of the next model.
        max_cost_usd: highest predicted cost of the next answer.
        tenant: the tenant to which the decision has to belong; None: any.
    """

    decision_id: str
    signal: tuple[SignalKind, float] | None = None
    answered_models: tuple[str, ...] = ()
    min_score: float | None = None
    max_cost_usd: float | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Escalation:
    """The result of weighing an answer: it is kept, or another model is asked.

    Attributes:
        answered: the model whose answer was weighed.
        result: kept: no model is worth its cost; unpaid: one is, and a budget cannot pay for it;
            asked: another model is to be asked.
        decision: the new decision; None: the answer is kept.
        kept_score: expected score of the answer at hand.
        gain: the next model's expected score minus ``kept_score``; 0 where the answer is kept.
        extra_cost_usd: predicted cost of the next answer; 0 where the answer is kept.
        price: score per USD in force.
        text: the reason in one sentence.
        second: the model beside which the rule for agreement reads the answer; empty: none.
        is_at_hand: whether the decision is for an answer that is at hand, so that nobody is asked.
    """

    answered: str
    result: Literal["kept", "unpaid", "asked"]
    decision: Decision | None
    kept_score: float
    gain: float
    extra_cost_usd: float
    price: float
    text: str
    second: str = ""
    is_at_hand: bool = False


def escalate(
    decision: Decision,
    request: EscalationRequest,
    rule: Rule | None,
    price: float,
    new_id: str,
    health: HealthRows | None = None,
) -> Escalation:
    """Weighs an answer against the models that might be asked next.

    Args:
        decision: the decision whose answer is weighed; its predictions are judged again.
        request: the signal of the answer, and limits for the next one.
        rule: the meaning of answers' signals; None: no rule is configured.
        price: score per USD in force.
        new_id: the id of a new decision.
        health: one row, the models that may be asked now; None: all of them.

    Raises:
        InvalidRequestError: a model that the pool lacks.
        NoRuleError: there is no rule for this signal of this model; says which there are.
    """
    started_ns = monotonic_ns()
    batch, row = decision.batch, decision.row
    pool = batch.pool
    kept = batch.choices[row]
    weighed = _weighed(decision, request, rule, health)
    scores = weighed.scores
    verdicts = judge(
        scores[None], weighed.costs_usd[None], weighed.mask[None], np.array([kept]), price
    )
    chosen = int(verdicts.choice[0])
    kept_score = float(scores[kept])
    second = _second(decision, rule)
    if chosen == kept:
        return replace(kept_answer(pool.names[kept], kept_score, price), second=second)
    gain, extra_usd = float(verdicts.gains[0]), float(verdicts.extra_usd[0])
    new = Decision(
        _one_row(decision, weighed, chosen, price, started_ns, health),
        0,
        decision.request_id,
        new_id,
        decision.explain,
        decision.tenant,
        longest_answer=decision.longest_answer,
        answers=decision.answers,
    )
    text = (
        f"{pool.names[chosen]} is expected to score {gain:.4f} more than the answer at hand"
        f" ({kept_score:.4f}), which is worth more than its {extra_usd:.3g} USD at {price:.6g}"
        " score per USD"
    )
    return Escalation(
        pool.names[kept],
        "asked",
        new,
        kept_score,
        gain,
        extra_usd,
        price,
        text,
        second,
        bool(weighed.at_hand[chosen]),
    )


def _second(decision: Decision, rule: Rule | None) -> str:
    """Returns the model that a plan asks beside the decided one; of several plans the decided."""
    if decision.second_model or rule is None:
        return decision.second_model
    kept, names = decision.batch.choices[decision.row], decision.batch.pool.names
    return next((names[plan.beside] for plan in rule.plans if plan.kept == kept), "")


@dataclass(frozen=True, slots=True)
class _Weighed:
    """The figures of one row, corrected by its answer's signal.

    Attributes:
        scores: float64 [m]; NaN where the rule knows nothing.
        costs_usd: float64 [m]; 0 for models whose answers are at hand.
        mask: bool [m], eligible models.
        narrowings: the constraints that removed models.
        at_hand: bool [m], models whose answers are at hand; others may cost nothing, too.
    """

    scores: FloatArray
    costs_usd: FloatArray
    mask: BoolArray
    narrowings: tuple[Narrowing, ...]
    at_hand: BoolArray


def _weighed(
    decision: Decision, request: EscalationRequest, rule: Rule | None, health: HealthRows | None
) -> _Weighed:
    batch, row = decision.batch, decision.row
    pool = batch.pool
    kept = batch.choices[row]
    predicted = batch.estimates.scores[row]
    at_hand = np.zeros(len(pool.names), np.bool_)
    for name in request.answered_models:
        at_hand[pool.column(name, "answered_models")] = True
    costs = np.where(at_hand, 0.0, batch.estimates.costs_usd[row])
    if request.signal is None:
        scores = predicted.copy()
        scores[kept] = 0.0
    else:
        scores = _corrected(predicted, kept, request.signal, rule, pool)
    rows = slice(row, row + 1)
    narrowings = [Narrowing(one.constraint, one.mask[rows]) for one in batch.narrowings]
    mask = batch.mask[row]
    most = np.where(at_hand, 0.0, batch.estimates.reserved_usd[row])
    limits = (
        ("max_cost_usd", None if request.max_cost_usd is None else most <= request.max_cost_usd),
        ("min_score", None if request.min_score is None else scores >= request.min_score),
    )
    for constraint, left in limits:
        if left is not None and (mask & ~left).any():
            mask = mask & left
            narrowings.append(Narrowing(constraint, mask[None]))
    if health is not None:
        known = at_hand.copy()
        known[kept] = True
        # Nobody is asked for the answers at hand, so that health is a matter of the others alone.
        left = mask & (known | health.kept((mask & ~known)[None], [False])[0])
        if (mask & ~left).any():
            mask = left
            narrowings.append(Narrowing(HEALTH, mask[None]))
    return _Weighed(scores, costs, mask, tuple(narrowings), at_hand)


def _corrected(
    predicted: FloatArray,
    kept: int,
    signal: tuple[SignalKind, float],
    rule: Rule | None,
    pool: Pool,
) -> FloatArray:
    kind, feature = signal
    if rule is None:
        raise NoRuleError(
            "no rule for signals is configured; learn one with `routoo calibrate --policy cascade`"
            " and name it with policy.cascade, or send no signal"
        )
    correction = rule.corrections.get((kind, kept))
    if correction is None:
        known = ", ".join(f"{one} of {pool.names[column]}" for one, column in rule.corrections)
        raise NoRuleError(
            f"the rule knows nothing of {kind} of {pool.names[kept]}; it knows {known}"
        )
    corrected: FloatArray = correction.apply(predicted[None], np.array([feature]))[0]
    return corrected


def kept_answer(answered: str, kept_score: float, price: float, lacking: str = "") -> Escalation:
    """Returns that the answer is kept: for lack of money, or as no model is worth its cost.

    Args:
        answered: the model that gave the answer.
        kept_score: expected score of the answer.
        price: score per USD in force.
        lacking: the message about the budget that lacks money; empty: no model is worth its cost.
    """
    why = f"{lacking}; the answer at hand is kept"
    if not lacking:
        why = (
            f"no model is expected to beat the answer at hand ({kept_score:.4f}) by more than its"
            f" cost at {price:.6g} score per USD"
        )
    result: Literal["kept", "unpaid"] = "unpaid" if lacking else "kept"
    return Escalation(answered, result, None, kept_score, 0.0, 0.0, price, why)


def _one_row(
    decision: Decision,
    weighed: _Weighed,
    chosen: int,
    price: float,
    started_ns: int,
    health: HealthRows | None,
) -> DecidedBatch:
    """Returns the row as a batch of its own, with another choice."""
    batch, row = decision.batch, decision.row
    rows = slice(row, row + 1)
    old = batch.estimates
    scores = np.where(np.isfinite(weighed.scores), weighed.scores, old.scores[row])
    estimates = replace(old.rows(rows), scores=scores[None], costs_usd=weighed.costs_usd[None])
    finished_ns = monotonic_ns()
    return replace(
        batch,
        policy_versions=batch.policy_versions[rows],
        shadow_prices=[price],
        couplings=batch.couplings[rows],
        decided_jointly=False,
        refused=0,
        estimates=estimates,
        mask=weighed.mask[None],
        narrowings=weighed.narrowings,
        timing=Timing(started_ns, 0, 0, finished_ns - started_ns, finished_ns),
        accepted_ns=[started_ns],
        choices=[chosen],
        reasons=[int(Reason.ESCALATED)],
        eligible=[int(weighed.mask.sum())],
        scores=[float(scores[chosen])],
        costs_usd=[float(weighed.costs_usd[chosen])],
        latencies_ms=[float(old.latencies_ms[row, chosen])],
        output_tokens=[float(old.output_tokens[row, chosen])],
        input_tokens=[float(old.input_tokens[row, chosen])],
        truncated=batch.truncated[row : row + 1],
        sessions=None if batch.sessions is None else batch.sessions.part(row, row + 1),
        # These were found for the rows of the decision before, at its price.
        charges=None,
        seconds=None,
        health=health,
        fallbacks=None,
        limits_usd=None,
        limited=0,
    )
