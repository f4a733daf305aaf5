"""Choices within what is left of the limits of providers.

Models whose limit is full are not eligible. Of requests that come together and want more than is
left, those keep a model that lose most by their second best; the others choose again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from routoo.errors import LimitReachedError
from routoo.pricing.capacity import CapacityDemand, CapacityTerms
from routoo.routing.arms.limit_rows import cell_amounts
from routoo.routing.arms.limits_left import LimitLeft
from routoo.routing.arms.usage_limits import KINDS
from routoo.routing.constraints import Narrowing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.engine.booking.single import Booked
    from routoo.engine.limits.guard import LimitGuard
    from routoo.pricing.capacity import CapacityPricing
    from routoo.routing.arms.limit_rows import LimitRows, LimitState
    from routoo.routing.decision import Chosen, Decision, Prepared
    from routoo.routing.estimates import Estimates
    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray

_SOLVE_AGAIN_S: Final = 1.0
_ONE: Final = np.ones((1, 1))
_S_PER_MS: Final = 1e-3
_LITTLE: Final = 1e-9


def terms_of(rows: LimitRows, limits: FloatArray) -> CapacityTerms:
    """Returns the rows for pricing, with the part of each limit that this process may use."""
    return CapacityTerms(limits, rows.priced, rows.members, rows.concurrent)


class ProviderLimits:
    """Keeps choices within the limits of providers. Called from several threads.

    Attributes:
        guard: counts what is used.
        pricing: the prices of the limits.

    Args:
        guard: counts what is used.
        pricing: the prices of the same limits.
    """

    def __init__(self, guard: LimitGuard, pricing: CapacityPricing) -> None:
        self.guard = guard
        self.pricing = pricing
        self._rows = guard.rows
        self._apart = guard.rows.members.T.astype(np.float64) @ guard.rows.members == 0.0

    def choose(self, prepared: Prepared, choose: Callable[..., Chosen]) -> tuple[Prepared, Chosen]:
        """Chooses within what is left, and counts the choices.

        Args:
            prepared: the input of the choice.
            choose: chooses for all rows, each by its own figures; called with the input and, when
                it is not for the first time, with ``again=True``.

        Returns:
            The input, with the models that were full left out, and the choice; -1 in rows that
            nothing is left for.
        """
        prepared = self.charged(prepared)
        if self.guard.is_scarce:
            prepared = self._without_full(prepared, None)
        chosen = choose(prepared)
        waiting = np.flatnonzero(chosen.choice >= 0)
        while waiting.size:
            granted = self._reserve(prepared, chosen.choice, waiting, all_or_nothing=True)
            if not granted.all():
                waiting = waiting[np.argsort(-self._losses(prepared, chosen.choice, waiting))]
                granted = self._reserve(prepared, chosen.choice, waiting)
            if granted.all():
                break
            waiting = waiting[~granted]
            prepared = self._without_full(prepared, waiting)
            chosen = choose(prepared, again=True)
            waiting = waiting[chosen.choice[waiting] >= 0]
        return prepared, chosen

    def charged(self, prepared: Prepared) -> Prepared:
        """Returns the input with what the limits' prices take off each score."""
        prices = self.pricing.in_force
        charges = None
        if prices.weights is not None:
            charges = prices.charges(_amounts(prepared.estimates))
        if charges is None:
            return prepared
        binding = tuple(
            name
            for name, price in zip(self._rows.names, prices.per_row.tolist(), strict=True)
            if price > 0.0
        )
        couplings = [(*names, *binding) for names in prepared.couplings]
        of_cells = np.broadcast_to(charges, prepared.case.scores.shape)
        return replace(prepared.with_case(charges=of_cells), couplings=couplings)

    def observe(self, prepared: Prepared, chosen: Chosen) -> None:
        """Tells the prices of requests; those that no price can move count as they were chosen."""
        case = prepared.case
        fixed = None if chosen.priced.all() else np.where(chosen.priced, -1, chosen.choice)
        self.pricing.observe(
            CapacityDemand(
                case.scores,
                case.costs_usd,
                case.prices,
                case.mask if prepared.unlimited is None else prepared.unlimited,
                _amounts(prepared.estimates),
                fixed,
            )
        )

    def follow(self, prepared: Prepared, choice: IndexArray, booked: Booked) -> IndexArray:
        """Counts what the booking changed: rows that got another model, or none.

        Args:
            prepared: the input of the choice.
            choice: int [n], the choice that is counted.
            booked: the choice as it was booked.

        Returns:
            int, the rows whose new model is full.
        """
        moved = np.flatnonzero(choice != booked.choice)
        if not moved.size:
            return moved
        self.guard.release([prepared.ids[row] for row in moved.tolist()])
        again = moved[booked.choice[moved] >= 0]
        if not again.size:
            return again
        granted = self._reserve(prepared, booked.choice, again)
        full = again[~granted]
        if full.size:
            kept = np.ones(prepared.case.mask.shape, np.bool_)
            kept[full] = False
            first = int(full[0])
            row = self._fullest(prepared.estimates, first, int(booked.choice[first]))
            prepared.eligibility.keep(self._rows.names[row], kept)
        return full

    def count_refused(self, prepared: Prepared, choice: IndexArray) -> int:
        """Returns how many rows of a choice, int [n], have no model for the sake of a limit."""
        empty = np.flatnonzero(choice < 0).tolist()
        names = set(self._rows.names)
        return sum(prepared.eligibility.removed_by(row) in names for row in empty)

    def error(self, prepared: Prepared, row: int) -> LimitReachedError | None:
        """Returns the error of a row without a model; None: no limit took the last one."""
        name = prepared.eligibility.removed_by(row)
        if name not in self._rows.names:
            return None
        at = self._rows.names.index(name)
        amounts = self._of_cells(prepared.estimates, at)
        return limit_error(self.guard, at, float(amounts[row, self._rows.members[at]].min()))

    def take_one(self, new: Decision) -> str:
        """Counts a decision that was made on its own.

        Returns:
            The message about the limit that has not enough left; empty: it is counted.
        """
        estimates, row = new.batch.estimates, new.row
        column = new.batch.choices[row]
        amounts = _chosen_amounts(estimates, np.array([row]), np.array([column]))
        if self.guard.reserve([new.decision_id], np.array([column]), amounts).all():
            return ""
        return f"{self._rows.names[self._fullest(estimates, row, column)]} is used up"

    def left(self) -> tuple[LimitLeft, ...]:
        """Returns what is left of each limit, for a batch that is decided as a whole."""
        return tuple(
            LimitLeft(name, KINDS[kind], tuple(np.flatnonzero(members).tolist()), left)
            for name, kind, members, left in zip(
                self._rows.names,
                self._rows.kinds.tolist(),
                self._rows.members,
                self.guard.left().tolist(),
                strict=True,
            )
        )

    def fits(self, left: Sequence[LimitLeft], prepared: Prepared, choice: IndexArray) -> bool:
        """Returns whether a whole choice, int [n], is within what is left."""
        amounts = _chosen_amounts(prepared.estimates, np.arange(len(choice)), choice)
        used = ((self._rows.counted @ amounts.T) * self._rows.members[:, choice]).sum(axis=1)
        return all(amount <= one.left for amount, one in zip(used.tolist(), left, strict=True))

    def reserve_all(self, prepared: Prepared, choice: IndexArray) -> bool:
        """Counts a whole choice, int [n], or nothing where it does not fit."""
        rows = np.arange(len(choice))
        return bool(self._reserve(prepared, choice, rows, all_or_nothing=True).all())

    def states(self) -> list[LimitState]:
        """Returns the limits, in the order of their rows."""
        return self.guard.states(self.pricing.in_force.per_row)

    def close(self) -> None:
        """Stops the thread that solves for prices."""
        self.pricing.close()

    def _reserve(
        self,
        prepared: Prepared,
        choice: IndexArray,
        rows: IndexArray,
        *,
        all_or_nothing: bool = False,
    ) -> BoolArray:
        columns, ids = choice[rows], prepared.ids
        whole = all_or_nothing and len(rows) == len(ids)
        return self.guard.reserve(
            ids if whole else [ids[row] for row in rows.tolist()],
            columns,
            _chosen_amounts(prepared.estimates, rows, columns),
            all_or_nothing=all_or_nothing,
        )

    def _of_cells(self, estimates: Estimates, row: int) -> FloatArray:
        """Returns what cells count in a limit if they are of it, float64 [n, m]."""
        kind = KINDS[int(self._rows.kinds[row])]
        amounts = cell_amounts(kind, estimates.input_tokens, estimates.output_tokens)
        return np.broadcast_to(amounts, estimates.scores.shape)

    def _without_full(self, prepared: Prepared, rows: IndexArray | None) -> Prepared:
        """Leaves out the cells that no longer fit, in some rows; None: in all."""
        before = prepared.case.mask
        eligibility, narrowings = prepared.eligibility, list(prepared.narrowings)
        others = None
        if rows is not None:
            others = np.ones((len(before), 1), np.bool_)
            others[rows] = False
        for at, left in enumerate(self.guard.left().tolist()):
            kept = (self._of_cells(prepared.estimates, at) <= left) | ~self._rows.members[at]
            if others is not None:
                kept |= others
            cells = np.count_nonzero(eligibility.mask)
            eligibility.keep(self._rows.names[at], kept)
            if np.count_nonzero(eligibility.mask) < cells:
                narrowings.append(Narrowing(self._rows.names[at], eligibility.mask))
        if len(narrowings) == len(prepared.narrowings):
            return prepared
        return replace(
            prepared.with_case(mask=eligibility.mask),
            narrowings=tuple(narrowings),
            unlimited=before if prepared.unlimited is None else prepared.unlimited,
        )

    def _losses(self, prepared: Prepared, choice: IndexArray, rows: IndexArray) -> FloatArray:
        """Returns what rows lose by their second best, float64 [k]; infinite where there is none.

        The second best is one that counts in none of the limits that the choice counts in.
        """
        case = prepared.case
        worth = case.scores[rows] - case.prices[rows, None] * case.costs_usd[rows]
        if case.charges is not None:
            worth -= case.charges[rows]
        apart = case.mask[rows] & self._apart[choice[rows]]
        second = np.where(apart, worth, -np.inf).max(axis=1)
        losses: FloatArray = worth[np.arange(len(rows)), choice[rows]] - second
        return losses

    def _fullest(self, estimates: Estimates, row: int, column: int) -> int:
        """Returns the limit that lacks most for a cell."""
        lacks = [
            float(self._of_cells(estimates, at)[row, column]) / max(left, _LITTLE)
            if member
            else 0.0
            for at, (left, member) in enumerate(
                zip(
                    self.guard.left().tolist(),
                    self._rows.members[:, column].tolist(),
                    strict=True,
                )
            )
        ]
        return int(np.argmax(lacks))


