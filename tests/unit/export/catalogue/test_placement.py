"""Placement of a new model: exact conditioning, and refusal of what does not fit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo_export.catalogue.placement import Likeness, place
from routoo_export.errors import CatalogueError

if TYPE_CHECKING:
    from routoo_export.catalogue.table import Catalogue

CODE, MATH = "code_generate", "math_hard"


def test_likeness_without_distance_is_the_model_itself(catalogue: Catalogue) -> None:
    row = catalogue.row("lab/m03@high")
    placed = place(catalogue, "new/model", similar=Likeness("lab/m03@high", 0.0))
    np.testing.assert_allclose(placed.ability_mean, catalogue.ability_mean[row])
    np.testing.assert_allclose(placed.ability_cov, catalogue.ability_cov[row], atol=1e-6)


def test_a_great_distance_leaves_the_prior(catalogue: Catalogue) -> None:
    placed = place(catalogue, "new/model", similar=Likeness("lab/m03", 50.0))
    np.testing.assert_allclose(placed.ability_cov, catalogue.prior_cov)


@given(
    mean=st.floats(0.0, 1.0),
    prompts=st.integers(1, 500),
    percent=st.floats(20.0, 80.0),
    distance=st.floats(0.1, 2.0),
)
def test_the_posterior_is_that_of_two_scalar_updates(
    catalogue: Catalogue, mean: float, prompts: int, percent: float, distance: float
) -> None:
    placed = place(
        catalogue,
        "new/model",
        graded={MATH: (mean, prompts)},
        benchmarks={"source1.translate": percent},
        similar=Likeness("lab/m05", distance),
        force=True,
    )
    alone = place(catalogue, "new/model", similar=Likeness("lab/m05", distance))
    tasks, slope = len(catalogue.tasks), catalogue.reference_slope
    at, test = catalogue.tasks.index(MATH), catalogue.test_name.index("source1.translate")
    state = np.r_[alone.ability_mean, np.zeros(tasks)]
    spread = np.zeros((2 * tasks, 2 * tasks))
    spread[:tasks, :tasks] = alone.ability_cov
    spread[tasks:, tasks:] = catalogue.transfer_var * np.eye(tasks)
    graded, published = np.zeros(2 * tasks), np.zeros(2 * tasks)
    graded[at], graded[tasks + at] = slope, 1.0
    published[:tasks] = catalogue.test_slope[test] * catalogue.test_weights[test]
    for row, share, count, offset, extra in (
        (graded, mean, prompts, catalogue.reference_offset[at], 0.0),
        (
            published,
            percent / 100.0,
            100,
            catalogue.test_intercept[test],
            catalogue.test_misfit[test],
        ),
    ):
        shrunk = (share * count + 0.5) / (count + 1)
        noise = extra + 1.0 / ((count + 1) * shrunk * (1.0 - shrunk))
        gain = spread @ row / (row @ spread @ row + noise)
        state = state + gain * (math.log(shrunk / (1.0 - shrunk)) - offset - row @ state)
        spread = spread - np.outer(gain, row @ spread)
    np.testing.assert_allclose(placed.ability_mean, state[:tasks], atol=1e-8)
    np.testing.assert_allclose(placed.ability_cov, spread[:tasks, :tasks], atol=1e-8)


def test_many_graded_prompts_decide_their_task(catalogue: Catalogue) -> None:
    placed = place(catalogue, "new/model", graded={CODE: (0.73, 5000)})
    at = catalogue.tasks.index(CODE)
    assert placed.score_mean[at] == pytest.approx(0.73, abs=0.01)
    other = catalogue.tasks.index("roleplay")
    assert placed.score_var[other] > 10.0 * placed.score_var[at]


def test_a_short_name_means_the_newest_release(catalogue: Catalogue) -> None:
    short = place(catalogue, "new/model", benchmarks={"livebench.Coding": 60.0})
    long = place(catalogue, "new/model", benchmarks={"livebench_2026_06_25.Coding": 60.0})
    assert short.ability_mean.tobytes() == long.ability_mean.tobytes()


@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        ({}, "no evidence"),
        ({"benchmarks": {"livebench.Codin": 60.0}}, "the nearest are livebench.Coding"),
        ({"benchmarks": {"livebench.Coding": 0.6}}, "0.6 is not in percent"),
        ({"benchmarks": {"livebench.Coding": math.nan}}, "nan is not in percent"),
        (
            {"benchmarks": {"livebench.Coding": 60.0, "livebench_2026_06_25.Coding": 60.0}},
            "are one benchmark",
        ),
        (
            {"benchmarks": {"livebench.Coding": 60.0, "livebench.average": 60.0}},
            "share questions",
        ),
        ({"graded": {"code": (0.5, 10)}}, "the nearest are code_"),
        ({"graded": {CODE: (math.nan, 10)}}, "the mean score nan"),
        ({"graded": {CODE: (1.5, 10)}}, "the mean score 1.5"),
        ({"graded": {CODE: (0.5, 0)}}, "give 1 or more"),
        ({"similar": Likeness("lab/m3", 0.1)}, "the nearest are lab/m0"),
        ({"similar": Likeness("lab/m03", math.nan)}, "the distance nan"),
        ({"similar": Likeness("lab/m03", -1.0)}, "the distance -1.0"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    catalogue: Catalogue, evidence: dict[str, Any], message: str
) -> None:
    with pytest.raises(CatalogueError, match=message) as refused:
        place(catalogue, "new/model", **evidence)
    assert "\n" not in str(refused.value)


def test_contradictions_are_named_and_may_be_forced(catalogue: Catalogue) -> None:
    evidence = {"source0.math_hard": 97.0, "source1.math_hard": 3.0}
    with pytest.raises(CatalogueError, match=r"source0\.math_hard and source1\.math_hard put"):
        place(catalogue, "new/model", benchmarks=evidence)
    assert place(catalogue, "new/model", benchmarks=evidence, force=True).name == "new/model"


def test_agreeing_evidence_is_no_contradiction_however_good(catalogue: Catalogue) -> None:
    best = {f"source{number}.math_hard": 99.0 for number in range(3)}
    placed = place(catalogue, "new/model", benchmarks=best)
    assert placed.score_mean[catalogue.tasks.index(MATH)] > 0.7
