"""Prices that follow the budgets, on a clock that the test moves."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from routoo.budget.memory.books import Keeping
from routoo.budget.memory.ledger import MemoryLedger
from routoo.budget.terms import BudgetTerms, one_nano_usd
from routoo.config.sections.policy import PricesSettings
from routoo.pricing.online import OnlinePricing
from routoo.pricing.prices import Observed
from routoo.selector.policies.lp import decide, round_scores
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.budget.ledger import BudgetState

USUAL_USD = np.array([1e-5, 1e-4, 6e-4, 6e-3])
PERIOD_S = 100.0
UNBUDGETED = 7.0
FOREVER = Keeping(ttl_ns=10**15, releases_expired=False, max_decisions=10**6)


def draw_requests(seed: int, n: int, longer: float = 1.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    costs = longer * USUAL_USD * rng.lognormal(0.0, 0.5, (n, 4))
    scores = round_scores(np.clip(rng.normal([0.4, 0.55, 0.65, 0.75], 0.15, (n, 4)), 0.0, 1.0))
    return scores, costs


def terms(usd: float, name: str = "all", tenant: str = "", *, sliding: bool = False) -> BudgetTerms:
    return BudgetTerms(name, tenant, one_nano_usd(usd), int(PERIOD_S * 1e9), sliding, "refuse")


class Replica:
    """A service's pricing, ledger and clock; requests come evenly and are decided by price."""

    def __init__(self, *budgets: BudgetTerms, ledger: Any = None, **settings: Any) -> None:
        self.now_s = 0.0
        self.ledger = ledger or MemoryLedger(budgets, FOREVER, lambda: round(self.now_s * 1e9))
        self.pricing = OnlinePricing(
            self.ledger,
            *draw_requests(1, 400),
            unbudgeted=UNBUDGETED,
            settings=PricesSettings(**settings),
            clock_s=lambda: self.now_s,
        )
        self.prices: list[float] = []
        self.refused = 0
        self._ids = 0

    def serve(
        self,
        n: int,
        seconds: float,
        *,
        seed: int = 2,
        tenants: Sequence[str] = ("",),
        longer: float = 1.0,
    ) -> None:
        """Sends n requests within some seconds, and solves after every half second."""
        scores, costs = draw_requests(seed, n, longer)
        step = max(1, round(n * 0.5 / seconds))
        for start in range(0, n, step):
            rows = np.arange(start, min(start + step, n))
            payers = [tenants[row % len(tenants)] for row in rows]
            prices, _ = self.pricing.in_force.of_rows(payers)
            mask = np.ones((len(rows), 4), np.bool_)
            choice = decide(scores[rows], costs[rows], mask, prices)
            ids = [f"{id(self)}-{self._ids + row}" for row in rows]
            amounts = costs[rows, choice]
            granted = self.ledger.reserve(ids, payers, amounts).refused_by < 0
            self.refused += int((~granted).sum())
            self.pricing.observe(
                Observed(
                    payers,
                    scores[rows],
                    costs[rows],
                    mask,
                    granted,
                    np.where(granted, amounts, np.nan),
                )
            )
            self.now_s += len(rows) * seconds / n
            self.pricing.step()
            self.prices.append(self.pricing.in_force.of(tenants[0])[0])
        self._ids += n

    def spent_usd(self, budget: int = 0) -> float:
        state: BudgetState = self.ledger.states()[budget]
        return state.reserved_usd + state.settled_usd


def test_until_the_first_solution_everybody_pays_the_price_of_the_sample() -> None:
    replica = Replica(terms(1.0), terms(1.0, "a", "a"))
    for tenant in ("", "a"):
        assert replica.pricing.in_force.of(tenant) == (UNBUDGETED, ("max_mean_cost_usd",))


def test_the_budget_is_spent_by_the_end_of_the_period_and_not_before() -> None:
    replica = Replica(terms(2.0))
    replica.serve(1000, 50.0)
    assert replica.spent_usd() == pytest.approx(1.0, rel=0.1)
    # The last instant before the next period begins.
    replica.serve(999, 49.9, seed=3)
    assert replica.spent_usd() == pytest.approx(2.0, rel=0.02)
    assert replica.refused < 10


def test_a_new_period_begins_as_the_last_one_went() -> None:
    replica = Replica(terms(2.0))
    replica.serve(2000, PERIOD_S)
    before = np.median(replica.prices)
    replica.prices.clear()
    replica.serve(400, 20.0, seed=3)
    assert np.median(replica.prices) == pytest.approx(before, rel=0.2)
    assert replica.spent_usd() == pytest.approx(0.4, rel=0.2)


def test_with_money_for_everything_the_price_is_0() -> None:
    replica = Replica(terms(1000.0))
    replica.serve(100, 5.0)
    assert replica.pricing.in_force.of("") == (0.0, ())


def test_longer_prompts_raise_the_price() -> None:
    replica = Replica(terms(2.0))
    replica.serve(800, 40.0)
    usual = replica.prices[-1]
    replica.serve(600, 30.0, seed=3, longer=4.0)
    assert np.mean(replica.prices[-60:]) > 1.2 * usual


