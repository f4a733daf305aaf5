"""Metrics of budgets, read from the ledger at each scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import Metric

    from routoo.budget.ledger import BudgetState

_NANO = 1e9


class BudgetMetrics(Collector):
    """Collects the limits, amounts and prices of all budgets.

    Args:
        budgets: returns the state and the price of each budget; called from the scraping thread.
    """

    def __init__(self, budgets: Callable[[], list[tuple[BudgetState, float]]]) -> None:
        self._budgets = budgets

    def describe(self) -> list[Metric]:
        """Returns no metrics, so that registering does not read the ledger."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics."""
        states = self._budgets()
        for name, text, read in (
            ("limit_usd", "US dollars per period.", _limit_usd),
            ("reserved_usd", "Granted, cost not yet known.", lambda one, _: one.reserved_usd),
            ("settled_usd", "Cost known.", lambda one, _: one.settled_usd),
            ("overdraft_usd", "Spent beside the budget.", lambda one, _: one.overdraft_usd),
            ("granted_requests", "Requests granted in the period.", lambda one, _: one.granted),
            ("shadow_price", "Predicted score per US dollar.", lambda _, price: price),
            ("degraded", "1 while the ledger is degraded.", lambda one, _: one.degraded),
        ):
            gauge = GaugeMetricFamily(f"routoo_budget_{name}", text, labels=("budget", "tenant"))
            for state, price in states:
                gauge.add_metric((state.terms.name, state.terms.tenant), float(read(state, price)))
            yield gauge


def _limit_usd(state: BudgetState, _price: float) -> float:
    return state.terms.limit_nano_usd / _NANO
