"""The calibration error is read beside the one that perfect probabilities have by chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from routoo_export.outcomes.kinds import TASK_KINDS
from routoo_export.recogniser.evaluate import Recognition, error_by_chance

if TYPE_CHECKING:
    from numpy.typing import NDArray


def probabilities(prompts: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng(1).gamma(0.2, size=(prompts, len(TASK_KINDS)))
    return np.asarray(drawn / drawn.sum(axis=1, keepdims=True), np.float32)


def test_fewer_prompts_have_more_of_it_and_sure_ones_none() -> None:
    few, many = (error_by_chance(probabilities(prompts), draws=50) for prompts in (100, 4000))
    assert 0.0 < many < few / 3
    assert error_by_chance(np.eye(len(TASK_KINDS), dtype=np.float32), draws=5) == 0.0


def test_true_probabilities_have_it_on_average() -> None:
    tasks = probabilities(150)
    shares = tasks.astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    random = np.random.default_rng(2)
    errors = []
    for _ in range(60):
        kinds = np.array([random.choice(len(one), p=one) for one in shares])
        errors.append(Recognition.of(tasks, kinds).calibration_error)
    assert error_by_chance(tasks) == pytest.approx(np.mean(errors), rel=0.1)
