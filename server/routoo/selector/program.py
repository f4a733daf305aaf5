"""A linear program with K coupling rows, in the units its solvers like, and its Lagrangian dual."""

from dataclasses import dataclass, replace

import numpy as np

from routoo.selector.arrays import BoolArray, FloatArray, IndexArray
from routoo.selector.problem import Resource

# What rounding alone may make of a priced sum over many prompts.
_PROOF_RTOL = 1e-10


@dataclass(frozen=True, slots=True)
class Program:
    """Maximise the summed value while each of K rows stays within its limit.

    Every row is divided by its unit, the mean size of its usage, and the values by theirs, the mean
    difference between a prompt's best and worst model. So prices of rows in USD, requests and
    milliseconds are of one order, and a solver's absolute tolerances mean the same everywhere.

    Attributes:
        values: float64 [n, m], scaled, -inf in closed cells.
        per_cell: rows whose usage differs between prompts: index and scaled usage [n, m].
        per_model: rows whose usage does not: their indices [K1] and scaled usage [K1, m].
        limits: float64 [K], scaled.
        units: float64 [K], of the rows.
        value_unit: unit of the values.
    """

    values: FloatArray
    per_cell: tuple[tuple[int, FloatArray], ...]
    per_model: tuple[IndexArray, FloatArray]
    limits: FloatArray
    units: FloatArray
    value_unit: float

    def reduced(self, prices: FloatArray) -> FloatArray:
        """Value of each cell minus what it uses at `prices` [K] (scaled): [n, m]."""
        index, usage = self.per_model
        reduced = self.values - prices[index] @ usage
        for row, cells in self.per_cell:
            if prices[row]:
                reduced -= prices[row] * cells
        return reduced

    def proves_infeasible(self, prices: FloatArray) -> bool:
        """Whether even the choice of least usage, priced, costs more than the limits are worth.

        If so, no choice keeps all limits (Farkas' lemma).
        """
        open_cells = np.where(np.isfinite(self.values), 0.0, -np.inf)
        least = -float(replace(self, values=open_cells).reduced(prices).max(axis=1).sum())
        worth = float(prices @ self.limits)
        return least - worth > _PROOF_RTOL * (abs(least) + abs(worth))

    def usage(self, rows: IndexArray, models: IndexArray) -> FloatArray:
        """Scaled usage of the cells (rows[i], models[i]) in each coupling row: [K, cells]."""
        used = np.empty((len(self.limits), len(rows)))
        index, usage = self.per_model
        used[index] = usage[:, models]
        for row, cells in self.per_cell:
            used[row] = cells[rows, models]
        return used

    def part(self, rows: IndexArray, taken: FloatArray) -> "Program":
        """The same program over some of the prompts, `taken` [K] being what the others use."""
        return replace(
            self,
            values=self.values[rows],
            per_cell=tuple((row, cells[rows]) for row, cells in self.per_cell),
            limits=self.limits - taken,
        )


def make_program(values: FloatArray, mask: BoolArray, rows: tuple[Resource, ...]) -> Program:
    """Build the program of an objective and its rows; `values` are -inf where `mask` is false."""
    per_cell: list[tuple[int, FloatArray]] = []
    model_rows: list[int] = []
    model_usage: list[FloatArray] = []
    units = np.ones(len(rows))
    share = mask.mean(axis=0)
    for k, row in enumerate(rows):
        if row.usage.ndim == 1:
            usage = np.where(share > 0.0, row.usage, 0.0)
            units[k] = float((np.abs(usage) * share).sum() / share.sum()) or 1.0
            model_rows.append(k)
            model_usage.append(usage / units[k])
        else:
            usage = np.where(mask, row.usage, 0.0)
            units[k] = float(np.abs(usage).sum() / mask.sum()) or 1.0
            usage /= units[k]
            per_cell.append((k, usage))
    low = np.where(mask, values, np.inf).min(axis=1)
    value_unit = float((values.max(axis=1) - low).mean()) or 1.0
    return Program(
        values=values / value_unit,
        per_cell=tuple(per_cell),
        per_model=(
            np.array(model_rows, dtype=np.intp),
            np.array(model_usage).reshape(len(model_rows), values.shape[1]),
        ),
        limits=np.array([row.limit for row in rows]) / units,
        units=units,
        value_unit=value_unit,
    )
