"""Off-policy values: right on average, with correct errors, and robust where they should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.telemetry.decision_log.off_policy.feedback import (
    LoggedFeedback,
    PolicyValue,
    dr_value,
    effective_sample_size,
    greedy,
    ips_value,
    snips_value,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

N, M = 400, 3


def world(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean rewards and a logging policy that favours bad actions, [N, M] each."""
    means = rng.uniform(0.1, 0.9, (N, M))
    policy = np.exp(-3.0 * means)
    return means, policy / policy.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Drawn:
    """A log: chosen actions, rewards, propensities, [N] each."""

    chosen: NDArray[np.int64]
    rewards: NDArray[np.float64]
    propensities: NDArray[np.float64]

    def beside(self, policy: NDArray[np.float64], most: float = np.inf) -> LoggedFeedback:
        return LoggedFeedback.of(self.chosen, self.rewards, self.propensities, policy, most)

    def robust(self, policy: NDArray[np.float64], direct: NDArray[np.float64]) -> PolicyValue:
        expected = (policy * direct).sum(axis=1)
        return dr_value(self.beside(policy), expected, direct[np.arange(N), self.chosen])


def draw(
    means: NDArray[np.float64], policy: NDArray[np.float64], rng: np.random.Generator
) -> Drawn:
    chosen = (rng.random((N, 1)) > policy.cumsum(axis=1)).sum(axis=1)
    rewards = (rng.random(N) < means[np.arange(N), chosen]).astype(np.float64)
    return Drawn(chosen, rewards, policy[np.arange(N), chosen])


def test_estimates_agree_with_the_truth_within_their_errors() -> None:
    rng = np.random.default_rng(0)
    means, logging = world(rng)
    target = greedy(means.argmax(axis=1), M)
    truth = float(means.max(axis=1).mean())
    rough = np.clip(means + rng.normal(0.0, 0.1, means.shape), 0.0, 1.0)
    estimators: dict[str, Callable[[Drawn], PolicyValue]] = {
        "ips": lambda log: ips_value(log.beside(target)),
        "snips": lambda log: snips_value(log.beside(target)),
        "dr": lambda log: log.robust(target, rough),
    }
    spreads = {}
    for name, estimate in estimators.items():
        found = [estimate(draw(means, logging, rng)) for _ in range(300)]
        errors = np.array([(one.value - truth) / one.se for one in found])
        assert abs(errors.mean()) < 0.25, name
        assert 0.8 < errors.std() < 1.2, name
        spreads[name] = np.std([one.value for one in found])
    assert spreads["snips"] < spreads["ips"]
    assert spreads["dr"] < spreads["snips"]
    logged = np.mean([draw(means, logging, rng).rewards.mean() for _ in range(20)])
    assert truth - logged > 0.2


def test_doubly_robust_survives_either_part_being_wrong() -> None:
    rng = np.random.default_rng(1)
    means, logging = world(rng)
    target = greedy(means.argmax(axis=1), M)
    truth = float(means.max(axis=1).mean())
    logs = [draw(means, logging, rng) for _ in range(200)]
    wrong_model = np.full(means.shape, 0.2)
    assert np.mean([log.robust(target, wrong_model).value for log in logs]) == pytest.approx(
        truth, abs=0.01
    )
    careless = [Drawn(log.chosen, log.rewards, np.full(N, 1.0 / M)) for log in logs]
    assert np.mean([log.robust(target, means).value for log in careless]) == pytest.approx(
        truth, abs=0.01
    )
    assert abs(np.mean([ips_value(log.beside(target)).value for log in careless]) - truth) > 0.1


@given(st.integers(0, 10_000), st.floats(-5.0, 5.0))
def test_the_logging_policy_itself_is_worth_what_was_logged(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    means, logging = world(rng)
    log = draw(means, logging, rng)
    moved = Drawn(log.chosen, log.rewards + shift, log.propensities)
    for value in (ips_value(moved.beside(logging)), snips_value(moved.beside(logging))):
        assert value.value == pytest.approx(moved.rewards.mean(), abs=1e-9)
    target = greedy(means.argmax(axis=1), M)
    # Self-normalised values shift with the rewards, for any weights.
    assert snips_value(moved.beside(target)).value == pytest.approx(
        snips_value(log.beside(target)).value + shift, abs=1e-9
    )


def test_a_policy_outside_the_log_has_no_self_normalised_value() -> None:
    log = Drawn(np.zeros(5, dtype=np.int64), np.ones(5), np.full(5, 0.5))
    with pytest.raises(ValueError, match="more exploration"):
        snips_value(log.beside(greedy(np.ones(5, dtype=np.int64), 2)))


def test_decisions_without_a_reward_count_by_the_model_alone() -> None:
    rng = np.random.default_rng(2)
    means, logging = world(rng)
    target = greedy(means.argmax(axis=1), M)
    truth = float(means.max(axis=1).mean())
    rough = np.clip(means + rng.normal(0.0, 0.1, means.shape), 0.0, 1.0)
    found = []
    for _ in range(300):
        log = draw(means, logging, rng)
        graded = rng.random(N) < 0.5
        rewards = np.where(graded, log.rewards, np.nan)
        found.append(Drawn(log.chosen, rewards, log.propensities * 0.5).robust(target, rough))
    errors = np.array([(one.value - truth) / one.se for one in found])
    assert abs(errors.mean()) < 0.25
    assert 0.8 < errors.std() < 1.2


def test_weights_above_the_limit_leave_the_model_alone() -> None:
    log = Drawn(np.zeros(3, np.int64), np.array([1.0, 0.0, 1.0]), np.array([0.001, 0.5, 1.0]))
    beside = log.beside(greedy(np.zeros(3, np.int64), 2), most=100.0)
    assert beside.weights.tolist() == [0.0, 2.0, 1.0]
    assert beside.ratios.tolist() == [1000.0, 2.0, 1.0]
    found = dr_value(beside, np.full(3, 0.5), np.full(3, 0.5))
    assert found.terms.tolist() == [0.5, -0.5, 1.0]


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=50))
def test_the_effective_sample_size_is_at_most_the_number_of_rows(weights: list[float]) -> None:
    found = effective_sample_size(np.array(weights))
    assert 0.0 <= found <= len(weights) * (1.0 + 1e-9)
