"""A linear program with K coupling rows, scaled for its solvers, and its Lagrangian dual."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array, csr_array

from routoo.selector.arrays import BoolArray, FloatArray, IndexArray
from routoo.selector.lp.problem import Resource

# Relative error that rounding alone may cause in a priced sum over many prompts.
_PROOF_RTOL = 1e-10


@dataclass(frozen=True, slots=True)
class Sheet:
    """A usage that differs between prompts, and the rows that divide it between them.

    Attributes:
        cells: float64 [n, m], scaled, 0 in closed cells.
        owner: int [1 or n, 1 or m], the row in which a cell counts; K: in none.
    """

    cells: FloatArray
    owner: IndexArray

    def at(self, rows: IndexArray, models: IndexArray) -> tuple[IndexArray, FloatArray]:
        """Return owner and usage of the cells (rows[i], models[i])."""
        n, m = self.owner.shape
        owner = self.owner[rows if n > 1 else 0, models if m > 1 else 0]
        return np.broadcast_to(owner, rows.shape), self.cells[rows, models]


@dataclass(frozen=True, slots=True)
class Program:
    """Maximise the summed value while each of K rows stays within its limit.

    Every row is divided by its unit, the mean size of its usage, and the values by theirs, the mean
    difference between a prompt's best and worst model. So prices of rows in USD, requests and
    milliseconds have similar sizes, and a solver's absolute tolerances suit all of them.

    Attributes:
        values: float64 [n, m], scaled, -inf in closed cells.
        sheets: the rows whose usage differs between prompts.
        per_model: the rows whose usage does not: indices, int [K1], and scaled usage,
            float64 [K1, m].
        limits: float64 [K], scaled.
        units: float64 [K], units of the rows.
        value_unit: unit of the values.
    """

    values: FloatArray
    sheets: tuple[Sheet, ...]
    per_model: tuple[IndexArray, FloatArray]
    limits: FloatArray
    units: FloatArray
    value_unit: float

    def reduced(self, prices: FloatArray) -> FloatArray:
        """Return the value of each cell minus its usage at scaled ``prices`` [K]: [n, m]."""
        index, usage = self.per_model
        reduced = self.values - prices[index] @ usage
        of_owner = np.append(prices, 0.0)
        for sheet in self.sheets:
            factors = of_owner[sheet.owner]
            if factors.any():
                reduced -= factors * sheet.cells
        return reduced

    def proves_infeasible(self, prices: FloatArray) -> bool:
        """Return whether even the least usage costs more, at the prices, than the limits are worth.

        If so, no choice keeps all limits (Farkas' lemma).
        """
        least = -float(self.without_values().reduced(prices).max(axis=1).sum())
        worth = float(prices @ self.limits)
        return least - worth > _PROOF_RTOL * (abs(least) + abs(worth))

    def without_values(self) -> "Program":
        """Return the same program with a value of 0 for all choices."""
        return replace(self, values=np.where(np.isfinite(self.values), 0.0, -np.inf))

    def used(self, rows: IndexArray, models: IndexArray) -> FloatArray:
        """Sum the scaled usage of the cells (rows[i], models[i]) in each coupling row: [K]."""
        count, m = len(self.limits), self.values.shape[1]
        used = np.zeros(count + 1)
        for sheet in self.sheets:
            owner, cells = sheet.at(rows, models)
            used += np.bincount(owner, weights=cells, minlength=count + 1)
        index, usage = self.per_model
        used[index] = usage @ np.bincount(models, minlength=m)
        return used[:count]

    def usage(self, rows: IndexArray, models: IndexArray) -> csr_array:
        """Return the scaled usage of cells (rows[i], models[i]) per coupling row: [K, cells]."""
        index, usage = self.per_model
        per_model = usage[:, models]
        at, cells = np.nonzero(per_model)
        owners, columns, figures = [index[at]], [cells], [per_model[at, cells]]
        for sheet in self.sheets:
            owner, used = sheet.at(rows, models)
            owned = np.flatnonzero(owner < len(self.limits))
            owners.append(owner[owned])
            columns.append(owned)
            figures.append(used[owned])
        where = (np.concatenate(owners), np.concatenate(columns))
        shape = (len(self.limits), len(rows))
        return csr_array(coo_array((np.concatenate(figures), where), shape=shape))

    def usage_of_row(self, k: int) -> FloatArray:
        """Return the scaled usage of one row, float64 [n, m], 0 in closed cells."""
        found = np.zeros(self.values.shape)
        index, usage = self.per_model
        for row in usage[index == k]:
            found += np.where(np.isfinite(self.values), row, 0.0)
        for sheet in self.sheets:
            if (sheet.owner == k).any():
                found += np.where(sheet.owner == k, sheet.cells, 0.0)
        return found


def make_program(values: FloatArray, mask: BoolArray, rows: tuple[Resource, ...]) -> Program:
    """Build the program of an objective and its rows.

    Args:
        values: float64 [n, m], -inf where ``mask`` is false.
        mask: bool [n, m], eligible cells.
        rows: the coupling rows.
    """
    builder = _Builder(mask, len(rows))
    for k, row in enumerate(rows):
        builder.add(k, row)
    low = np.where(mask, values, np.inf).min(axis=1)
    value_unit = float((values.max(axis=1) - low).mean()) or 1.0
    return Program(
        values=values / value_unit,
        sheets=builder.sheets(),
        per_model=builder.per_model(),
        limits=np.array([row.limit for row in rows]) / builder.units,
        units=builder.units,
        value_unit=value_unit,
    )


class _Builder:
    """Scales the rows' usage and lets rows that divide one usage share a sheet."""

    def __init__(self, mask: BoolArray, count: int) -> None:
        self.units = np.ones(count)
        self._mask = mask
        self._share = mask.mean(axis=0)
        self._model_rows: list[int] = []
        self._model_usage: list[FloatArray] = []
        # Scaled usage and unit of each array that rows refer to, by its identity.
        self._scaled: dict[int, tuple[FloatArray, float]] = {}
        self._owners: list[tuple[int, IndexArray]] = []

    def add(self, k: int, row: Resource) -> None:
        if row.usage.ndim == 1 and row.prompts is None and row.model is None:
            usage = np.where(self._share > 0.0, row.usage, 0.0)
            size = float((np.abs(usage) * self._share).sum() / self._share.sum())
            self.units[k] = size or 1.0
            self._model_rows.append(k)
            self._model_usage.append(usage / self.units[k])
            return
        self.units[k] = self._scale(row.usage)
        prompts = 0 if row.prompts is None else row.prompts
        model = 0 if row.model is None else row.model
        self._owner_with_room(row)[prompts, model] = k

    def sheets(self) -> tuple[Sheet, ...]:
        return tuple(Sheet(self._scaled[key][0], owner) for key, owner in self._owners)

    def per_model(self) -> tuple[IndexArray, FloatArray]:
        m = self._mask.shape[1]
        usage = np.array(self._model_usage).reshape(len(self._model_rows), m)
        return np.array(self._model_rows, dtype=np.intp), usage

    def _scale(self, usage: FloatArray) -> float:
        """Return the unit of a usage, which is scaled when it is met for the first time."""
        key = id(usage)
        if key not in self._scaled:
            cells = np.where(self._mask, usage, 0.0)
            unit = float(np.abs(cells).sum() / self._mask.sum()) or 1.0
            cells /= unit
            self._scaled[key] = cells, unit
        return self._scaled[key][1]

    def _owner_with_room(self, row: Resource) -> IndexArray:
        """Return the owners of a sheet over the row's usage in which the row's cells are free."""
        n, m = self._mask.shape
        none = len(self.units)
        shape = (1 if row.prompts is None else n, 1 if row.model is None else m)
        prompts = 0 if row.prompts is None else row.prompts
        model = 0 if row.model is None else row.model
        for key, owner in self._owners:
            is_alike = key == id(row.usage) and owner.shape == shape
            if is_alike and (owner[prompts, model] == none).all():
                return owner
        owner = np.full(shape, none, dtype=np.intp)
        self._owners.append((id(row.usage), owner))
        return owner
