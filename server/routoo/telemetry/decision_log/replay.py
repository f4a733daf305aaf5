"""Replays a log: decides again from what it holds, and reports each difference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from routoo.errors import InfeasibleError, InvalidRequestError
from routoo.routing.constraints import narrow
from routoo.routing.corrections.factors import corrected_tokens
from routoo.routing.corrections.scores.in_force import learned_scores
from routoo.routing.decision import Chosen
from routoo.routing.estimates import answers_of, costs_usd_of, latencies_ms_of, most_usd_of
from routoo.routing.exploring import certain, drawing_of, drawn_odds
from routoo.routing.joint import solve_jointly
from routoo.routing.sessions.stay import Stay, in_turn, turns_of
from routoo.selector.exploring.exploration import drawn
from routoo.selector.fallbacks import fallbacks_of, kinship, mask_left
from routoo.selector.policies.cheapest import cheapest_of
from routoo.selector.policies.guarantee import Guarantee
from routoo.selector.policies.lp import reasons, round_scores
from routoo.selector.reason import Reason
from routoo.telemetry.decision_log.header import software

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routoo.routing.estimates import Estimates
    from routoo.routing.joint import JointConstraints
    from routoo.routing.pool import Pool
    from routoo.routing.sessions.stay import SessionTurns
    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray, ReasonArray
    from routoo.selector.exploring.exploration import Exploration
    from routoo.selector.policies.base import Case
    from routoo.telemetry.decision_log.columns import Logged
    from routoo.telemetry.decision_log.reader import LogContents


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A decision whose replay differs from the log.

    Attributes:
        decision_id: its id; of a joint batch that could not be solved, the batch's.
        what: the part that differs.
        logged: its value in the log.
        replayed: its value in the replay.
    """

    decision_id: str
    what: str
    logged: str
    replayed: str


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The result of a replay.

    Attributes:
        decisions: the number of decisions that were decided again.
        joint_batches: the number of joint batches among them.
        mismatches: all differences.
        findings: what could not be replayed, one line each.
    """

    decisions: int
    joint_batches: int
    mismatches: list[Mismatch]
    findings: list[str]


@dataclass(frozen=True, slots=True)
class _Again:
    """The result of deciding again.

    Attributes:
        wanted: int [n], the choice before the money was booked.
        reasons: int8 [n].
        prices: float64 [n], score per USD.
        turns: the turns of sessions after the choice; None: there are none.
        seconds: int [n], columns that are asked beside the chosen ones, -1: none; None: no policy
            asks two.
        propensity: float64 [n], probability of the choice; None: 1.
    """

    wanted: IndexArray
    reasons: ReasonArray
    prices: FloatArray
    turns: SessionTurns | None = None
    seconds: IndexArray | None = None
    propensity: FloatArray | None = None


def reproduce(log: LogContents) -> Reproduction:
    """Decides every decision again, bit for bit: figures, eligibility, choice and reason.

    Prices, and the rows that a budget could not pay for, are taken from the log.
    """
    mismatches: list[Mismatch] = []
    findings: list[str] = []
    decided = joint = 0
    for logged in log.decisions:
        told, here = logged.setup.prices, logged.setup.pool.prices.version
        if told and told != here:
            findings.append(
                f"decisions of setup {logged.setup.id} were made with price table {told}, which is"
                f" {here} here"
            )
        batches = np.array(logged.batches)
        alone = np.flatnonzero(batches == "")
        if alone.size:
            part = logged.take(alone)
            mismatches += _differences(part, _each(part))
            decided += len(part)
        for name in np.unique(batches[batches != ""]).tolist():
            part = logged.take(np.flatnonzero(batches == name))
            size, constraints = log.joint.get(name, (0, None))
            if constraints is None or size != len(part):
                findings.append(
                    f"joint batch {name} is not whole ({len(part)} of {size or 'unknown'} decisions"
                    " are here) and was not replayed"
                )
                continue
            joint += 1
            decided += len(part)
            try:
                again = _together(part, constraints)
            except (InfeasibleError, InvalidRequestError) as error:
                mismatches.append(Mismatch(name, "joint batch", "solved", str(error)))
                continue
            mismatches += _differences(part, again)
        made_with = logged.setup.software
        if mismatches and made_with != software():
            made = ", ".join(f"{one} {version}" for one, version in made_with.items())
            findings.append(f"decisions of setup {logged.setup.id} were made with {made}")
    return Reproduction(decided, joint, mismatches, findings)


def figures_again(logged: Logged) -> Estimates:
    """Computes the estimates again, from scores and tokens at the pool's prices.

    The tokens of rows that a correction was in force for are those predicted, corrected again.
    """
    old, pool = logged.estimates, logged.setup.pool
    output_tokens = _tokens_again(old, pool)
    again = replace(
        old,
        scores=_scores_again(old),
        output_tokens=output_tokens,
        most_usd=most_usd_of(
            pool, logged.requests, old.most_input_tokens, output_tokens, old.priced_s
        ),
        costs_usd=costs_usd_of(pool, old.input_tokens, output_tokens, old.priced_s),
        latencies_ms=latencies_ms_of(
            pool,
            output_tokens / answers_of(logged.requests),
            old.latency_factors,
            old.first_factors,
        ),
    )
    if logged.sessions is not None:
        again = in_turn(logged.sessions, again, pool)
    unsure = logged.setup.unsure
    return again if unsure is None else unsure.marked(again)


def _scores_again(old: Estimates) -> FloatArray:
    plain, odds = old.plain_scores, old.score_odds
    if plain is None or odds is None:
        return round_scores(old.scores)
    again = learned_scores(np.nan_to_num(plain), np.nan_to_num(odds, nan=1.0))
    return np.where(np.isnan(plain), round_scores(old.scores), again)


def _tokens_again(old: Estimates, pool: Pool) -> FloatArray:
    plain_tokens, factors, limits = old.plain_tokens, old.length_factors, old.max_output_tokens
    if plain_tokens is None or factors is None or limits is None:
        return old.output_tokens
    again = np.minimum(corrected_tokens(plain_tokens, factors), limits[:, None])
    np.minimum(again, pool.max_output_tokens, out=again)
    return np.where(np.isnan(plain_tokens), old.output_tokens, again)


def _each(logged: Logged) -> _Again:
    """Decides each row by the policy that decided it."""
    names = np.array(logged.policies)
    wanted = np.full(len(names), -1, np.intp)
    codes = np.zeros(len(names), np.int8)
    seconds: IndexArray | None = None
    case = logged.case(logged.estimates, logged.mask)
    before = turns = _turns(logged, case)
    for name in np.unique(names).tolist():
        policy = logged.setup.policies[name]
        rows = names == name
        if before is None or turns is None:
            chosen = policy.choose(case)
            why = policy.explain(case, chosen)
        else:
            chosen, why, after = before.chosen_by(policy)
            turns = turns.merged(after, rows)
        wanted[rows] = chosen[rows]
        codes[rows] = why[rows]
        if policy.asks_two:
            seconds = np.where(rows, policy.seconds(case), -1 if seconds is None else seconds)
    wanted, codes, odds = _turned(logged, Chosen(wanted, codes, np.zeros(len(names), np.bool_)))
    if logged.explored is not None and logged.setup.exploration is not None:
        wanted, codes, chances = _explored_again(
            logged, case, wanted, codes, logged.setup.exploration, logged.explored
        )
        odds = chances * odds
    if seconds is not None:
        seconds = np.where(codes == Reason.CASCADE, seconds, -1)
    return _Again(wanted, codes, logged.prices, turns, seconds, odds)


def _turned(logged: Logged, chosen: Chosen) -> tuple[IndexArray, ReasonArray, FloatArray]:
    """Turns the policies' choice as the decider does: a refuted promise, then unsure prompts.

    Returns:
        Choice, reasons and the chances of the policies' own draws, [n].
    """
    drawing = drawing_of(logged.setup.policies)
    if drawing is not None:
        chosen.odds = drawn_odds(
            drawing, chosen.choice, chosen.reasons, logged.mask, logged.sessions
        )
    promise, fallen = logged.setup.policies.get("guarantee"), logged.fallen
    if fallen is not None and isinstance(promise, Guarantee):
        chosen = replace(
            chosen,
            choice=np.where(fallen, promise.reference, chosen.choice),
            reasons=np.where(fallen, np.int8(Reason.GUARANTEE_BROKEN), chosen.reasons),
            odds=certain(chosen.odds, fallen),
        )
    unsure, rows = logged.setup.unsure, logged.estimates.unsure
    if unsure is not None and rows is not None:
        chosen = unsure.instead(chosen, logged.mask, rows)
    odds = np.ones(len(logged)) if chosen.odds is None else chosen.odds
    return chosen.choice, chosen.reasons, odds


def _explored_again(
    logged: Logged,
    case: Case,
    best: IndexArray,
    reasons: ReasonArray,
    rule: Exploration,
    explored: FloatArray,
) -> tuple[IndexArray, ReasonArray, FloatArray]:
    """Draws again, from the seed and the decisions' ids: choice, reasons and propensities, [n]."""
    stds = logged.estimates.score_std
    if stds is None:
        return best, reasons, np.ones(len(best))
    share, most_usd = np.nan_to_num(explored, nan=0.0).T
    others = rule.others(case, best, stds, most_usd)
    others[np.isnan(explored[:, 0])] = False
    prefixes = [one.partition("-")[0] for one in logged.ids]
    found = drawn(case, best, others, stds, share, rule.uniforms(prefixes, case.tickets))
    codes = np.where(found.drawn, np.int8(Reason.EXPLORED), reasons)
    return found.choice, codes, found.propensity


