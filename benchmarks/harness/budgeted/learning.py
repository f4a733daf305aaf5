"""The service's own parts on a stream: learned scores, lengths, prices and books, one by one."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from harness.budgeted.drift import NEW, NEW_STD, FloatArray, IndexArray, Scene
from harness.budgeted.prompts import Prompts
from harness.budgeted.stream import FOREVER
from routoo.budget.memory.ledger import MemoryLedger
from routoo.budget.terms import BudgetTerms, apart_tenant, one_nano_usd
from routoo.config.sections.policy import PricesSettings
from routoo.engine.booking.single import BudgetBooking
from routoo.engine.exploring.purse import Purse, most_extra_usd
from routoo.pricing.online import OnlinePricing
from routoo.pricing.prices import Observed
from routoo.routing.corrections.factors import corrected_tokens
from routoo.routing.corrections.scores.ability import GradedAnswer
from routoo.routing.corrections.scores.in_force import learned_scores, learned_std
from routoo.routing.corrections.scores.table import AbilityTable, AbilityTerms
from routoo.routing.corrections.speed import LearningTerms
from routoo.routing.corrections.table import Answer, Layout, Table
from routoo.routing.estimates import costs_usd_of
from routoo.selector.exploring.exploration import Drawn, Exploration, drawn
from routoo.selector.policies.base import Case
from routoo.selector.policies.lp import decide, round_scores

VERSION: Final = "bench"
REQUEST_S: Final = 0.1
"""Time between two requests."""
STEP: Final = 5
"""Requests between two solutions of the prices, at the default interval of half a second."""
LEARN: Final = 10
"""Requests between two changes of what is learned, at the default interval of a second."""
EVEN: Final = 50
"""Requests within which more or less than the even spending is made good."""
EXPLORED: Final = 0.02
EXPLORING: Final = Exploration(
    floor=0.8, seed=0, unknown_times=10.0, unknown_above=0.1, known_below=0.03
)
PURSE: Final = 0.02
"""The budget for exploring, as a share of that for requests."""
HALF_LIFE_REPORTS: Final = 200.0


@dataclass(frozen=True, slots=True)
class Run:
    """What a router chose.

    Attributes:
        choice: int [k], columns of the pool.
        scores: float64 [k], of the answers.
        costs_usd: float64 [k], of the answers.
    """

    choice: IndexArray
    scores: FloatArray
    costs_usd: FloatArray


class Learner:
    """Learns scores as the service does; ``rule`` names another recipe to compare it with."""

    def __init__(self, prompts: Prompts, plain: FloatArray, std: FloatArray, rule: str) -> None:
        self._prompts, self._plain, self._std, self._rule = prompts, plain, std, rule
        self._terms = AbilityTerms(HALF_LIFE_REPORTS)
        self._table = AbilityTable()
        self._waiting: list[GradedAnswer] = []
        m = len(prompts.pool.names)
        self._means, self._counts = np.zeros(m), np.zeros(m)
        self._publish()

    def _publish(self) -> None:
        pool = self._prompts.pool
        self._force = self._table.in_force(
            VERSION, pool.names, self._prompts.task_names, self._terms
        )

    def step(self) -> None:
        """Takes in what was told."""
        self._table = self._table.learned(self._waiting, self._terms)
        self._waiting = []
        self._publish()

    def told(self, row: int, column: int, score: float) -> None:
        """Takes note of an answer's score."""
        if self._rule == "running mean":
            kept = self._terms.kept
            self._means[column] = kept * self._means[column] + score
            self._counts[column] = kept * self._counts[column] + 1.0
            return
        task = self._prompts.task_names[int(self._prompts.tasks[row])]
        self._waiting.append(
            GradedAnswer(
                VERSION,
                self._prompts.pool.names[column],
                task,
                "",
                float(self._plain[row, column]),
                float(self._std[row, column]),
                score,
            )
        )

    def scores(self, row: int) -> tuple[FloatArray, FloatArray]:
        """Returns scores and standard deviations of a prompt, float64 [1, m] each."""
        one = slice(row, row + 1)
        plain, std = self._plain[one], self._std[one]
        if self._rule == "predictor":
            return plain, std
        if self._rule == "running mean":
            weight = self._counts / (self._counts + 5.0)
            means = self._means / np.maximum(self._counts, 1e-9)
            return round_scores(weight * means + (1.0 - weight) * plain), std
        odds, spread = self._force.rows(self._prompts.tasks[one], [""])
        return learned_scores(plain, odds), learned_std(std, plain, odds, spread)


