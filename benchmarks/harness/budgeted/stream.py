"""MMLU-Pro's test prompts as a stream of requests under one budget, and rules that spend it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from harness.outcomes.held_out import MEASURED_POOL
from routoo.budget.memory.books import Keeping
from routoo.budget.memory.ledger import MemoryLedger
from routoo.budget.terms import BudgetTerms, one_nano_usd
from routoo.config.sections.policy import PricesSettings
from routoo.engine.booking.single import BudgetBooking
from routoo.predictor.artifact import load_artifact, shipped_artifact
from routoo.predictor.encoding import PaddedGraph
from routoo.predictor.onnx import OnnxPredictor
from routoo.pricing.online import OnlinePricing
from routoo.pricing.prices import Observed
from routoo.routing.estimates import costs_usd_of
from routoo.routing.money.operating_point import PricedSample
from routoo.routing.pool import load_pool
from routoo.selector.lp.frontier import price_for_mean_cost
from routoo.selector.lp.problem import Problem, budget
from routoo.selector.lp.solve import solve
from routoo.selector.policies.base import Case
from routoo.selector.policies.lp import decide, round_scores
from routoo_export.outcomes.sources import read_training_outcomes
from routoo_export.outcomes.splits import in_buckets

SOURCE = "mmlu_pro"
BATCH = 64
PERIOD_S = 1_000.0
STEPS = 200
EXPLORED = 0.025
FOREVER = Keeping(ttl_ns=10**18, releases_expired=False, max_decisions=10**6)

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Stream:
    """n requests, m models, in the order in which they come.

    Attributes:
        scores: float64 [n, m], predicted.
        costs_usd: float64 [n, m], predicted.
        true_scores: float64 [n, m].
        true_costs_usd: float64 [n, m], as in the data.
        domains: [n].
        sample: the calibration sample of the predictor, at the pool's prices.
    """

    scores: FloatArray
    costs_usd: FloatArray
    true_scores: FloatArray
    true_costs_usd: FloatArray
    domains: npt.NDArray[np.str_]
    sample: PricedSample

    @property
    def budget_usd(self) -> float:
        """Half of the predicted cost of the best single model, in US dollars."""
        best = int(self.true_scores.mean(axis=0).argmax())
        return 0.5 * float(self.costs_usd[:, best].sum())

    def ordered(self, order: IndexArray) -> "Stream":
        """Returns the same requests in another order."""
        return replace(
            self,
            scores=self.scores[order],
            costs_usd=self.costs_usd[order],
            true_scores=self.true_scores[order],
            true_costs_usd=self.true_costs_usd[order],
            domains=self.domains[order],
        )


def read_stream(data: Path, buckets: tuple[int, ...]) -> Stream:
    """Reads MMLU-Pro's prompts in some buckets, with the shipped predictor's predictions.

    Prompts without an outcome of every model are left out.
    """
    outcomes = read_training_outcomes(data)
    pool = load_pool(MEASURED_POOL)
    artifact = load_artifact(shipped_artifact())
    graph = PaddedGraph(artifact, pool.predictor_names)
    predictor = OnnxPredictor(artifact, provider="cpu", intra_op_threads=1, graph=graph)
    columns = pool.columns_in(predictor.models)
    of_source = np.array([name == SOURCE for name in outcomes.source_names])
    rows = outcomes.rows(of_source & in_buckets(outcomes.buckets, buckets))
    models = [rows.models.index(name) for name in pool.names]
    true_scores, true_costs = rows.scores[:, models], rows.cost_usd[:, models]
    kept = np.isfinite(true_scores).all(axis=1) & np.isfinite(true_costs).all(axis=1)
    prompts = [prompt for prompt, keep in zip(rows.prompts, kept, strict=True) if keep]
    parts = [
        predictor.predict(prompts[start : start + BATCH]) for start in range(0, len(prompts), BATCH)
    ]
    tokens = np.rint(np.concatenate([part.output_tokens for part in parts])[:, columns])
    inputs = np.concatenate([part.input_tokens for part in parts])
    return Stream(
        scores=round_scores(np.concatenate([part.scores for part in parts])[:, columns]),
        costs_usd=costs_usd_of(pool, inputs, tokens.astype(np.float64), 0),
        true_scores=true_scores[kept],
        true_costs_usd=true_costs[kept],
        domains=np.array([d for d, keep in zip(rows.domains, kept, strict=True) if keep], str),
        sample=PricedSample(
            artifact.calibration_sample(), pool, artifact.columns_of(pool.predictor_names)
        ),
    )


@dataclass(slots=True)
class Books:
    """A budget for one pass of the stream, on a clock that the pass moves."""

    budget_usd: float
    now_s: float = 0.0
    spending: BudgetBooking = field(init=False)

    def __post_init__(self) -> None:
        terms = BudgetTerms(
            name="all",
            tenant="",
            limit_nano_usd=one_nano_usd(self.budget_usd),
            period_ns=int(PERIOD_S * 1e9),
            sliding=False,
            on_exhausted="cheapest",
        )
        ledger = MemoryLedger((terms,), FOREVER, self._now_ns)
        self.spending = BudgetBooking(ledger, refuses_unbudgeted=False, clock_ns=self._now_ns)

    def _now_ns(self) -> int:
        return round(self.now_s * 1e9)


class Rule(Protocol):
    """A rule that decides one request after the other."""

    def choose(self, row: int, case: Case) -> IndexArray:
        """Returns the model for the one request of a case without a price, int [1]."""
        ...

    def decided(self, observed: Observed) -> None:
        """Notes that the request was booked."""
        ...

    def step(self) -> None:
        """Does the rule's periodic work, ``STEPS`` times in a period."""
        ...