def _chosen_amounts(estimates: Estimates, rows: IndexArray, columns: IndexArray) -> FloatArray:
    """Returns the counted amounts of cells, float64 [r, 3]."""
    amounts = np.empty((len(rows), 3))
    amounts[:, 0] = 1.0
    amounts[:, 1] = estimates.input_tokens[rows, columns]
    amounts[:, 2] = estimates.output_tokens[rows, columns]
    return amounts


def _amounts(estimates: Estimates) -> Sequence[FloatArray]:
    """Returns the priced amounts of all cells, float64 [n, m] each; of the latency, in seconds."""
    return (
        _ONE,
        estimates.input_tokens,
        estimates.output_tokens,
        estimates.latencies_ms * _S_PER_MS,
    )


def lost_limits() -> LimitReachedError:
    """Returns the error for a batch that twice did not fit as it was solved."""
    return LimitReachedError(
        "other requests took what this batch needs of the limits of providers while it was solved,"
        " twice; nothing was booked, send it again",
        retry_after_s=_SOLVE_AGAIN_S,
    )


def limit_error(guard: LimitGuard, row: int, amount: float) -> LimitReachedError:
    """Returns the error of a request that a limit refuses, and counts it.

    Args:
        guard: counts what is used.
        row: the limit.
        amount: what the request would count in it.
    """
    name, limit = guard.rows.names[row], guard.limits[row]
    if amount > limit:
        return LimitReachedError(
            f"the request counts {amount:.0f} in {name}, of which this process may use"
            f" {limit:.0f}; shorten it, allow another model, or raise the limit in the pool file",
            limit=name,
        )
    wait_s = guard.refused(row, amount)
    return LimitReachedError(
        f"{name} is used up: {limit:.0f} at most by this process; try again in {wait_s:.1f} s,"
        " allow another model, or raise the limit in the pool file",
        limit=name,
        retry_after_s=wait_s,
    )