def _turns(logged: Logged, case: Case) -> SessionTurns | None:
    if logged.sessions is None:
        return None
    old, pool = logged.estimates, logged.setup.pool
    alone_usd = costs_usd_of(pool, old.input_tokens, old.output_tokens, old.priced_s)
    keys = [b""] * len(logged)
    return turns_of(logged.sessions, keys, case, alone_usd, old, pool)


def _together(logged: Logged, constraints: JointConstraints) -> _Again:
    # The log has no line of what each model may cost at most, which budgets pay for.
    estimates = replace(logged.estimates, most_usd=figures_again(logged).most_usd)
    solved = solve_jointly(estimates, logged.mask, constraints, logged.requests, logged.setup.pool)
    codes = reasons(logged.estimates.scores, logged.mask, solved.choice)
    return _Again(solved.choice, codes, solved.row_prices)


def _differences(logged: Logged, again: _Again) -> Iterator[Mismatch]:
    """Yields each figure, eligibility, price, choice or reason that differs in any bit."""
    names = logged.setup.pool.names
    figures = figures_again(logged)
    eligibility, _ = narrow(
        logged.requests, figures, logged.setup.pool, logged.sessions, logged.health
    )
    eligible = eligibility.mask
    if logged.limited is not None:
        eligible = eligible & ~logged.limited
    for what, old, new in (
        ("scores", logged.estimates.scores, figures.scores),
        ("output_tokens", logged.estimates.output_tokens, figures.output_tokens),
        ("costs_usd", logged.estimates.costs_usd, figures.costs_usd),
        ("latencies_ms", logged.estimates.latencies_ms, figures.latencies_ms),
        ("eligible", logged.mask, eligible),
        ("price", logged.prices[:, None], again.prices[:, None]),
    ):
        for row in np.flatnonzero((old != new).any(axis=1)).tolist():
            yield Mismatch(logged.ids[row], what, str(old[row].tolist()), str(new[row].tolist()))
    yield from _odds_differences(logged, again)
    choice, codes, turned = _booked(logged, again, figures.reserved_usd)
    for row in np.flatnonzero(again.wanted != logged.wanted).tolist():
        yield Mismatch(
            logged.ids[row],
            "model",
            _name(names, int(logged.wanted[row])),
            _name(names, int(again.wanted[row])),
        )
    for row in np.flatnonzero(turned & (choice != logged.choice)).tolist():
        yield Mismatch(
            logged.ids[row],
            "model after booking",
            _name(names, int(logged.choice[row])),
            _name(names, int(choice[row])),
        )
    if again.turns is not None and logged.stays is not None:
        stays = again.turns.stays(choice)
        for row in np.flatnonzero(stays != logged.stays).tolist():
            was, now = Stay(int(logged.stays[row])), Stay(int(stays[row]))
            yield Mismatch(logged.ids[row], "stay", was.name, now.name)
    for row in np.flatnonzero(codes != logged.reasons).tolist():
        yield Mismatch(
            logged.ids[row],
            "reason",
            Reason(int(logged.reasons[row])).name,
            Reason(int(codes[row])).name,
        )
    if logged.fallbacks is not None:
        yield from _fallback_differences(logged, logged.fallbacks, figures, again.seconds)


