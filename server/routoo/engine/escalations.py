"""Weighs answers of open decisions, and books the cost of the next answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from routoo.errors import UnknownDecisionError
from routoo.routing.escalation import Escalation, EscalationRequest, escalate, kept_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import Counter

    from routoo.engine.accounting import Accounting
    from routoo.routing.decision import Decision
    from routoo.routing.pool import Pool
    from routoo.selector.cascade import Rule


class Escalations:
    """Weighs the answers of open decisions. Called from several threads.

    Args:
        money: prices, open decisions, and the books.
        rule: the meaning of answers' signals; None: no rule is configured.
        pool: the models.
        new_id: makes an id for a decision for a tenant.
        weighed: counts by ``result``.
    """

    def __init__(
        self,
        money: Accounting,
        rule: Rule | None,
        pool: Pool,
        new_id: Callable[[str], str],
        weighed: Counter,
    ) -> None:
        self._money = money
        self._rule = rule
        self._new_id = new_id
        self._pool = pool
        self._weighed = weighed

    def weigh(self, request: EscalationRequest) -> Escalation:
        """Weighs an answer; books a new decision, which may then be reported.

        Keeps the answer where a budget cannot pay for the next model, or its provider's limit is
        used up. May wait for the ledger.

        Raises:
            UnknownDecisionError: the decision is not open here.
            InvalidRequestError: a model that the pool lacks.
            NoRuleError: there is no rule for this signal of this model.
        """
        decision = self._money.decisions.get(request.decision_id)
        if decision is None or request.tenant not in (None, decision.tenant):
            # Another tenant must not learn that the decision exists.
            raise UnknownDecisionError(
                f"decision {request.decision_id!r} is not open here: never made, too old, or made"
                " by another replica; route the prompt again"
            )
        if decision.batch.pool.names != self._pool.names:
            raise UnknownDecisionError(
                f"decision {request.decision_id!r} was made for another pool of models, which was"
                " reloaded since; route the prompt again"
            )
        policy = decision.batch.policy_versions[decision.row].rpartition("-")[0]
        price, _ = self._money.price(policy, decision.tenant)
        health = None if self._money.health is None else self._money.health.rows(1)
        found = escalate(
            decision, request, self._rule, price, self._new_id(decision.tenant), health
        )
        new, spending, limits = found.decision, self._money.spending, self._money.limits
        if new is not None and limits is not None and not found.is_at_hand:
            lacking = limits.take_one(new)
            if lacking:
                kept = kept_answer(found.answered, found.kept_score, price, lacking)
                new, found = None, replace(kept, second=found.second)
        if new is not None and spending is not None and not found.is_at_hand:
            lacking = spending.book_one(new.decision_id, decision.tenant, _most_usd(new, found))
            if lacking:
                if limits is not None:
                    limits.guard.release([new.decision_id])
                kept = kept_answer(found.answered, found.kept_score, price, lacking)
                found = replace(kept, second=found.second)
        self._weighed.labels(found.result).inc()
        if found.decision is not None:
            if self._money.health is not None and health is not None and not found.is_at_hand:
                self._money.health.asked(found.decision.batch.choices, health)
            self._money.decisions.add([found.decision])
            self._money.sessions.escalated(found.decision)
        return found


def _most_usd(new: Decision, found: Escalation) -> float:
    """Returns what the next answer may cost."""
    reserved_usd = new.batch.estimates.reserved_usd[new.row, new.batch.choices[new.row]]
    return max(found.extra_cost_usd, float(reserved_usd))
