"""The explorer, which puts a drawn model in place of the best one in a share of the decisions."""

from __future__ import annotations

from dataclasses import replace
from math import nan
from typing import TYPE_CHECKING, Final

import numpy as np

from routoo.engine.exploring.purse import most_extra_usd
from routoo.routing.exploring import DrawnRows, Explored
from routoo.selector.exploring.draws import draw, start_of
from routoo.selector.exploring.exploration import SHARE, drawn
from routoo.selector.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.engine.booking.single import Booked
    from routoo.engine.exploring.purse import Purse
    from routoo.routing.decision import Chosen, Prepared
    from routoo.routing.request import PromptRequest
    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray
    from routoo.selector.exploring.exploration import Exploration
    from routoo.telemetry.exploration_counts import ExplorationCounts

# Of so many rows, numbers take less time than arrays.
_FEW: Final = 8


class Explorer:
    """Explores. Called from several threads.

    Args:
        rule: the rule for exploring.
        purse: the money for it.
        counts: counts what is explored.
        names: the names of the pool's columns.

    Attributes:
        purse: the money for it.
    """

    def __init__(
        self, rule: Exploration, purse: Purse, counts: ExplorationCounts, names: Sequence[str]
    ) -> None:
        self.purse = purse
        self._names = names
        self._rule = rule
        self._counts = counts
        counts.share.set_function(lambda: purse.share)

    def over(
        self, requests: Sequence[PromptRequest], choose: Callable[..., Chosen]
    ) -> Callable[..., Chosen]:
        """Returns a choice that explores beyond another one, for one batch of requests.

        Rows that choose again, as a limit had no room for their first choice, are not explored
        then.

        Args:
            requests: the n requests.
            choose: chooses the best models, as ``ProviderLimits.choose`` calls it.
        """
        first: tuple[BoolArray, Chosen] | None = None

        def choose_and_explore(prepared: Prepared, *, again: bool = False) -> Chosen:
            nonlocal first
            chosen = choose(prepared, again=again)
            if first is None:
                if not again:
                    chosen = self._explored(requests, prepared, chosen)
                    first = prepared.case.mask, chosen
                return chosen
            mask, before = first
            if before.explored is None:
                return chosen
            changed = (prepared.case.mask != mask).any(axis=1)
            chosen = self._kept(prepared, before, before.explored, chosen, ~changed)
            first = prepared.case.mask, chosen
            return chosen

        return choose_and_explore

    def settled(self, prepared: Prepared, chosen: Chosen, booked: Booked | None) -> Chosen:
        """Returns the choice as it came out after the booking, and counts what was explored.

        Where its budgets could not pay for a drawn model, its money goes back, and the row counts
        as chosen by the policy.
        """
        explored = chosen.explored
        if explored is None:
            return chosen
        if booked is not None:
            kept = booked.choice == chosen.choice
            if not kept.all():
                chosen = self._kept(prepared, chosen, explored, None, kept)
                explored = chosen.explored or explored
        if explored.drawn is not None:
            rows = np.flatnonzero(explored.drawn.rows)
            for column in chosen.choice[rows].tolist():
                self._counts.explored.labels(self._names[column]).inc()
            extra_usd = _extra_usd(prepared, explored.drawn.best, chosen.choice)[rows]
            self._counts.cost_usd.inc(float(extra_usd.sum()))
        return chosen

    def _explored(
        self, requests: Sequence[PromptRequest], prepared: Prepared, chosen: Chosen
    ) -> Chosen:
        """Explores beyond the first choice of a batch."""
        share, stds, n = self.purse.share, prepared.estimates.score_std, len(requests)
        if share <= 0.0 or stds is None:
            return chosen
        times = self._rule.unknown_times
        most_usd = most_extra_usd(self.purse.left_usd, share * times * n)
        if n > _FEW or times > 1.0:
            return self._drawn(requests, prepared, chosen, stds, share, most_usd)
        rule, case, choice = self._rule, prepared.case, chosen.choice
        start = start_of(rule.seed, SHARE, prepared.prefix)
        for ticket in case.tickets.tolist():
            if draw(start, ticket) < share:
                return self._drawn(requests, prepared, chosen, stds, share, most_usd)
        # None is drawn, as nearly always; what is left is whether one could have been.
        kept = 1.0 - share
        odds = [
            kept
            if chosen.priced.item(row)
            and rule.has_other(case, row, choice.item(row), stds, most_usd)
            else 1.0
            for row in range(n)
        ]
        if prepared.turns is not None or any(one.named for one in requests):
            for row, is_open in enumerate(_open_rows(requests, prepared, chosen).tolist()):
                odds[row] = odds[row] if is_open else 1.0
        chosen.explored = Explored(odds, [share] * n, most_usd)
        return chosen

    def _drawn(
        self,
        requests: Sequence[PromptRequest],
        prepared: Prepared,
        chosen: Chosen,
        stds: FloatArray,
        share: float,
        most_usd: float,
    ) -> Chosen:
        """Draws the models of a batch, and pays for them."""
        rule, case, best, n = self._rule, prepared.case, chosen.choice, len(requests)
        others = rule.others(case, best, stds, np.full(n, most_usd))
        others[~_open_rows(requests, prepared, chosen)] = False
        uniforms = rule.uniforms([prepared.prefix] * n, case.tickets)
        shares = rule.shares(others, stds, prepared.estimates.plain_std, share)
        found = drawn(case, best, others, stds, shares, uniforms)
        extra_usd = _extra_usd(prepared, best, found.choice)
        for row in np.flatnonzero(found.drawn).tolist():
            if not self.purse.pay(extra_usd.item(row)):
                found.choice[row] = best[row]
                found.drawn[row] = False
                found.propensity[row] = nan
                self._counts.withdrawn.inc()
        explored = Explored(found.propensity.tolist(), shares.tolist(), most_usd)
        if not found.drawn.any():
            chosen.explored = explored
            return chosen
        explored.drawn = DrawnRows(found.drawn, best, chosen.reasons)
        return replace(
            chosen,
            choice=found.choice,
            reasons=np.where(found.drawn, np.int8(Reason.EXPLORED), chosen.reasons),
            priced=chosen.priced & ~found.drawn,
            explored=explored,
        )

    def _kept(
        self,
        prepared: Prepared,
        before: Chosen,
        explored: Explored,
        again: Chosen | None,
        kept: BoolArray,
    ) -> Chosen:
        """Returns a choice in which only some rows keep what was drawn.

        How probable the choice of the others is, is not known, as it depends on what was drawn.

        Args:
            prepared: the input of the choice.
            before: the choice with what was drawn.
            explored: what was drawn.
            again: the choice by the policies for the other rows; None: the one for all.
            kept: bool [n].
        """
        odds = [
            one if keeps or one >= 1.0 else nan
            for one, keeps in zip(explored.propensity, kept.tolist(), strict=True)
        ]
        told = Explored(odds, explored.shares, explored.most_usd)
        was = explored.drawn
        if was is None:
            return replace(before if again is None else again, explored=told)
        lost = was.rows & ~kept
        if lost.any():
            for usd in _extra_usd(prepared, was.best, before.choice)[lost].tolist():
                self.purse.give_back(usd)
                self._counts.withdrawn.inc()
        best, reasons = was.best, was.reasons
        if again is not None:
            best, reasons = again.choice, again.reasons
        told.drawn = DrawnRows(was.rows, best, reasons).only(kept)
        rows = was.rows & kept
        return replace(
            before if again is None else again,
            choice=np.where(rows | ~was.rows if again is None else rows, before.choice, best),
            reasons=np.where(rows | ~was.rows if again is None else rows, before.reasons, reasons),
            priced=before.priced & ~rows if again is None else again.priced & ~rows,
            explored=told,
        )


def _extra_usd(prepared: Prepared, best: IndexArray, choice: IndexArray) -> FloatArray:
    """Returns what choices are expected to cost beyond the best, at least 0, float64 [n]."""
    costs_usd, rows = prepared.case.costs_usd, np.arange(len(choice))
    return np.maximum(0.0, costs_usd[rows, choice] - costs_usd[rows, best])


def _open_rows(requests: Sequence[PromptRequest], prepared: Prepared, chosen: Chosen) -> BoolArray:
    """Returns the requests that may be explored, bool [n].

    Those are chosen for by score and price, without a named model, and not within a conversation:
    its later turns stay with the model of the first.
    """
    found = chosen.priced & (chosen.choice >= 0)
    if prepared.turns is not None:
        rows = prepared.turns.rows
        found = found & (rows.current < 0) & (rows.ties == 0)
    if any(one.named for one in requests):
        found = found & np.array([not one.named for one in requests])
    return found
