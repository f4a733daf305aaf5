"""Off-policy values: right on average, with correct errors, and robust where they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo_export.evaluation.off_policy import (
    LoggedFeedback,
    PolicyValue,
    dr_value,
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


def draw(
    means: NDArray[np.float64], policy: NDArray[np.float64], rng: np.random.Generator
) -> LoggedFeedback:
    chosen = (rng.random((N, 1)) > policy.cumsum(axis=1)).sum(axis=1)
    rewards = (rng.random(N) < means[np.arange(N), chosen]).astype(np.float64)
    return LoggedFeedback(chosen, rewards, policy[np.arange(N), chosen])


def test_estimates_agree_with_the_truth_within_their_errors() -> None:
    rng = np.random.default_rng(0)
    means, logging = world(rng)
    target = greedy(means.argmax(axis=1), M)
    truth = float(means.max(axis=1).mean())
    rough = np.clip(means + rng.normal(0.0, 0.1, means.shape), 0.0, 1.0)
    estimators: dict[str, Callable[[LoggedFeedback], PolicyValue]] = {
        "ips": lambda log: ips_value(log, target),
        "snips": lambda log: snips_value(log, target),
        "dr": lambda log: dr_value(log, target, rough),
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
    assert np.mean([dr_value(log, target, wrong_model).value for log in logs]) == pytest.approx(
        truth, abs=0.01
    )
    careless = [LoggedFeedback(log.chosen, log.rewards, np.full(N, 1.0 / M)) for log in logs]
    assert np.mean([dr_value(log, target, means).value for log in careless]) == pytest.approx(
        truth, abs=0.01
    )
    assert abs(np.mean([ips_value(log, target).value for log in careless]) - truth) > 0.1


@given(st.integers(0, 10_000), st.floats(-5.0, 5.0))
def test_the_logging_policy_itself_is_worth_what_was_logged(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    means, logging = world(rng)
    log = draw(means, logging, rng)
    moved = LoggedFeedback(log.chosen, log.rewards + shift, log.propensities)
    for value in (ips_value(moved, logging), snips_value(moved, logging)):
        assert value.value == pytest.approx(moved.rewards.mean(), abs=1e-9)
    target = greedy(means.argmax(axis=1), M)
    # Self-normalised values shift with the rewards, for any weights.
    assert snips_value(moved, target).value == pytest.approx(
        snips_value(log, target).value + shift, abs=1e-9
    )


def test_a_policy_outside_the_log_has_no_self_normalised_value() -> None:
    log = LoggedFeedback(np.zeros(5, dtype=np.int64), np.ones(5), np.full(5, 0.5))
    with pytest.raises(ValueError, match="more exploration"):
        snips_value(log, greedy(np.ones(5, dtype=np.int64), 2))
