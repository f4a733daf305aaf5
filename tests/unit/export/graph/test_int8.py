"""The scales of int8: their errors, and their use in the graph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo_export.graph.int8 import MOST_ERROR, ActivationSample, byte_columns, choose_scale

TOKENS = 256
CHANNELS = 24


def activation(seed: int, outlier: float = 1.0) -> ActivationSample:
    """Normal rows whose channel 3 is ``outlier`` times as large."""
    rows = np.random.default_rng(seed).normal(size=(TOKENS, CHANNELS)).astype(np.float32)
    rows[:, 3] *= outlier
    return ActivationSample(rows, rows.min(axis=0), rows.max(axis=0))


def matrix(seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(CHANNELS, 16)).astype(np.float32)


@given(
    seed=st.integers(0, 10_000),
    magnitude=st.floats(1e-3, 1e3),
    rows=st.integers(1, 40),
    columns=st.integers(1, 20),
)
def test_a_weight_is_off_by_half_a_step_at_most(
    seed: int, magnitude: float, rows: int, columns: int
) -> None:
    rng = np.random.default_rng(seed)
    weight = (magnitude * rng.normal(size=(rows, columns))).astype(np.float32)
    weight[:, 0] = 0.0
    codes, steps = byte_columns(weight)
    assert codes.dtype == np.int8
    assert np.abs(codes.astype(int)).max() <= 127
    assert (np.abs(codes * steps - weight) <= 0.5001 * steps).all()
    np.testing.assert_array_equal(codes[:, 0], 0)


@given(seed=st.integers(0, 10_000), shift=st.floats(-3.0, 3.0), magnitude=st.floats(1e-2, 1e2))
def test_the_range_of_an_activation_is_covered(seed: int, shift: float, magnitude: float) -> None:
    plain = activation(seed)
    rows = ((plain.rows + np.float32(shift)) * np.float32(magnitude)).astype(np.float32)
    sample = ActivationSample(rows, rows.min(axis=0), rows.max(axis=0))
    scale = choose_scale(sample, matrix(seed + 1))
    moved = rows if scale.channels is None else rows / scale.channels
    codes = np.rint(moved / scale.step) + scale.zero
    # Half a step of rounding at either end, and the zero point's own half.
    assert codes.min() >= -1.0
    assert codes.max() <= 256.0
    assert scale.error < 0.05


def test_a_few_large_channels_move_into_the_weights() -> None:
    sample, weight = activation(1, outlier=300.0), matrix(2)
    weight[3] /= 300.0
    moved = choose_scale(sample, weight)
    kept = choose_scale(sample, weight, migrate=False)
    assert kept.channels is None
    assert kept.error > MOST_ERROR
    assert moved.channels is not None
    assert moved.channels[3] == moved.channels.max()
    assert moved.error < 0.1 * kept.error


@pytest.mark.parametrize("alike", [1.0, 1.5])
def test_the_error_is_that_of_the_integer_product(alike: float) -> None:
    sample, weight = activation(5, outlier=alike), matrix(6)
    scale = choose_scale(sample, weight, migrate=False)
    codes, steps = byte_columns(weight)
    activations = np.clip(np.rint(sample.rows / scale.step) + scale.zero, 0, 255).astype(np.int64)
    product = ((activations - int(scale.zero)) @ codes.astype(np.int64)) * (scale.step * steps)
    wanted = sample.rows @ weight
    error = np.linalg.norm(product - wanted) / np.linalg.norm(wanted)
    assert scale.error == pytest.approx(error, rel=1e-3)
    assert 0.001 < scale.error < 0.03
