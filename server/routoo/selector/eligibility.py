"""Eligibility of models per prompt, and the constraint that removed a prompt's last model."""

from dataclasses import dataclass

import numpy as np

from routoo.selector.arrays import BoolArray, FloatArray, IndexArray, enough

BASE = "pool"


@dataclass(frozen=True, slots=True)
class _Limit:
    """A constraint on figures.

    Attributes:
        limits: float64 [n], each row's limit.
        nearest: float64 [n], the nearest figure that it refused.
        is_upper: the limit is an upper one; else a lower one.
    """

    limits: FloatArray
    nearest: FloatArray
    is_upper: bool

    def describe(self, row: int) -> str:
        limit, nearest = float(self.limits[row]), float(self.nearest[row])
        if self.is_upper:
            return f" {limit:.6g} (raise it by {enough(nearest - limit)} to admit one)"
        return f" {limit:.6g} (lower it by {enough(limit - nearest)} to admit one)"


@dataclass(frozen=True, slots=True)
class _Removal:
    """A constraint that removed the last model of some rows.

    Attributes:
        name: the constraint's name.
        emptied: bool [n], those rows.
        limit: its limits; None: it has none.
    """

    name: str
    emptied: BoolArray
    limit: _Limit | None


class Eligibility:
    """Narrows bool [n, m] constraint by constraint, in the order in which they are given.

    A constraint that no row sets takes hardly any time.

    Args:
        base: bool [n, m], cells that are eligible before any constraint.

    Attributes:
        mask: bool [n, m], cells that are eligible after the constraints so far.
    """

    __slots__ = ("_alive", "_removals", "mask")

    def __init__(self, base: BoolArray) -> None:
        self.mask = base
        self._alive: BoolArray = np.ones(len(base), dtype=np.bool_)
        self._removals: list[_Removal] = []
        self._settle(BASE, None)

    def keep(self, name: str, kept: BoolArray) -> None:
        """Keep the cells that are true in ``kept``, bool [n, m], or [m] for all rows."""
        self.mask = self.mask & kept
        self._settle(name, None)

    def at_most(self, name: str, figures: FloatArray, limits: FloatArray) -> None:
        """Keep the cells whose figure ([n, m] or [m]) does not exceed the row's limit.

        ``limits`` is float64 [n] in the unit of ``figures``; NaN stands for no limit.
        """
        if np.isnan(limits).all():
            return
        before = self.mask
        self.mask = before & ~(figures > limits[:, None])
        nearest = np.where(before, figures, np.inf).min(axis=1)
        self._settle(name, _Limit(limits, nearest, is_upper=True))

    def at_least(self, name: str, figures: FloatArray, limits: FloatArray) -> None:
        """Keep the cells whose figure ([n, m] or [m]) is not under the row's limit.

        ``limits`` is float64 [n] in the unit of ``figures``; NaN stands for no limit.
        """
        if np.isnan(limits).all():
            return
        before = self.mask
        self.mask = before & ~(figures < limits[:, None])
        nearest = np.where(before, figures, -np.inf).max(axis=1)
        self._settle(name, _Limit(limits, nearest, is_upper=False))

    @property
    def empty_rows(self) -> IndexArray:
        """Rows without a model, int [r], ascending."""
        return np.flatnonzero(~self._alive)

    def removed_by(self, row: int) -> str | None:
        """Return the constraint that removed the row's last model; None where one is left."""
        removal = self._removal(row)
        return None if removal is None else removal.name

    def describe(self, row: int) -> str | None:
        """Return one line that names the constraint that left no model, and how to relax it.

        None where a model is left.
        """
        removal = self._removal(row)
        if removal is None:
            return None
        amount = "" if removal.limit is None else removal.limit.describe(row)
        return f"{removal.name}{amount} leaves no eligible model"

    def _settle(self, name: str, limit: _Limit | None) -> None:
        """Note the rows that the last constraint has emptied."""
        alive: BoolArray = np.logical_or.reduce(self.mask, axis=1)
        emptied = self._alive & ~alive
        if emptied.any():
            self._removals.append(_Removal(name, emptied, limit))
            self._alive = alive

    def _removal(self, row: int) -> _Removal | None:
        return next((removal for removal in self._removals if removal.emptied[row]), None)