class _Still:
    """A rule that does not change with what it sees."""

    def decided(self, observed: Observed) -> None:
        """Ignores the booking."""

    def step(self) -> None:
        """Does nothing."""


class Online:
    """The service's own prices, without their thread."""

    def __init__(self, stream: Stream, books: Books) -> None:
        self._pricing = OnlinePricing(
            books.spending.ledger,
            stream.sample.scores,
            stream.sample.costs_usd,
            unbudgeted=stream.sample.price_for(books.budget_usd / len(stream.scores)),
            settings=PricesSettings(),
            clock_s=lambda: books.now_s,
        )

    def choose(self, row: int, case: Case) -> IndexArray:  # noqa: ARG002 - the protocol's
        """Chooses at the price in force."""
        return decide(case.scores, case.costs_usd, case.mask, self._pricing.in_force.of("")[0])

    def decided(self, observed: Observed) -> None:
        """Lets the prices follow the booked request."""
        self._pricing.observe(observed)

    def step(self) -> None:
        """Solves the prices again."""
        self._pricing.step()


class FixedPrice(_Still):
    """A fixed price, from the calibration sample at the budget's mean cost per request."""

    def __init__(self, stream: Stream, books: Books) -> None:
        self._price = stream.sample.price_for(books.budget_usd / len(stream.scores))

    def choose(self, row: int, case: Case) -> IndexArray:  # noqa: ARG002 - the protocol's
        """Chooses at the fixed price."""
        return decide(case.scores, case.costs_usd, case.mask, self._price)


class SolvedOnce(_Still):
    """The scheme of PORT (arXiv 2509.02718): a price that is solved once.

    The first 2.5 % of the requests get random models. All others are decided at the price that the
    linear program of those requests has for the money that is left.
    """

    def __init__(self, stream: Stream, books: Books) -> None:
        self._stream = stream
        self._books = books
        self._explored = round(EXPLORED * len(stream.scores))
        self._rng = np.random.default_rng(0)
        self._price: float | None = None

    def choose(self, row: int, case: Case) -> IndexArray:
        """Chooses at random first, then at the price."""
        if row < self._explored:
            return self._rng.integers(case.scores.shape[1], size=1)
        if self._price is None:
            state = self._books.spending.ledger.states()[0]
            left_usd = self._books.budget_usd - state.reserved_usd - state.settled_usd
            seen = slice(0, self._explored)
            self._price = price_for_mean_cost(
                self._stream.scores[seen],
                self._stream.costs_usd[seen],
                np.ones(self._stream.scores[seen].shape, np.bool_),
                left_usd / (len(self._stream.scores) - self._explored),
            )
        return decide(case.scores, case.costs_usd, case.mask, self._price)


