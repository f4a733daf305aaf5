"""Intervals of a mean: they cover it, hold the estimate, and do not hang on scale or place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.telemetry.decision_log.off_policy.intervals import bernstein, bootstrap, studentised


def few_large_terms(rng: np.random.Generator, n: int = 3_000) -> np.ndarray:
    """Terms as an exploring log makes them: mean 0.5, one in 60 is 50 times larger."""
    explored = rng.random(n) < 0.02
    good = rng.random(n) < 0.8
    return 0.5 + np.where(explored, 50.0 * (good - 0.8), 0.0)


def test_intervals_cover_a_mean_that_few_terms_make() -> None:
    rng = np.random.default_rng(0)
    draws = [few_large_terms(rng) for _ in range(400)]
    by_errors = [studentised(terms) for terms in draws]
    resampled = [bootstrap(terms[:, None])[0] for terms in draws[:200]]
    always = [bernstein(terms, 60.0) for terms in draws]
    assert np.mean([one.low <= 0.5 <= one.high for one in by_errors]) >= 0.94
    assert np.mean([one.low <= 0.5 <= one.high for one in resampled]) >= 0.88
    assert all(one.low <= 0.5 <= one.high for one in always)


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40),
    st.floats(1e-3, 1e3),
    st.floats(-1e3, 1e3),
)
def test_the_interval_moves_with_its_terms(values: list[float], scale: float, shift: float) -> None:
    terms = np.array(values)
    plain, moved = studentised(terms), studentised(scale * terms + shift)
    assert plain.low <= terms.mean() <= plain.high
    size = scale * (np.abs(terms).max() + abs(shift) + 1.0)
    spread = float(np.ptp(terms))
    if spread > 1e-3 * (1.0 + np.abs(terms).max() + abs(shift) / scale):
        assert moved.low == pytest.approx(scale * plain.low + shift, abs=1e-4 * size)
        assert moved.high == pytest.approx(scale * plain.high + shift, abs=1e-4 * size)


def test_equal_terms_leave_no_doubt() -> None:
    terms = np.full(10, 0.3)
    for one in (studentised(terms), *bootstrap(terms[:, None])):
        assert (one.low, one.high) == pytest.approx((0.3, 0.3))


def test_a_single_term_has_no_bounds() -> None:
    assert bernstein(np.ones(1), 1.0).high == np.inf


def test_the_bootstrap_is_the_same_again() -> None:
    terms = few_large_terms(np.random.default_rng(1))[:, None]
    assert bootstrap(terms, seed=3) == bootstrap(terms, seed=3)
    both = bootstrap(np.hstack([terms, terms]), np.tile([[1.0, 2.0]], (len(terms), 1)), seed=3)
    assert both[1].low == pytest.approx(both[0].low / 2.0)
    assert bootstrap(terms, np.zeros_like(terms))[0].high == np.inf
