"""The accounting of a service: prices, budgets, open decisions and reports of outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from time import time_ns
from typing import TYPE_CHECKING

import numpy as np

from routoo.engine.corrections.learner import ScoreLayout
from routoo.engine.sessions.tracker import NO_SESSIONS, Sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from routoo.budget.ledger import BudgetState
    from routoo.engine.booking.single import BudgetBooking
    from routoo.engine.corrections.corrector import Corrector
    from routoo.engine.corrections.learner import Learner, LearningState
    from routoo.engine.exploring.explorer import Explorer
    from routoo.engine.health.tracker import ProviderHealth
    from routoo.engine.limits.choice import ProviderLimits
    from routoo.engine.open_decisions import OpenDecisions
    from routoo.engine.outcomes import OutcomeSettlement
    from routoo.pricing.presets import PresetPrices
    from routoo.pricing.prices import Pricing
    from routoo.routing.arms.limit_rows import LimitState
    from routoo.routing.corrections.scores.table import ModelAbility
    from routoo.routing.corrections.table import Layout
    from routoo.selector.lp.presets import PresetPoint


@dataclass(frozen=True, slots=True)
class Accounting:
    """The objects through which a service prices, books and settles costs.

    Attributes:
        pricing: holds the prices in force, in predicted score per USD.
        spending: books costs; None: there are no budgets.
        decisions: the decisions that may still be reported.
        outcomes: takes reports of outcomes.
        clock_ns: nanoseconds since 1970, to tell the hour whose prices hold.
        corrector: learns from these reports; None: predictions are taken as they are.
        sessions: keeps the turns of sessions.
        health: keeps the health of models and providers; None: nobody watches it.
        limits: keeps choices within the limits of providers; None: there are none.
        explorer: puts other models in place of the best in a share of the decisions; None: nothing
            does.
        worker: the number of this process among the workers of a service.
        presets: the prices of the policies that are points of a curve; None: there are none.
        learner: learns scores from these reports; None: they are taken as they are predicted.
    """

    pricing: Pricing
    spending: BudgetBooking | None
    decisions: OpenDecisions
    outcomes: OutcomeSettlement
    clock_ns: Callable[[], int] = time_ns
    corrector: Corrector | None = None
    sessions: Sessions = NO_SESSIONS
    health: ProviderHealth | None = None
    limits: ProviderLimits | None = None
    explorer: Explorer | None = None
    worker: int = 0
    presets: PresetPrices | None = None
    learner: Learner | None = None

    def price(self, policy: str, tenant: str) -> tuple[float, tuple[str, ...]]:
        """Returns a tenant's price by a policy, in score per USD, and the constraints behind it."""
        price, set_by = self.pricing.in_force.of(tenant)
        return (price, set_by) if self.presets is None else self.presets.of(policy, price, set_by)

    def prices(self, policy: str, tenants: Sequence[str]) -> NDArray[np.float64]:
        """Returns ``price`` for n tenants, float64 [n]."""
        return np.array([self.price(policy, tenant)[0] for tenant in tenants], np.float64)

    @property
    def preset_points(self) -> Sequence[PresetPoint]:
        """The points of the curve that have a name, the cheapest first."""
        return () if self.presets is None else self.presets.points

    @property
    def waits(self) -> bool:
        """Whether a decision may wait for another machine or for a disk."""
        return self.sessions.waits or (
            self.spending is not None and not self.spending.is_apart and self.spending.ledger.waits
        )

    def budgets(self, tenant: str = "") -> list[tuple[BudgetState, float]]:
        """Returns each budget's state and price, in the settings' order; may wait for the ledger.

        Args:
            tenant: restricts the list to the budgets that apply to it; empty: all budgets.
        """
        if self.spending is None:
            return []
        ledger = self.spending.ledger
        wanted = ledger.applies(tenant) if tenant else range(len(ledger.terms))
        states = ledger.states()
        prices = self.pricing.in_force
        return [
            (states[one], 0.0 if states[one].terms.is_apart else prices.of_budget(one))
            for one in sorted(wanted)
        ]

    def limit_states(self) -> list[LimitState]:
        """Returns the limits of providers, in the order of the pool's rows, and their use."""
        return [] if self.limits is None else self.limits.states()

    def learned(self, layout: Layout) -> list[ModelAbility] | None:
        """Returns what was learned of each model's scores; None: no scores are learned."""
        return None if self.learner is None else self.learner.of_models(ScoreLayout(*layout[:3]))

    def learning(self, layout: Layout) -> LearningState | None:
        """Returns the state of the learned scores; None: no scores are learned."""
        return None if self.learner is None else self.learner.state(ScoreLayout(*layout[:3]))

    def close(self) -> None:
        """Stops the updates of the prices and the corrections, then closes the books."""
        self.pricing.close()
        if self.explorer is not None:
            self.explorer.purse.close()
        if self.corrector is not None:
            self.corrector.close()
        if self.learner is not None:
            self.learner.close()
        if self.spending is not None:
            self.spending.ledger.close()
        self.sessions.close()
        if self.limits is not None:
            self.limits.close()