class Lengths:
    """Corrects predicted lengths, hence costs, by the answers, as the service does."""

    def __init__(self, prompts: Prompts, pool_factors: FloatArray) -> None:
        self._prompts, self._table = prompts, Table()
        self._terms = LearningTerms(200, 2.0, 3600.0)
        pool = prompts.pool
        self._layout = Layout(VERSION, pool.names, prompts.task_names, pool.declared)
        self._waiting: list[Answer] = []
        zero = np.zeros((1, len(pool.names)))
        self._usd_per_token = costs_usd_of(pool, np.zeros(1), zero + 1.0, None)[0]
        self._input_usd = costs_usd_of(
            pool, prompts.input_tokens, 0.0 * prompts.output_tokens, None
        )
        self.price_factors = pool_factors
        self.step()

    def step(self) -> None:
        """Takes in what was told."""
        if self._waiting:
            self._table = self._table.learned(self._waiting, self._terms)
            self._waiting = []
        self._factors = self._table.factors(self._layout, self._terms, 0.0)

    def told(self, row: int, column: int, cost_usd: float) -> None:
        """Takes note of what an answer costs at the prices of the pool file."""
        tokens = (cost_usd - float(self._input_usd[row, column])) / self._usd_per_token[column]
        task = self._prompts.task_names[int(self._prompts.tasks[row])]
        predicted = float(self._prompts.output_tokens[row, column])
        name = self._prompts.pool.names[column]
        self._waiting.append(Answer(VERSION, name, task, predicted, max(1.0, tokens), np.inf, None))

    def costs_usd(self, row: int) -> FloatArray:
        """Returns the predicted costs of a prompt, float64 [1, m]."""
        one = slice(row, row + 1)
        lengths, _ = self._factors.rows(self._prompts.tasks[one], 1)
        tokens = corrected_tokens(self._prompts.output_tokens[one], lengths)
        return self.price_factors * (self._input_usd[one] + tokens * self._usd_per_token)


class Desk:
    """The service's books and prices for one budget, on a clock that the stream moves."""

    def __init__(
        self, prompts: Prompts, scene: Scene, mean_usd: float, period: int, seed: int
    ) -> None:
        self._prompts, self._scene, self._mean_usd = prompts, scene, mean_usd
        self.now_s = 0.0
        limit = one_nano_usd(mean_usd * period)
        period_ns = round(period * REQUEST_S * 1e9)
        terms = BudgetTerms(
            "all",
            "",
            limit,
            period_ns,
            sliding=False,
            on_exhausted="cheapest",
            even_ns=round(EVEN * REQUEST_S * 1e9),
        )
        exploring = BudgetTerms(
            "exploring",
            apart_tenant("exploring"),
            one_nano_usd(PURSE * mean_usd * period),
            period_ns,
            sliding=False,
            on_exhausted="refuse",
            is_paced=False,
            is_apart=True,
        )
        self._ledger = MemoryLedger((terms, exploring), FOREVER, self._now_ns)
        self._purse = Purse(self._ledger, "exploring", EXPLORED, lambda: self.now_s)
        self._prefix = f"{seed}"
        self._booking = BudgetBooking(self._ledger, refuses_unbudgeted=False, clock_ns=self._now_ns)
        self.pricing = self._pricing(0)
        self.step()

    def reload(self, phase: int) -> None:
        """Takes on the models and prices of a phase, as a reload does."""
        before, self.pricing = self.pricing, self._pricing(phase)
        self.pricing.go_on_from(before)

    def decide(
        self,
        at: int,
        scores: FloatArray,
        stds: FloatArray,
        plain_stds: FloatArray,
        costs: FloatArray,
        phase: int,
    ) -> int:
        """Decides and books a request, settles its true cost, and returns the column.

        Args:
            at: its place in the stream.
            scores: float64 [1, m].
            stds: float64 [1, m], their standard deviations.
            plain_stds: float64 [1, m], the same as the predictor told them.
            costs: float64 [1, m], predicted, in US dollars.
            phase: the phase.
        """
        mask = self._scene.offered[phase][None]
        price = self.pricing.in_force.of("")[0]
        case = Case(
            scores=scores,
            costs_usd=costs,
            mask=mask,
            prices=np.full(1, price),
            max_quality_gaps=np.full(1, np.nan),
            tickets=np.full(1, at, np.int64),
        )
        wanted = decide(scores, costs, mask, price)
        found = self._explored(case, wanted, stds, plain_stds)
        booked = self._booking.book([f"r{at}"], [""], case, found.choice, None, wanted)
        column = int(booked.choice[0])
        predicted_usd, true_usd = float(costs[0, column]), float(self._scene.costs_usd[at, column])
        self._ledger.settle(f"r{at}", true_usd)
        self.pricing.settled("", predicted_usd, true_usd)
        at_price = bool(booked.granted[0]) and booked.spent[0] < 0 and not found.drawn[0]
        paid = np.array([predicted_usd if at_price else np.nan])
        self.pricing.observe(Observed([""], scores, costs, mask, booked.granted, paid))
        return column

    def step(self) -> None:
        """Does the periodic work of the prices and of the purse."""
        self.pricing.step()
        self._purse.step()

    def _explored(self, case: Case, best: IndexArray, stds: FloatArray, plain: FloatArray) -> Drawn:
        """Explores as the service's explorer does."""
        share, left_usd = self._purse.share, self._purse.left_usd
        most_usd = most_extra_usd(left_usd, share * EXPLORING.unknown_times)
        others = EXPLORING.others(case, best, stds, np.full(1, most_usd))
        shares = EXPLORING.shares(others, stds, plain, share)
        uniforms = EXPLORING.uniforms([self._prefix], case.tickets)
        found = drawn(case, best, others, stds, shares, uniforms)
        if found.drawn[0]:
            costs = case.costs_usd[0]
            if not self._purse.pay(max(0.0, float(costs[found.choice[0]] - costs[best[0]]))):
                found.choice[:], found.drawn[:] = best, False
        return found

    def _now_ns(self) -> int:
        return round(self.now_s * 1e9)

    def _pricing(self, phase: int) -> OnlinePricing:
        there, sample = np.flatnonzero(self._scene.offered[phase]), self._prompts.sample
        costs = sample.costs_usd * self._scene.price_factors[phase]
        return OnlinePricing(
            self._ledger,
            sample.scores[:, there],
            costs[:, there],
            unbudgeted=sample.price_for(self._mean_usd),
            settings=PricesSettings(),
            clock_s=lambda: self.now_s,
        )


