"""ParetoBandit's validation set as a stream under one budget, decided at the service's own prices.

True costs are settled right after each decision. Half-way the true costs may change without a word
to the router: the most expensive model at a tenth of its price, or all answers three times as long.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.budgeted.prompts import read_prompts
from harness.budgeted.stream import FOREVER, FloatArray, IndexArray
from routoo.budget.memory.ledger import MemoryLedger
from routoo.budget.terms import BudgetTerms, one_nano_usd
from routoo.config.sections.policy import PricesSettings
from routoo.engine.booking.single import BudgetBooking
from routoo.pricing.online import OnlinePricing
from routoo.pricing.prices import Observed
from routoo.routing.estimates import costs_usd_of
from routoo.routing.money.operating_point import PricedSample
from routoo.selector.policies.base import Case
from routoo.selector.policies.lp import decide

BUDGETS_USD = np.geomspace(1e-4, 5e-3, 7)
"""Mean budgets per request."""
SHIFTS = ("none", "price cut", "longer answers")
PERIOD_S = 1_000.0
# The default interval between two solutions.
STEP_S = 0.5


@dataclass(frozen=True, slots=True)
class BanditStream:
    """n prompts and the m models of ``BANDIT_POOL``.

    Attributes:
        scores: float64 [n, m], predicted.
        costs_usd: float64 [n, m], predicted.
        true_scores: float64 [n, m].
        true_costs_usd: float64 [n, m], as the source billed them.
        sample: the calibration sample of the predictor, at the pool's prices.
    """

    scores: FloatArray
    costs_usd: FloatArray
    true_scores: FloatArray
    true_costs_usd: FloatArray
    sample: PricedSample


@dataclass(frozen=True, slots=True)
class BanditPass:
    """The results of one pass.

    Attributes:
        spent: settled money as a share of the budget.
        reachable: the share of the budget that the best models of all prompts cost, 1 at most.
        quality: predicted score, relative to the program with hindsight.
        true_quality: true score, relative to the same.
        refused: requests that the budget could not pay for; they score 0.
    """

    spent: float
    reachable: float
    quality: float
    true_quality: float
    refused: int


def read_bandit(data: Path) -> BanditStream:
    """Reads the prompts, with the shipped predictor's predictions."""
    found = read_prompts(data)
    return BanditStream(
        scores=found.scores,
        costs_usd=costs_usd_of(found.pool, found.input_tokens, found.output_tokens, None),
        true_scores=found.true_scores,
        true_costs_usd=found.true_costs_usd,
        sample=found.sample,
    )


def shifted(stream: BanditStream, order: IndexArray, shift: str) -> BanditStream:
    """Returns the prompts in an order, with other true costs in the second half."""
    true_costs_usd = stream.true_costs_usd[order].copy()
    half = len(order) // 2
    if shift == "price cut":
        true_costs_usd[half:, true_costs_usd.mean(axis=0).argmax()] *= 0.1
    elif shift == "longer answers":
        true_costs_usd[half:] *= 3.0
    return BanditStream(
        stream.scores[order],
        stream.costs_usd[order],
        stream.true_scores[order],
        true_costs_usd,
        stream.sample,
    )


def pass_bandit(stream: BanditStream, mean_usd: float, seed: int, shift: str) -> BanditPass:
    """Sends the prompts once, in random order and at random times, within one period.

    Args:
        stream: the prompts.
        mean_usd: the budget per prompt.
        seed: of order and times.
        shift: one of ``SHIFTS``.
    """
    rng = np.random.default_rng(seed)
    n = len(stream.scores)
    stream = shifted(stream, rng.permutation(n), shift)
    choice = _choices(stream, mean_usd * n, np.sort(rng.random(n)) * PERIOD_S)
    rows = np.flatnonzero(choice >= 0)
    hindsight = solve_with_hindsight(stream, mean_usd * n)
    everything = np.arange(n)
    best = stream.true_costs_usd[everything, stream.scores.argmax(axis=1)].sum()

    def quality(scores: FloatArray) -> float:
        mine = float(scores[rows, choice[rows]].sum())
        return mine / float(scores[everything, hindsight].sum())

    return BanditPass(
        spent=float(stream.true_costs_usd[rows, choice[rows]].sum()) / (mean_usd * n),
        reachable=min(1.0, float(best) / (mean_usd * n)),
        quality=quality(stream.scores),
        true_quality=quality(stream.true_scores),
        refused=n - len(rows),
    )


def solve_with_hindsight(stream: BanditStream, budget_usd: float) -> IndexArray:
    """Solves the program over all predictions at the price at which their true costs fit."""
    rows = np.arange(len(stream.scores))
    low, high = 1e-3, 1e8
    choice = stream.scores.argmax(axis=1)
    if stream.true_costs_usd[rows, choice].sum() <= budget_usd:
        return choice
    for _ in range(80):
        price = float(np.sqrt(low * high))
        choice = (stream.scores - price * stream.costs_usd).argmax(axis=1)
        fits = stream.true_costs_usd[rows, choice].sum() <= budget_usd
        low, high = (low, price) if fits else (price, high)
    return (stream.scores - high * stream.costs_usd).argmax(axis=1)


def _choices(stream: BanditStream, budget_usd: float, times_s: FloatArray) -> IndexArray:
    """Decides, books and settles one prompt after the other; -1: refused."""
    n, m = stream.scores.shape
    now_s = 0.0

    def now_ns() -> int:
        return round(now_s * 1e9)

    period_ns = int(PERIOD_S * 1e9)
    limit = one_nano_usd(budget_usd)
    terms = BudgetTerms("all", "", limit, period_ns, sliding=False, on_exhausted="refuse")
    ledger = MemoryLedger((terms,), FOREVER, now_ns)
    booking = BudgetBooking(ledger, refuses_unbudgeted=False, clock_ns=now_ns)
    pricing = OnlinePricing(
        ledger,
        stream.sample.scores,
        stream.sample.costs_usd,
        unbudgeted=stream.sample.price_for(budget_usd / n),
        settings=PricesSettings(resolve_interval_s=STEP_S),
        clock_s=lambda: now_s,
    )
    pricing.step()
    choice = np.full(n, -1, np.intp)
    mask = np.ones((1, m), np.bool_)
    steps = 1
    for row in range(n):
        while steps * STEP_S <= times_s[row]:
            now_s = steps * STEP_S
            pricing.step()
            steps += 1
        now_s = float(times_s[row])
        one = slice(row, row + 1)
        case = Case(
            scores=stream.scores[one],
            costs_usd=stream.costs_usd[one],
            mask=mask,
            prices=np.zeros(1),
            max_quality_gaps=np.full(1, np.nan),
            tickets=np.zeros(1, np.int64),
        )
        wanted = decide(case.scores, case.costs_usd, mask, pricing.in_force.of("")[0])
        booked = booking.book([f"r{row}"], [""], case, wanted)
        choice[row] = booked.choice[0]
        predicted_usd = float(case.costs_usd[0, choice[row]])
        if choice[row] >= 0:
            true_usd = float(stream.true_costs_usd[row, choice[row]])
            ledger.settle(f"r{row}", true_usd)
            pricing.settled("", predicted_usd, true_usd)
        paid = np.where(booked.granted & (booked.spent < 0), predicted_usd, np.nan)
        pricing.observe(Observed([""], case.scores, case.costs_usd, mask, booked.granted, paid))
    return choice
