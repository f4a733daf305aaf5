"""Streams of requests whose models change on the way, decided by learned scores."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from routoo.routing.corrections.scores.ability import GradedAnswer
from routoo.routing.corrections.scores.in_force import learned_scores, learned_std
from routoo.routing.corrections.scores.table import AbilityTable, AbilityTerms

MODELS = ("cheap", "best", "other")
KINDS = ("chat", "code")
PRICED = np.array([0.0, 0.06, 0.05])  # score per request, at the price in force
EXPLORED = 0.02
BETWEEN = 10  # requests between two versions
STD = 0.05


@dataclass
class Stream:
    """Requests, one after the other, with answers that are right or wrong.

    Attributes:
        chances: true chances of the models to be right, about which prompts vary.
        plain: the predicted ones.
        std: their standard deviations.
    """

    chances: np.ndarray
    plain: np.ndarray
    std: np.ndarray
    seed: int = 0
    table: AbilityTable = field(default_factory=AbilityTable)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.terms = AbilityTerms(200.0)

    def send(self, count: int) -> np.ndarray:
        """Returns the chosen columns, int [count]."""
        chosen, waiting = [], []
        force = self.table.in_force("p", MODELS, KINDS, self.terms)
        for at in range(count):
            if at % BETWEEN == 0:
                self.table = self.table.learned(waiting, self.terms)
                force, waiting = self.table.in_force("p", MODELS, KINDS, self.terms), []
            shift = self.rng.normal(0.0, 0.03, (1, len(MODELS)))
            kind = int(self.rng.integers(2))
            plain = np.round(np.clip(self.plain + shift, 0.01, 0.99), 4)
            odds, spread = force.rows(np.array([kind]), [""])
            scores = learned_scores(plain, odds)
            if self.rng.random() < EXPLORED:
                std = learned_std(self.std[None], plain, odds, spread)
                scores = scores + std * self.rng.standard_normal(scores.shape)
            column = int(np.argmax(scores[0] - PRICED))
            right = self.rng.random() < np.clip(self.chances + shift, 0.0, 1.0)[0, column]
            told = float(plain[0, column]), float(self.std[column])
            name = MODELS[column]
            waiting.append(GradedAnswer("p", name, KINDS[kind], "", *told, float(right)))
            chosen.append(column)
        self.table = self.table.learned(waiting, self.terms)
        return np.array(chosen)


def test_a_provider_that_fails_silently_has_little_traffic_after_150_of_its_outcomes() -> None:
    for seed in range(2):
        true = np.array([0.7, 0.92, 0.8])
        stream = Stream(true, true, np.full(3, STD), seed)
        assert (stream.send(500) == 1).mean() > 0.9
        stream.chances = true * [1.0, 0.3, 1.0]
        failing = stream.send(1500)
        its = np.flatnonzero(failing == 1)
        after = int(its[149]) if its.size >= 150 else int(its[-1])
        assert after < 300 or (failing[:300] == 1).mean() < 0.5
        assert (failing[300:] == 1).mean() < 0.1
        # It comes back when its answers do.
        stream.chances = true
        stream.send(1000)
        assert (stream.send(300) == 1).mean() > 0.9


def test_an_unknown_model_has_nine_tenths_of_its_best_share_after_300_of_its_outcomes() -> None:
    true, unknown = np.array([0.7, 0.78, 0.92]), np.array([0.7, 0.78, 0.74])
    chosen = Stream(true, unknown, np.array([STD, STD, 0.2])).send(3000)
    its = np.flatnonzero(chosen == 2)
    assert its.size >= 300
    known = Stream(true, true, np.full(3, STD)).send(1000)
    assert (chosen[its[299] :] == 2).mean() >= 0.9 * (known == 2).mean()


def test_without_a_change_a_good_prediction_stays_as_good() -> None:
    true = np.array([0.7, 0.92, 0.8])
    stream = Stream(true, true, np.full(3, STD))
    assert (stream.send(3000) == 1).mean() > 0.95
