"""Instances of every kind that the selector has to solve, and an oracle without common code."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog
from scipy.sparse import csr_array, kron, vstack

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Row = tuple[FloatArray, float]
Oracle = Callable[[FloatArray, BoolArray, Sequence[Row]], float | None]


@dataclass(frozen=True)
class Instance:
    """Scores, costs in USD and the mask, each [n, m]; closed cells hold NaN."""

    scores: FloatArray
    costs: FloatArray
    mask: BoolArray

    @property
    def cheapest_usd(self) -> float:
        return float(np.where(self.mask, self.costs, np.inf).min(axis=1).sum())

    @property
    def greatest_usd(self) -> float:
        return float(np.where(self.mask, self.costs, -np.inf).max(axis=1).sum())

    def budget_usd(self, share: float) -> float:
        """Budget at a share of the way from the least to the greatest total cost."""
        return self.cheapest_usd + share * (self.greatest_usd - self.cheapest_usd)


@st.composite
def _instances(draw: st.DrawFn) -> Instance:
    """Ties, zero costs, equal rows, equal models, closed cells, one row, one model."""
    n, m = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    score = draw(
        st.sampled_from(
            [
                st.sampled_from([0.0, 1.0]),
                st.integers(0, 5).map(lambda k: k / 5),
                st.integers(0, 10_000).map(lambda k: k / 10_000),
            ]
        )
    )
    cost = draw(
        st.sampled_from(
            [
                st.sampled_from([0.0, 0.001, 0.002]),
                st.integers(1, 10**6).map(lambda k: k / 10**7),
                st.floats(-5.0, 1.0).map(lambda x: round(10.0**x, 6)),
            ]
        )
    )
    rows = 1 if draw(st.booleans()) and draw(st.booleans()) else n
    scores = np.broadcast_to(draw(arrays(np.float64, (rows, m), elements=score)), (n, m)).copy()
    costs = np.broadcast_to(draw(arrays(np.float64, (rows, m), elements=cost)), (n, m)).copy()
    mask = np.ones((n, m), dtype=np.bool_)
    if draw(st.booleans()):
        mask = draw(arrays(np.bool_, (n, m)))
        mask[np.arange(n), draw(arrays(np.intp, n, elements=st.integers(0, m - 1)))] = True
    scores[~mask] = np.nan
    costs[~mask] = np.nan
    return Instance(scores, costs, mask)


# Within HiGHS' tolerances, a budget that just fits may count as feasible or as infeasible; an
# instance without any room has a test of its own.
def _has_room(instance: Instance) -> bool:
    return instance.greatest_usd - instance.cheapest_usd > 1e-5 * instance.greatest_usd


@pytest.fixture(scope="session")
def instances_with_room() -> st.SearchStrategy[Instance]:
    return _instances().filter(_has_room)


@pytest.fixture(scope="session")
def instances() -> st.SearchStrategy[Instance]:
    return _instances()


def _best_fractional_value(
    values: FloatArray, mask: BoolArray, rows: Sequence[Row]
) -> float | None:
    """Largest summed value of a fractional choice, or None where no choice keeps to the rows.

    HiGHS' tolerances are absolute, so every row is scaled to a limit, or a usage, around 1.
    """
    n, m = values.shape
    split = kron(csr_array(np.eye(n)), csr_array(np.ones((1, m))))
    upper, limits = [], []
    for usage, limit in rows:
        cells = np.where(mask, usage, 0.0).ravel()
        unit = float(np.abs(cells).max()) or 1.0
        upper.append(csr_array(cells[None, :] / unit))
        limits.append(limit / unit)
    found = linprog(
        -np.where(mask, values, 0.0).ravel(),
        A_ub=vstack(upper) if upper else None,
        b_ub=limits or None,
        A_eq=split,
        b_eq=np.ones(n),
        bounds=np.stack((np.zeros(n * m), mask.ravel().astype(np.float64)), axis=1),
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if found.status == 2:
        return None
    assert found.status == 0, found.message
    return -float(found.fun)


@pytest.fixture(scope="session")
def best_fractional_value() -> Oracle:
    return _best_fractional_value
