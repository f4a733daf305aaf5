"""Corrections of one figure: bounded, steady against outliers, and right in the mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.routing.corrections.ratio import CUT, HIGHEST, LOWEST, Ratio

MEMORY = 200.0
ASSUMED = 2.0
FIGURES = st.floats(0.0, 1e9)
PREDICTED = st.floats(1.0, 1e6)
ANSWERS = st.lists(st.tuples(PREDICTED, FIGURES), max_size=200)


def factor_of(ratio: Ratio) -> float:
    return ratio.factor(1.0, ASSUMED)


def learned(answers: list[tuple[float, float]], ratio: Ratio | None = None) -> Ratio:
    ratio = ratio or Ratio()
    for predicted, told in answers:
        ratio = ratio.add(predicted, told, factor_of(ratio), memory=MEMORY)
    return ratio


def test_without_answers_nothing_is_corrected() -> None:
    assert factor_of(Ratio()) == 1.0


@given(answers=ANSWERS)
def test_a_factor_has_bounds_whatever_is_told(answers: list[tuple[float, float]]) -> None:
    assert LOWEST <= factor_of(learned(answers)) <= HIGHEST


@given(answers=ANSWERS, predicted=PREDICTED, less=FIGURES, more=FIGURES)
def test_a_longer_answer_never_lowers_the_factor(
    answers: list[tuple[float, float]], predicted: float, less: float, more: float
) -> None:
    before = learned(answers)
    low, high = (factor_of(learned([(predicted, told)], before)) for told in sorted((less, more)))
    assert low <= high * (1 + 1e-12)


@given(predicted=st.lists(PREDICTED, min_size=1, max_size=300))
def test_answers_as_predicted_change_nothing(predicted: list[float]) -> None:
    ratio = learned([(one, one) for one in predicted])
    assert factor_of(ratio) == pytest.approx(1.0, rel=1e-9)
    assert ratio.answers == len(predicted)


@pytest.mark.parametrize("times", [0.05, 0.1, 0.5, 2.0, 5.0, 10.0, 20.0])
def test_fifty_answers_teach_a_factor(times: float) -> None:
    assert factor_of(learned([(100.0, 100.0 * times)] * 50)) == pytest.approx(times, rel=0.15)


@pytest.mark.parametrize("times", [0.1, 1 / 3, 3.0, 10.0])
def test_a_change_after_a_long_history_is_learned_as_soon(times: float) -> None:
    settled = learned([(100.0, 100.0)] * 1000)
    changed = factor_of(learned([(100.0, 100.0 * times)] * 50, settled))
    assert changed == pytest.approx(times, rel=0.15, abs=0.06)


@pytest.mark.parametrize("place", [0, 1, 50, 99])
def test_one_absurd_answer_among_a_hundred_moves_the_factor_by_less_than_a_tenth(
    place: int,
) -> None:
    answers = [(100.0, 100.0)] * 100
    answers[place] = (100.0, 1e6)
    assert 1.0 <= factor_of(learned(answers)) < 1.1


@pytest.mark.parametrize("spread", [0.3, 0.7, 1.0])
def test_the_mean_is_right_however_the_lengths_scatter(spread: float) -> None:
    """A mean of logarithms would be low by e^(spread^2 / 2): by 40 % at a spread of 1."""
    rng = np.random.default_rng(1)
    predicted = rng.uniform(50, 500, 4000)
    told = predicted * 4.0 * rng.lognormal(-(spread**2) / 2, spread, 4000)
    ratio, factors = Ratio(), []
    for one in zip(predicted.tolist(), told.tolist(), strict=True):
        ratio = learned([one], ratio)
        factors.append(factor_of(ratio))
    corrected = (predicted[200:] * np.array(factors[200:])).mean()
    assert corrected == pytest.approx(told[200:].mean(), rel=0.06)


def test_a_told_figure_counts_at_most_as_many_times_the_expected_one() -> None:
    first = Ratio().add(100.0, 1e6, 2.0, memory=MEMORY)
    assert first.told == CUT * 2.0 * 100.0
    assert first.predicted == 100.0


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1.0])
def test_sums_that_are_no_amounts_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Ratio.read([1, 1.0, wrong, 1.0, 1.0, 1.0, 1.0])
