"""The value of a label, and draws with known probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo_export.grading.sampling import draw, inclusion, label_values


def test_the_value_of_a_label_is_what_knowing_the_score_gains() -> None:
    rng = np.random.default_rng(0)
    utilities = np.array([[0.5, 0.6, 0.1], [0.9, 0.2, 0.85]])
    std = np.array([[0.1, 0.05, 0.3], [0.1, 0.1, 0.2]])
    asked = np.ones((2, 3), np.bool_)
    found = label_values(utilities, std, asked)
    for row in range(2):
        for column in range(3):
            drawn = utilities[row, column] + std[row, column] * rng.standard_normal(400_000)
            others = np.delete(utilities[row], column).max()
            gain = np.maximum(drawn, others).mean() - utilities[row].max()
            assert found[row, column] == pytest.approx(gain, abs=1e-3)


def test_cells_that_change_nothing_have_no_value() -> None:
    utilities = np.array([[0.5, -np.inf, 0.4], [0.5, -np.inf, -np.inf]])
    std = np.array([[0.2, 0.2, 0.0], [0.2, 0.2, 0.2]])
    found = label_values(utilities, std, np.array([[True, True, True], [True, True, True]]))
    assert found[0, 0] > 0.0
    assert found[0, 1] == found[0, 2] == 0.0
    assert not found[1].any()
    assert not label_values(utilities, std, np.zeros((2, 3), np.bool_)).any()
    assert (
        label_values(np.ones((4, 1)), np.ones((4, 1)), np.ones((4, 1), np.bool_)).tolist()
        == [[0.0]] * 4
    )


@given(st.lists(st.floats(0.0, 10.0), min_size=1, max_size=60), st.integers(1, 60))
def test_probabilities_sum_to_what_is_wanted(values: list[float], wanted: int) -> None:
    wanted = min(wanted, len(values))
    chances = inclusion(np.array(values), wanted)
    assert chances.sum() == pytest.approx(wanted)
    assert ((chances > 0.0) & (chances <= 1.0 + 1e-9)).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(chances[order]) >= -1e-9).all()


@given(
    st.lists(st.floats(0.0, 10.0), min_size=1, max_size=60),
    st.integers(1, 60),
    st.integers(0, 1000),
)
def test_each_draw_has_the_wanted_number_of_different_rows(
    values: list[float], wanted: int, seed: int
) -> None:
    wanted = min(wanted, len(values))
    chances = inclusion(np.array(values), wanted)
    strata = [str(row % 3) for row in range(len(values))]
    rows = draw(chances, strata, np.random.default_rng(seed))
    assert len(set(rows.tolist())) == len(rows) == wanted
    certain = np.flatnonzero(chances >= 1.0 - 1e-12)
    assert set(certain.tolist()) <= set(rows.tolist())


def test_rows_are_drawn_as_often_as_said_and_strata_evenly() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(0.0, 1.0, 40)
    chances = inclusion(values, 12)
    strata = ["ab"[row % 2] for row in range(40)]
    counts, of_a = np.zeros(40), []
    for _ in range(4_000):
        rows = draw(chances, strata, rng)
        counts[rows] += 1
        of_a.append((rows % 2 == 0).sum())
    assert np.abs(counts / 4_000 - chances).max() < 0.04
    expected = chances[::2].sum()
    assert min(of_a) >= np.floor(expected)
    assert max(of_a) <= np.ceil(expected)