class AboveThreshold(_Still):
    """The cheapest model whose predicted score reaches a threshold, else the best one.

    The threshold is the highest at which the calibration sample keeps to the budget's mean cost.
    """

    def __init__(self, stream: Stream, books: Books) -> None:
        mean_usd = books.budget_usd / len(stream.scores)
        sample = stream.sample
        rows = np.arange(len(sample.scores))
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = 0.5 * (low + high)
            choice = _above(sample.scores, sample.costs_usd, middle)
            is_kept = sample.costs_usd[rows, choice].mean() <= mean_usd
            low, high = (middle, high) if is_kept else (low, middle)
        self._threshold = low

    def choose(self, row: int, case: Case) -> IndexArray:  # noqa: ARG002 - the protocol's
        """Chooses by the threshold."""
        return _above(case.scores, case.costs_usd, self._threshold)


def _above(scores: FloatArray, costs_usd: FloatArray, threshold: float) -> IndexArray:
    good = scores >= threshold
    cheapest: IndexArray = np.where(good, costs_usd, np.inf).argmin(axis=1)
    return np.where(good.any(axis=1), cheapest, scores.argmax(axis=1))


RULES: dict[str, Callable[[Stream, Books], Rule]] = {
    "online": Online,
    "solved_once": SolvedOnce,
    "fixed_price": FixedPrice,
    "above_threshold": AboveThreshold,
}


@dataclass(frozen=True, slots=True)
class Passed:
    """The results of one pass.

    Attributes:
        choice: int [n].
        spent: reserved and settled money at the end, as a share of the budget.
        overdraft: as a share of the budget.
        stood_in: the number of requests that got their cheapest model because money was short.
    """

    choice: IndexArray
    spent: float
    overdraft: float
    stood_in: int


def run_pass(stream: Stream, name: str, seed: int, *, settles: bool) -> Passed:
    """Sends the stream once, at random times within one period.

    Every request is booked at its predicted cost; with ``settles``, its true cost is settled right
    after that.
    """
    n, m = stream.scores.shape
    books = Books(stream.budget_usd)
    rule = RULES[name](stream, books)
    times = np.sort(np.random.default_rng(seed).random(n)) * PERIOD_S
    choice = np.zeros(n, np.intp)
    stood_in = 0
    next_step = 1
    for row in range(n):
        while next_step * PERIOD_S / STEPS <= times[row]:
            books.now_s = next_step * PERIOD_S / STEPS
            rule.step()
            next_step += 1
        books.now_s = float(times[row])
        one = slice(row, row + 1)
        case = Case(
            scores=stream.scores[one],
            costs_usd=stream.costs_usd[one],
            mask=np.ones((1, m), np.bool_),
            prices=np.zeros(1),
            max_quality_gaps=np.full(1, np.nan),
            tickets=np.zeros(1, np.int64),
        )
        booked = books.spending.book([f"r{row}"], [""], case, rule.choose(row, case))
        choice[row] = booked.choice[0]
        stood_in += int(booked.spent[0] >= 0)
        if settles:
            books.spending.ledger.settle(f"r{row}", float(stream.true_costs_usd[row, choice[row]]))
        paid = np.where(booked.spent < 0, case.costs_usd[0, booked.choice], np.nan)
        rule.decided(Observed([""], case.scores, case.costs_usd, case.mask, booked.granted, paid))
    state = books.spending.ledger.states()[0]
    return Passed(
        choice,
        (state.reserved_usd + state.settled_usd) / books.budget_usd,
        state.overdraft_usd / books.budget_usd,
        stood_in,
    )


def solve_offline(stream: Stream) -> IndexArray:
    """Solves the linear program over the whole stream, as with hindsight; choice int [n]."""
    everything = np.ones(stream.scores.shape, np.bool_)
    money = budget(stream.costs_usd, stream.budget_usd)
    return solve(Problem(stream.scores, stream.costs_usd, everything, (money,))).choice
