"""Studies on real outcomes: weights correct a skewed log, log-loss needs fewer prompts."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.data

STUDY = Path(__file__).parents[5] / "benchmarks" / "objectives.py"


@pytest.fixture(scope="module")
def study() -> Iterator[Any]:
    """The benchmark that measures the same with more repetitions."""
    spec = importlib.util.spec_from_file_location("objectives_benchmark", STUDY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(STUDY.parent)
        # Dataclasses look their module up while it is being run.
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def world(study: Any, outcome_data_dir: Path) -> Any:
    return study.read_world(outcome_data_dir)


def test_weights_undo_a_skewed_log(study: Any, world: Any) -> None:
    table = {
        (row["policy"], row["method"]): row["minus_unweighted"]
        for row in study.measure_weights(world, 1_000, range(3))
    }
    for method in ("inverse_propensity", "doubly_robust"):
        gain = table["hard", method]
        assert gain["value"] > 0.1
        assert gain["value"] > 4.0 * gain["se"]
        # They are nearly as good as a log with every model's outcome.
        assert gain["value"] > 0.6 * table["hard", "whole_outcomes"]["value"]
        # Where the features explain the policy, there is no bias, and weights do no harm.
        assert abs(table["domain", method]["value"]) < 0.02


def test_log_loss_needs_fewer_prompts_than_squared_loss(study: Any, world: Any) -> None:
    found = study.measure_objectives(world, (2_000, 8_000), range(8), "plain")
    gain, ratio = found["mean_difference"], found["sample_ratio"]
    assert gain["value"] > 1.5 * gain["se"]
    # The ratio exists only where more prompts help, so that value can be converted to prompts.
    assert ratio is not None
    assert ratio["value"] - 1.5 * ratio["se"] > 1.0


def test_the_sample_ratio_compares_prompts_at_equal_value(study: Any) -> None:
    sizes = (1_000, 2_000, 4_000)
    log_loss = np.log2(sizes) + np.array([[0.0], [0.1]])
    found = study.sample_ratio(sizes, log_loss, log_loss - 1.0)
    assert found["value"] == pytest.approx(2.0)
    assert study.sample_ratio(sizes, log_loss[:, ::-1], log_loss[:, ::-1] - 1.0) is None
