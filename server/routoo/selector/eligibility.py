"""Eligibility of models per prompt, and the constraint that removed a prompt's last model."""

from dataclasses import dataclass, field

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


@dataclass(slots=True, eq=False)
class Eligibility:
    """Narrows bool [n, m] constraint by constraint, in the order in which they are given.

    A constraint that no row sets takes hardly any time.

    Args:
        mask: bool [n, m], cells that are eligible before any constraint.

    Attributes:
        mask: bool [n, m], cells that are eligible after the constraints so far.
    """

    mask: BoolArray
    _alive: BoolArray | None = field(default=None, init=False)
    _removals: list[_Removal] = field(default_factory=list, init=False)

    def keep(self, name: str, kept: BoolArray) -> None:
        """Keep the cells that are true in ``kept``, bool [n, m], or [m] for all rows."""
        before = self.mask
        self.mask = before & kept
        self._settle(name, None, before)

    def at_most(self, name: str, figures: FloatArray, limits: FloatArray) -> None:
        """Keep the cells whose figure ([n, m] or [m]) does not exceed the row's limit.

        ``limits`` is float64 [n] in the unit of ``figures``; NaN stands for no limit.
        """
        if np.isnan(limits).all():
            return
        before = self.mask
        self.mask = before & ~(figures > limits[:, None])
        nearest = np.where(before, figures, np.inf).min(axis=1)
        self._settle(name, _Limit(limits, nearest, is_upper=True), before)

    def at_least(self, name: str, figures: FloatArray, limits: FloatArray) -> None:
        """Keep the cells whose figure ([n, m] or [m]) is not under the row's limit.

        ``limits`` is float64 [n] in the unit of ``figures``; NaN stands for no limit.
        """
        if np.isnan(limits).all():
            return
        before = self.mask
        self.mask = before & ~(figures < limits[:, None])
        nearest = np.where(before, figures, -np.inf).max(axis=1)
        self._settle(name, _Limit(limits, nearest, is_upper=False), before)

    @property
    def empty_rows(self) -> IndexArray:
        """Rows without a model, int [r], ascending."""
        return np.flatnonzero(~self._with_models(self.mask))

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

    def _settle(self, name: str, limit: _Limit | None, before: BoolArray) -> None:
        """Note the rows that the last constraint has emptied, of those that ``before`` had not."""
        had = self._with_models(before)
        self._alive = np.logical_or.reduce(self.mask, axis=1)
        emptied = had & ~self._alive
        if emptied.any():
            self._removals.append(_Removal(name, emptied, limit))

    def _with_models(self, mask: BoolArray) -> BoolArray:
        """Return the rows that have a model, bool [n]; those without any are the pool's."""
        if self._alive is None:
            self._alive = np.logical_or.reduce(mask, axis=1)
            if not self._alive.all():
                self._removals.append(_Removal(BASE, ~self._alive, None))
        return self._alive

    def _removal(self, row: int) -> _Removal | None:
        self._with_models(self.mask)
        return next((removal for removal in self._removals if removal.emptied[row]), None)