def _odds_differences(logged: Logged, again: _Again) -> Iterator[Mismatch]:
    """Yields the decisions whose propensities differ."""
    old, new = logged.propensity, again.propensity
    if old is None or new is None:
        return
    # Where it is not known, a budget or a limit had no room for what was drawn at first.
    for row in np.flatnonzero((old != new) & ~np.isnan(old)).tolist():
        yield Mismatch(logged.ids[row], "propensity", str(old[row]), str(new[row]))


def _fallback_differences(
    logged: Logged, told: IndexArray, figures: Estimates, seconds: IndexArray | None
) -> Iterator[Mismatch]:
    """Yields the decisions whose fallbacks differ, by what was reserved as the log tells it.

    Args:
        logged: n decisions.
        told: int [n, k], the fallbacks in the log.
        figures: the estimates, computed again.
        seconds: int [n], columns that are asked beside the chosen ones; None: there are none.
    """
    pool = logged.setup.pool
    models = [pool.model_of(column) for column in range(len(pool.names))]
    mask = mask_left(logged.mask, figures.reserved_usd, logged.limits_usd, seconds)
    near = kinship(pool.providers, models)
    found = fallbacks_of(
        figures.scores, figures.costs_usd, mask, logged.prices, logged.choice, near, told.shape[1]
    )
    found = np.pad(found, ((0, 0), (0, told.shape[1] - found.shape[1])), constant_values=-1)
    for row in np.flatnonzero((found != told).any(axis=1)).tolist():
        was, now = (
            ", ".join(pool.names[column] for column in columns[row].tolist() if column >= 0)
            for columns in (told, found)
        )
        yield Mismatch(logged.ids[row], "fallbacks", was, now)


def _booked(
    logged: Logged, again: _Again, reserved_usd: FloatArray
) -> tuple[IndexArray, ReasonArray, BoolArray]:
    """Applies the logged bookings: choice int [n], reason int8 [n], changed rows bool [n].

    A row that a budget cannot pay for gets the model that reserves least, or none.
    """
    spent = logged.reasons == Reason.BUDGET_SPENT
    turned = spent | (logged.choice != logged.wanted)
    cheapest = cheapest_of(logged.estimates.scores, reserved_usd, logged.mask)
    refused = turned & (logged.choice < 0)
    choice = np.where(turned, np.where(refused, -1, cheapest), again.wanted)
    return choice, np.where(spent, np.int8(Reason.BUDGET_SPENT), again.reasons), turned


def _name(names: tuple[str, ...], column: int) -> str:
    return names[column] if column >= 0 else "none"