def test_kinds_of_requests_one_after_the_other_still_spend_it_all() -> None:
    replica = Replica(terms(2.0))
    replica.serve(1000, 50.0, longer=2.0)
    replica.serve(999, 49.9, seed=3, longer=0.5)
    assert replica.spent_usd() == pytest.approx(2.0, rel=0.02)
    assert replica.refused < 20


def test_equal_streams_have_equal_prices() -> None:
    first, second = Replica(terms(2.0)), Replica(terms(2.0))
    for replica in (first, second):
        replica.serve(300, 15.0)
    assert first.prices == second.prices


def test_a_tenant_pays_for_its_own_budget_and_for_the_common_one() -> None:
    replica = Replica(terms(4.0), terms(0.2, "a", "a"), terms(50.0, "b", "b"))
    replica.serve(1999, 99.9, tenants=("a", "b", "c"))
    prices = replica.pricing.in_force
    common = prices.of("c")
    assert common == (prices.per_budget[0], ("budget:all",))
    assert prices.of("a") == (sum(prices.per_budget[:2]), ("budget:all", "budget:a"))
    assert prices.of("b") == common
    assert prices.of("a")[0] > common[0] > 0
    assert replica.spent_usd(0) == pytest.approx(4.0, rel=0.02)
    assert replica.spent_usd(1) == pytest.approx(0.2, rel=0.05)


def test_who_has_no_budget_pays_the_price_of_the_sample() -> None:
    replica = Replica(terms(0.2, "a", "a"))
    replica.serve(200, 10.0, tenants=("a", "z"))
    assert replica.pricing.in_force.of("z") == (UNBUDGETED, ("max_mean_cost_usd",))
    assert replica.pricing.in_force.of("a")[0] > 0


def test_a_sample_that_costs_more_than_was_thought_raises_the_prices_at_the_next_solution() -> None:
    replica = Replica(terms(0.2, "a", "a"))
    replica.serve(20, 10.0, tenants=("a", "z"))
    before = replica.pricing.in_force
    _, costs = draw_requests(1, 400, longer=10.0)
    replica.pricing.recost(3 * UNBUDGETED, costs)
    assert replica.pricing.in_force is before
    replica.pricing.step()
    assert replica.pricing.in_force.of("z") == (3 * UNBUDGETED, ("max_mean_cost_usd",))
    assert replica.pricing.in_force.of("a")[0] > before.of("a")[0]


def test_a_sliding_budget_is_used_all_the_time_and_rarely_refuses() -> None:
    replica = Replica(terms(2.0, sliding=True))
    replica.serve(2000, PERIOD_S)
    for seed in range(3, 6):
        replica.serve(1000, PERIOD_S / 2, seed=seed)
        assert 1.8 <= replica.spent_usd() <= 2.0
    assert replica.refused < 100


def test_requests_of_other_replicas_count() -> None:
    one = Replica(terms(2.0))
    other = Replica(ledger=one.ledger)
    alone = Replica(terms(2.0))
    alone.serve(600, 30.0)
    for step in range(60):
        one.serve(10, 0.5, seed=step)
        # The other replica's clock is its own; both see the same books.
        other.now_s = one.now_s - 0.5
        other.serve(10, 0.5, seed=1000 + step)
    assert one.pricing.in_force.of("")[0] > 1.3 * alone.pricing.in_force.of("")[0]
    assert one.spent_usd() == pytest.approx(0.6, rel=0.25)


def test_requests_without_any_model_do_no_harm() -> None:
    replica = Replica(terms(2.0))
    scores, costs = draw_requests(5, 3)
    nothing = np.zeros((3, 4), np.bool_)
    unbooked = np.full(3, np.nan)
    replica.pricing.observe(Observed([""] * 3, scores, costs, nothing, nothing[:, 0], unbooked))
    replica.now_s = 1.0
    replica.pricing.step()
    assert np.isfinite(replica.pricing.in_force.of("")[0])


class _Failing:
    """A ledger whose books cannot be read until the test mends it."""

    def __init__(self, inner: MemoryLedger) -> None:
        self._inner = inner
        self.terms = inner.terms
        self.applies = inner.applies
        self.asked = threading.Event()
        self.mended = threading.Event()
        self.read = threading.Event()

    def states(self) -> tuple[BudgetState, ...]:
        self.asked.set()
        if not self.mended.is_set():
            raise OSError("no books")
        self.read.set()
        return self._inner.states()


def test_the_thread_outlives_a_failing_ledger_and_says_so() -> None:
    books = MemoryLedger((terms(1.0),), FOREVER, lambda: 0)
    ledger = _Failing(books)
    with capture_logs() as logs:
        replica = Replica(ledger=ledger, resolve_interval_s=0.001)
        before = replica.pricing.in_force
        replica.pricing.start()
        assert ledger.asked.wait(HANG_S)
        assert replica.pricing.in_force is before
        ledger.mended.set()
        assert ledger.read.wait(HANG_S)
        replica.pricing.close()
    assert replica.pricing.in_force is not before
    assert logs[0]["event"] == "prices could not be solved"


def test_prices_are_swapped_as_a_whole() -> None:
    replica = Replica(terms(2.0))
    before = replica.pricing.in_force
    copy = replace(before)
    replica.serve(10, 0.5)
    assert replica.pricing.in_force is not before
    assert before == copy
