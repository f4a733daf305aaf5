"""The decider turns predictions into decisions.

It computes estimates, narrows the models, applies the policies at the prices in force, and books
the costs. It is synchronous and knows no transport; the engine calls it from its worker threads.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from time import monotonic_ns
from typing import TYPE_CHECKING

import numpy as np

from routoo.engine.booking.batches import BatchBooking
from routoo.engine.corrections.estimating import Estimating
from routoo.engine.fallbacks import Fallbacks
from routoo.engine.joint_parts import batch_decision, kept_parts
from routoo.engine.limits.choice import lost_limits
from routoo.errors import NoEligibleModelError
from routoo.pricing.prices import Observed, budget_constraint
from routoo.routing.constraints import narrow, numbers_of
from routoo.routing.decision import (
    BatchDecision,
    BatchFrontier,
    Chosen,
    DecidedBatch,
    Decision,
    Joint,
    Prepared,
    Timing,
    Versions,
)
from routoo.routing.exploring import drawing_of, drawn_odds, settled_odds
from routoo.routing.joint import frontier_of, solve_jointly
from routoo.routing.money.affordable import affordable_output_tokens
from routoo.routing.sessions.stay import in_turn, turns_of
from routoo.selector.policies.base import Case
from routoo.selector.policies.lp import reasons
from routoo.selector.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.engine.accounting import Accounting
    from routoo.engine.booking.single import Booked
    from routoo.engine.open_decisions import DecisionIds
    from routoo.engine.trials.promise_watch import PromiseWatch
    from routoo.engine.trials.shadow import Shadow
    from routoo.errors import RoutooError
    from routoo.predictor.base import Predictor
    from routoo.routing.decision import Predicted
    from routoo.routing.joint import JointConstraints
    from routoo.routing.policies import Policies
    from routoo.routing.pool import Pool
    from routoo.routing.request import PromptRequest
    from routoo.routing.sessions.stay import SessionTurns
    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray, ReasonArray
    from routoo.selector.eligibility import Eligibility
    from routoo.selector.policies.base import Policy
    from routoo.telemetry.decision_log.log import Recorder
    from routoo.telemetry.metrics import Metrics

# Solutions of a batch: one more when other requests took its money while it was solved.
_SOLUTIONS = 2


class Decider:
    """Turns predictions into decisions. Called from several threads.

    Args:
        pool: the models to choose among.
        predictor: the source of the predictions, for its models and its version.
        policies: the policies that decide.
        accounting: prices, books and open decisions.
        ids: makes decision ids.
        metrics: counts decisions.
        recorder: logs decisions; None: nothing is logged.
        shadow: a policy that is compared with the one in force; None: there is none.
        promise: turns choices to the reference where a promise is refuted; None: none is watched.
    """

    def __init__(  # noqa: PLR0913 - one parameter per part
        self,
        *,
        pool: Pool,
        predictor: Predictor,
        policies: Policies,
        accounting: Accounting,
        ids: DecisionIds,
        metrics: Metrics,
        recorder: Recorder | None,
        shadow: Shadow | None,
        promise: PromiseWatch | None = None,
    ) -> None:
        self._versions = Versions(predictor.version, policies.version)
        self._pool = pool
        columns = pool.columns_in(predictor.models)
        self._estimates = Estimating(pool, columns, predictor.version, policies, accounting)
        self._policies = policies
        self._fallbacks = Fallbacks.of(pool, policies.fallbacks)
        self._pricing = accounting.pricing
        self._presets = accounting.presets if policies.has_presets else None
        self._ids = ids
        self._metrics = metrics
        self._shadow, self._promise = shadow, promise
        self._drawing = drawing_of(policies.named)
        self._recorder = recorder
        spending = accounting.spending
        self._spending = None if spending is None or spending.is_apart else spending
        self._explorer = accounting.explorer
        self._decisions = accounting.decisions
        self._sessions = accounting.sessions
        self._health = accounting.health
        self._limits = accounting.limits

    def decide(self, predicted: Predicted) -> list[Decision | RoutooError]:
        """Decides each request on its own.

        Returns:
            Per request a decision, or an error where no model is left, or where a budget or the
            limit of a provider refuses.
        """
        prepared = self._prepare(predicted)
        choose: Callable[..., Chosen] = partial(self._choose, predicted.requests)
        if self._explorer is not None:
            choose = self._explorer.over(predicted.requests, choose)
        if self._limits is None:
            chosen = choose(prepared)
        else:
            prepared, chosen = self._limits.choose(prepared, choose)
            self._limits.observe(prepared, chosen)
        booked = None
        if self._spending is not None:
            raised_usd = None
            if self._fallbacks is not None:
                raised_usd = self._fallbacks.raised_usd(predicted.requests, prepared, chosen)
            booked = self._spending.book(
                prepared.ids,
                prepared.tenants,
                prepared.billed,
                chosen.choice,
                raised_usd,
                None if chosen.explored is None else chosen.explored.instead,
            )
            booked = self._within_limits(prepared, chosen, booked)
        if self._explorer is not None:
            chosen = self._explorer.settled(prepared, chosen, booked)
        batch = self._decided(predicted, prepared, chosen, booked)
        replies: list[Decision | RoutooError] = []
        for row, request in enumerate(predicted.requests):
            if batch.choices[row] >= 0:
                replies.append(self._decision(batch, row, request, prepared))
            elif booked is not None and booked.refused[row]:
                assert self._spending is not None  # noqa: S101 - it booked
                spent = int(booked.spent[row])
                replies.append(self._spending.spent_error(spent, degraded=booked.degraded))
            else:
                replies.append(self._no_model_left(prepared, row))
        self._decisions.add(one for one in replies if isinstance(one, Decision))
        self._keep_turns(batch, predicted.requests)
        return replies

    def decide_jointly(
        self, predicted: Predicted, constraints: JointConstraints, *, is_dry: bool = False
    ) -> BatchDecision:
        """Decides all requests together; without constraints, each one as ``decide`` does.

        What is left of the budgets bounds the program like the caller's own constraints. Without
        such constraints, that is so where the budgets cannot pay for the choice at their prices.
        The costs are booked all together or not at all.

        Args:
            predicted: the requests and their predictions.
            constraints: the caller's constraints on the batch.
            is_dry: books nothing, and logs and counts no decision; the decisions have no ids.

        Raises:
            NoEligibleModelError: names the request and the constraint.
            InfeasibleError: the batch constraints, or the limits of providers, cannot be kept; says
                by how much.
            BudgetSpentError: names the budget, and says how much it lacks.
            LimitReachedError: other requests took what was left of a provider's limits.
        """
        prepared = self._prepare(predicted, is_dry=is_dry)
        _check_all_eligible(prepared.eligibility)
        if self._limits is not None and not constraints.any:
            prepared = self._limits.charged(prepared)
        chosen, booked = self._chosen_together(predicted, prepared, constraints, is_dry=is_dry)
        batch = self._decided(predicted, prepared, chosen, booked, is_planned=True, is_dry=is_dry)
        decisions = [
            self._decision(batch, row, request, prepared)
            for row, request in enumerate(predicted.requests)
        ]
        if not is_dry:
            for part in kept_parts(decisions):
                self._decisions.add(part)
            self._keep_turns(batch, predicted.requests)
        return batch_decision(batch, decisions, chosen.joint)

    def _chosen_together(
        self,
        predicted: Predicted,
        prepared: Prepared,
        constraints: JointConstraints,
        *,
        is_dry: bool,
    ) -> tuple[Chosen, Booked | None]:
        """Chooses for a batch within what budgets and limits have left, and books it."""
        limits, spending = self._limits, self._spending
        money = None
        if spending is not None:
            money = BatchBooking(spending, prepared.ids, prepared.tenants, prepared.billed)
        for _ in range(_SOLUTIONS):
            budgets_left = () if money is None else money.left()
            limits_left = () if limits is None else limits.left()
            chosen = None
            if not constraints.any:
                chosen = self._choose(predicted.requests, prepared)
                if (money is not None and not money.pays(budgets_left, chosen.choice)) or (
                    limits is not None and not limits.fits(limits_left, prepared, chosen.choice)
                ):
                    chosen = None
            if chosen is None:
                within = replace(constraints, budgets_left=budgets_left, limits_left=limits_left)
                chosen = self._solve(predicted, prepared, within)
            if is_dry:
                return chosen, None if money is None else money.booked(budgets_left, chosen.choice)
            if limits is not None and not limits.reserve_all(prepared, chosen.choice):
                continue
            booked = None if money is None else money.book(budgets_left, chosen.choice)
            if money is None or booked is not None:
                return chosen, booked
            if limits is not None:
                limits.guard.release(prepared.ids)
        raise lost_limits() if money is None else money.lost()

    def _solve(
        self, predicted: Predicted, prepared: Prepared, constraints: JointConstraints
    ) -> Chosen:
        mask, scores = prepared.case.mask, prepared.estimates.scores
        joint = solve_jointly(prepared.estimates, mask, constraints, predicted.requests, self._pool)
        codes = reasons(scores, mask, joint.choice)
        priced = np.zeros(len(codes), np.bool_)
        return Chosen(joint.choice, codes, priced, Joint(constraints, joint), prepared.turns)

    def frontier(
        self, predicted: Predicted, points: int | None, score_std_weight: float
    ) -> BatchFrontier:
        """Returns the cost-quality curve of a batch, see ``Engine.frontier``. Books nothing."""
        requests, prediction = predicted.requests, predicted.prediction
        estimates = self._estimates(predicted)
        eligibility, _ = narrow(requests, estimates, self._pool)
        _check_all_eligible(eligibility)
        curve = frontier_of(estimates, eligibility.mask, points, score_std_weight)
        finished_ns = monotonic_ns()
        timing = Timing(
            started_ns=predicted.started_ns,
            tokenize_ns=prediction.tokenize_ns,
            predict_ns=prediction.predict_ns,
            select_ns=finished_ns - predicted.predicted_ns,
            finished_ns=finished_ns,
        )
        return BatchFrontier(curve, len(requests), timing)

    def release(self, decisions: Sequence[Decision]) -> None:
        """Undoes the booking of decisions that nobody received."""
        ids = [decision.decision_id for decision in decisions]
        self._decisions.discard(ids)
        if self._health is not None:
            self._health.undone(decisions)
        if self._limits is not None:
            self._limits.guard.release(ids)
        self._sessions.undone(decisions)
        if self._spending is not None:
            self._spending.release(ids)

    def _prepare(self, predicted: Predicted, *, is_dry: bool = False) -> Prepared:
        requests = predicted.requests
        estimates = self._estimates(predicted)
        alone_usd = estimates.costs_usd
        rows, keys = None, None
        if any(one.session is not None and one.session.is_followed for one in requests):
            rows, keys = self._sessions.before(requests, estimates.input_tokens, self._pool)
            estimates = in_turn(rows, estimates, self._pool)
        health = None
        if self._health is not None and not self._health.is_well:
            health = self._health.rows(len(requests))
        eligibility, narrowings = narrow(requests, estimates, self._pool, rows, health)
        tenants = [request.tenant for request in requests]
        prices, couplings = self._pricing.in_force.of_rows(tenants)
        if self._presets is not None:
            names = [self._policies.named[one.policy].name for one in requests]
            prices, couplings = self._presets.of_rows(names, prices, couplings)
        tickets = self._ids.tickets(len(requests))
        case = Case(
            scores=estimates.scores,
            costs_usd=estimates.costs_usd,
            mask=eligibility.mask,
            prices=prices,
            max_quality_gaps=numbers_of(requests, "max_quality_gap"),
            tickets=np.array(tickets, np.int64),
        )
        ids = [""] * len(requests) if is_dry else self._ids.named(tickets, tenants)
        turns = None
        if rows is not None and keys is not None:
            turns = turns_of(rows, keys, case, alone_usd, estimates, self._pool)
        return Prepared(
            estimates, eligibility, narrowings, case, couplings, tenants, ids, turns, health
        )

    def _choose(
        self, requests: Sequence[PromptRequest], prepared: Prepared, *, again: bool = False
    ) -> Chosen:
        """Chooses by the policies; at prompts that are unsure, the rule for these goes first.

        Only the first choice of requests is compared with that of the shadow policy.
        """
        chosen = self._by_policies(requests, prepared, again=again)
        if self._drawing is not None:
            sessions = None if prepared.turns is None else prepared.turns.rows
            chosen.odds = drawn_odds(
                self._drawing, chosen.choice, chosen.reasons, prepared.case.mask, sessions
            )
        if self._promise is not None:
            chosen = self._promise.instead(chosen, requests, prepared)
        unsure, rows = self._policies.unsure, prepared.estimates.unsure
        if unsure is None or rows is None or not rows.any():
            return chosen
        return unsure.instead(chosen, prepared.case.mask, rows)

    def _by_policies(
        self, requests: Sequence[PromptRequest], prepared: Prepared, *, again: bool
    ) -> Chosen:
        """Chooses for each row by the policy that its request names; each policy sees all rows."""
        case = prepared.case
        names = [request.policy for request in requests]
        if names.count(names[0]) == len(names):
            policy = self._policies.named[names[0]]
            choice, codes, turns = _chosen_by(policy, case, prepared.turns)
            everything = np.ones(len(names), np.bool_)
            if not again:
                self._compare(policy, prepared, choice, everything)
            priced = everything if policy.at_price else ~everything
            seconds = policy.seconds(case) if policy.asks_two else None
            return Chosen(choice, codes, priced, turns=turns, seconds=seconds)
        seconds = None
        choice = np.full(len(names), -1, np.intp)
        codes = np.zeros(len(names), np.int8)
        priced = np.zeros(len(names), np.bool_)
        turns = prepared.turns
        for name in set(names):
            policy = self._policies.named[name]
            rows = np.array([one == name for one in names])
            chosen, why, after = _chosen_by(policy, case, prepared.turns)
            choice[rows] = chosen[rows]
            codes[rows] = why[rows]
            priced[rows] = policy.at_price
            if turns is not None and after is not None:
                turns = turns.merged(after, rows)
            if policy.asks_two:
                seconds = np.where(rows, policy.seconds(case), -1 if seconds is None else seconds)
            if not again:
                self._compare(policy, prepared, choice, rows)
        return Chosen(choice, codes, priced, turns=turns, seconds=seconds)

    def _compare(
        self, policy: Policy, prepared: Prepared, choice: IndexArray, rows: BoolArray
    ) -> None:
        if self._shadow is not None and policy is self._policies.in_force:
            self._shadow.compare(prepared.case, choice, rows, prepared.tenants)

    def _decided(
        self,
        predicted: Predicted,
        prepared: Prepared,
        chosen: Chosen,
        booked: Booked | None,
        *,
        is_planned: bool = False,
        is_dry: bool = False,
    ) -> DecidedBatch:
        prediction, estimates = predicted.prediction, prepared.estimates
        joint = None if chosen.joint is None else chosen.joint.solution
        couplings: Sequence[tuple[str, ...]] = prepared.couplings
        if joint is not None:
            couplings = joint.row_bindings
        choice, codes = chosen.choice, chosen.reasons
        if booked is not None:
            if not is_dry:
                self._observe(prepared, chosen, booked, is_planned=is_planned)
            choice = booked.choice
            spent = np.flatnonzero(booked.spent >= 0)
            if spent.size:
                codes = codes.copy()  # the choice before the booking stays as it was
                codes[spent] = Reason.BUDGET_SPENT
            couplings = self._with_spent(couplings, booked, spent)
        row_prices = prepared.case.prices if joint is None else joint.row_prices
        limits_usd = None if booked is None else booked.reserved_usd
        fallbacks = None
        if self._fallbacks is not None:
            fallbacks = self._fallbacks.found(prepared, chosen, row_prices, choice, limits_usd)
        policies = [request.policy for request in predicted.requests]
        predictor = prediction.version or self._versions.predictor
        finished_ns = monotonic_ns()
        batch = DecidedBatch(
            pool=self._pool,
            versions=self._versions
            if predictor == self._versions.predictor
            else Versions(predictor, self._versions.policy),
            policy_versions=[self._policies.versions[name] for name in policies],
            shadow_prices=row_prices.tolist(),
            couplings=couplings,
            decided_jointly=joint is not None,
            degraded=prediction.degraded
            or (booked is not None and booked.degraded)
            or (chosen.turns is not None and self._sessions.degraded),
            refused=0 if booked is None else int(np.count_nonzero(booked.refused)),
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
            reasons=codes.tolist(),
            eligible=np.add.reduce(prepared.case.mask, axis=1).tolist(),
            scores=_chosen(estimates.scores, choice),
            costs_usd=_chosen(estimates.costs_usd, choice),
            latencies_ms=_chosen(estimates.latencies_ms, choice),
            output_tokens=_chosen(estimates.output_tokens, choice),
            input_tokens=_chosen(estimates.input_tokens, choice),
            truncated=prediction.truncated.tolist(),
            sessions=None if chosen.turns is None else chosen.turns.decided(choice),
            charges=prepared.case.charges,
            limited=0 if self._limits is None else self._limits.count_refused(prepared, choice),
            seconds=None
            if chosen.seconds is None
            else np.where(codes == Reason.CASCADE, chosen.seconds, -1).tolist(),
            health=prepared.health,
            fallbacks=None if fallbacks is None else fallbacks.tolist(),
            limits_usd=None if fallbacks is None or limits_usd is None else limits_usd.tolist(),
            explored=chosen.explored,
            odds=None
            if chosen.odds is None
            else settled_odds(
                chosen.odds, choice != chosen.choice, prepared.case.mask, prepared.unlimited
            ),
            trials=predicted.trials,
        )
        if is_dry:
            return batch
        if self._health is not None and prepared.health is not None:
            self._health.asked(batch.choices, prepared.health)
        self._metrics.decided(batch)
        if self._metrics.live.on:
            self._metrics.live.decided(predicted.requests, prepared, batch)
        if self._recorder is not None:
            self._recorder.decided(predicted.requests, prepared, chosen, batch)
        return batch

    def _keep_turns(self, batch: DecidedBatch, requests: Sequence[PromptRequest]) -> None:
        if any(one.session is not None for one in requests):
            self._sessions.decided(batch, requests)

    def _observe(
        self, prepared: Prepared, chosen: Chosen, booked: Booked, *, is_planned: bool
    ) -> None:
        case = prepared.case
        at_price = chosen.priced & booked.granted & (booked.spent < 0)
        paid = case.costs_usd[np.arange(len(booked.choice)), booked.choice]
        scores = case.scores if case.charges is None else case.scores - case.charges
        self._pricing.observe(
            Observed(
                tenants=prepared.tenants,
                scores=scores,
                costs_usd=case.costs_usd,
                mask=case.mask,
                granted=booked.granted,
                at_price_usd=np.where(at_price, paid, np.nan),
                is_planned=is_planned,
            )
        )

    def _within_limits(self, prepared: Prepared, chosen: Chosen, booked: Booked) -> Booked:
        """Lets the limits follow a booking; rows whose new model is full are not booked."""
        if self._limits is None or self._spending is None:
            return booked
        full = self._limits.follow(prepared, chosen.choice, booked)
        if not full.size:
            return booked
        self._spending.release([prepared.ids[row] for row in full.tolist()])
        choice, granted = booked.choice.copy(), booked.granted.copy()
        choice[full] = -1
        granted[full] = False
        return replace(booked, choice=choice, granted=granted)

    def _no_model_left(self, prepared: Prepared, row: int) -> RoutooError:
        found = None if self._limits is None else self._limits.error(prepared, row)
        return _no_model_left(prepared.eligibility, row) if found is None else found

    def _with_spent(
        self, couplings: Sequence[tuple[str, ...]], booked: Booked, spent: IndexArray
    ) -> Sequence[tuple[str, ...]]:
        """Returns the couplings; rows that a spent budget changed name that budget."""
        if not spent.size or self._spending is None:
            return couplings
        turned = list(couplings)
        for row in spent.tolist():
            name = self._spending.ledger.terms[booked.spent[row]].name
            turned[row] = (budget_constraint(name),)
        return turned

    def _decision(
        self, batch: DecidedBatch, row: int, request: PromptRequest, prepared: Prepared
    ) -> Decision:
        longest: int | None = None
        longest_of_fallbacks: tuple[int | None, ...] = ()
        if "max_cost_usd" in request.constraints:
            columns = [batch.choices[row], *batch.fallback_columns(row)]
            longest, *rest = (
                affordable_output_tokens(request, batch.estimates, row, column, batch.pool)
                for column in columns
            )
            longest_of_fallbacks = tuple(rest)
        return Decision(
            batch,
            row,
            request.request_id,
            prepared.ids[row],
            request.explain,
            request.tenant,
            longest,
            request.max_output_tokens,
            request.answers,
            longest_of_fallbacks,
        )


def _chosen_by(
    policy: Policy, case: Case, turns: SessionTurns | None
) -> tuple[IndexArray, ReasonArray, SessionTurns | None]:
    if turns is not None:
        return turns.chosen_by(policy)
    choice = policy.choose(case)
    return choice, policy.explain(case, choice), None


def _chosen(figures: FloatArray, choice: IndexArray) -> list[float]:
    """Returns the figures ([n, m]) of the chosen models; of one row without making arrays."""
    if len(choice) == 1:
        return [figures.item(0, choice.item(0))]
    found: list[float] = figures[np.arange(len(choice)), choice].tolist()
    return found


def _check_all_eligible(eligibility: Eligibility) -> None:
    if eligibility.empty_rows.size:
        row = int(eligibility.empty_rows[0])
        raise _no_model_left(eligibility, row, f"requests[{row}]: ")


def _no_model_left(eligibility: Eligibility, row: int, where: str = "") -> NoEligibleModelError:
    return NoEligibleModelError(
        f"{where}{eligibility.describe(row)}", constraint=eligibility.removed_by(row) or ""
    )