def run_ours(
    prompts: Prompts,
    scene: Scene,
    mean_usd: float,
    seed: int,
    rule: str = "learned",
    *,
    period: int,
    knows_new: bool = False,
) -> Run:
    """Decides, books, settles and learns, one request after the other.

    Args:
        prompts: what is known of the prompts.
        scene: the stream.
        mean_usd: the budget per request; the limit of a period is that of all its requests.
        seed: of the exploration.
        rule: "learned", "running mean", or "predictor", which learns no score.
        period: requests in a period of the budget.
        knows_new: whether the predictor has known the model that joins from the start.
    """
    k = len(scene)
    plain, std = (prompts.scores, prompts.score_std) if knows_new else _new_unknown(prompts)
    lengths = Lengths(prompts, scene.price_factors[0])
    learner = Learner(prompts, plain, std, rule)
    desk = Desk(prompts, scene, mean_usd, period, seed)
    choice = np.zeros(k, np.intp)
    for at in range(k):
        desk.now_s = at * REQUEST_S
        row, phase = int(scene.rows[at]), int(scene.phases[at])
        if at and phase != scene.phases[at - 1] and _is_news(scene, phase):
            desk.reload(phase)
            lengths.price_factors = scene.price_factors[phase]
        if at % LEARN == 0:
            learner.step()
            lengths.step()
        if at % STEP == 0:
            desk.step()
        scores, stds = learner.scores(row)
        column = choice[at] = desk.decide(
            at, scores, stds, std[row : row + 1], lengths.costs_usd(row), phase
        )
        learner.told(row, int(column), float(scene.scores[at, column]))
        lengths.told(row, int(column), float(prompts.true_costs_usd[row, column]))
    everything = np.arange(k)
    return Run(choice, scene.scores[everything, choice], scene.costs_usd[everything, choice])


def _new_unknown(prompts: Prompts) -> tuple[FloatArray, FloatArray]:
    """Returns scores and deviations that know nothing of the new model, float64 [n, m] each."""
    plain, std = prompts.scores.copy(), prompts.score_std.copy()
    new = prompts.pool.names.index(NEW)
    others = [column for column in range(plain.shape[1]) if column != new]
    plain[:, new] = round_scores(plain[:, others].mean(axis=1))
    std[:, new] = NEW_STD
    return plain, std


def _is_news(scene: Scene, phase: int) -> bool:
    """Returns whether the pool file of a phase is another one than that of the phase before."""
    factors, offered = scene.price_factors, scene.offered
    return bool(
        (factors[phase] != factors[phase - 1]).any() or (offered[phase] != offered[phase - 1]).any()
    )
