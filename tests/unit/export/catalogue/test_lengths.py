"""Output lengths: the typical length of a task, shrinkage, and reasoning."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo_export.catalogue.lengths import (
    TASK_MEDIAN_TOKENS,
    estimate_lengths,
    visible_deviations,
)
from routoo_export.catalogue.livebench import LiveBenchTokens
from routoo_export.catalogue.scores import MeanLengths
from routoo_export.outcomes.kinds import TASK_KINDS

NAMES = (*tuple(f"lab/m{i}" for i in range(8)), "openai/o3-mini", "openai/o3-mini@high")
TOKENS = LiveBenchTokens(
    models=("openai/o3-mini@high", "lab/m0@thinking"),
    tasks=("math_comp", "typos"),
    tokens=np.array([[8000.0, 1500.0], [16000.0, 3000.0]]),
)


def lengths_of(seed: int, tests: int = 4) -> tuple[list[MeanLengths], np.ndarray]:
    rng = np.random.default_rng(seed)
    verbosity = rng.normal(0.0, 0.5, 8)
    measured = []
    for number in range(tests):
        logs = rng.normal(5.0, 1.0) + verbosity + rng.normal(0.0, 0.1, 8)
        measured.append(MeanLengths(f"t{number}", TASK_KINDS[number], NAMES[:8], logs))
    return measured, verbosity


@given(seed=st.integers(0, 10_000), factor=st.floats(0.1, 10.0))
def test_the_mean_over_the_models_is_the_typical_length(seed: int, factor: float) -> None:
    typical = {task: factor * tokens for task, tokens in TASK_MEDIAN_TOKENS.items()}
    found = estimate_lengths(NAMES, lengths_of(seed)[0], TOKENS, typical)
    mean = np.exp(found.log_visible).mean(axis=0)
    np.testing.assert_allclose(mean, [typical[task] for task in TASK_KINDS])


@given(seed=st.integers(0, 10_000))
def test_verbosity_is_recovered_and_unknown_models_are_average(seed: int) -> None:
    measured, verbosity = lengths_of(seed, tests=12)
    mean, variance = visible_deviations(NAMES, measured)
    # The test's effects take up the mean of the models.
    expected = verbosity - verbosity.mean()
    np.testing.assert_allclose(mean[:8, 0], expected, atol=0.25)
    assert np.all(mean[8:] == 0.0)
    assert variance[8:].min() > variance[:8].max()


def test_reasoning_rises_with_effort_and_is_none_for_others() -> None:
    found = estimate_lengths(NAMES, lengths_of(1)[0], TOKENS)
    plain, medium, high = NAMES.index("lab/m1"), -2, -1
    assert np.all(found.log_reasoning[plain] == 0.0)
    assert np.all(found.log_reasoning[high] > found.log_reasoning[medium])
    # Ordinary prompts take less than LiveBench's.
    at = TASK_KINDS.index("math_hard")
    assert 100.0 < np.exp(found.log_reasoning[high, at]) < 8000.0


def test_without_any_lengths_all_models_are_alike() -> None:
    mean, _ = visible_deviations(NAMES, [])
    assert not mean.any()
    found = estimate_lengths(NAMES, [], TOKENS)
    assert found.log_visible[0, 0] == pytest.approx(np.log(TASK_MEDIAN_TOKENS[TASK_KINDS[0]]))
