"""The explorer, which puts a drawn model in place of the best one in a share of the decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from routoo.routing.exploring import Explored
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

# One request may take this part of what is at hand, and the requests that are decided with it are
# taken to be explored so many times as often as on the average, so that hardly ever a drawn model
# finds that another one has taken its money: the probabilities would not be those of the choice.
_PART: Final = 0.5
_MORE: Final = 4.0
_NOT_DRAWN: Final = np.zeros(1, np.bool_)


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

        Args:
            requests: the n requests.
            choose: chooses the best models, as ``ProviderLimits.choose`` calls it.
        """
        share = self.purse.share
        if share <= 0.0:
            return choose
        return _Round(self._rule, self.purse, self._counts, requests, choose, share).choose

    def settled(self, prepared: Prepared, chosen: Chosen, booked: Booked | None) -> Chosen:
        """Returns the choice as it came out after the booking, and counts what was explored.

        Where its budgets could not pay for a drawn model, its money goes back, and the row counts
        as chosen by the policy.
        """
        explored = chosen.explored
        if explored is None:
            return chosen
        if booked is not None and (booked.choice != chosen.choice).any():
            lost = booked.choice != chosen.choice
            back = explored.drawn & lost
            self._give_back(prepared, chosen.choice, explored, back)
            explored = replace(
                explored,
                drawn=explored.drawn & ~lost,
                propensity=np.where(
                    lost & (explored.propensity < 1.0), np.nan, explored.propensity
                ),
            )
            chosen = replace(
                chosen,
                choice=np.where(back, explored.best, chosen.choice),
                reasons=np.where(back, explored.reasons, chosen.reasons),
                explored=explored,
            )
        if explored.drawn.any():
            rows = np.flatnonzero(explored.drawn)
            for column in chosen.choice[rows].tolist():
                self._counts.explored.labels(self._names[column]).inc()
            extra_usd = _extra_usd(prepared, explored.best, chosen.choice)[rows]
            self._counts.cost_usd.inc(float(extra_usd.sum()))
        return chosen

    def _give_back(
        self, prepared: Prepared, choice: IndexArray, explored: Explored, rows: BoolArray
    ) -> None:
        give_back(self.purse, self._counts, _extra_usd(prepared, explored.best, choice)[rows])


class _Round:
    """The choice for one batch of requests.

    Rows that choose again, as a limit had no room for their first choice, are not explored then.
    """

    def __init__(
        self,
        rule: Exploration,
        purse: Purse,
        counts: ExplorationCounts,
        requests: Sequence[PromptRequest],
        choose: Callable[..., Chosen],
        share: float,
    ) -> None:
        self._rule = rule
        self._purse = purse
        self._counts = counts
        self._requests = requests
        self._choose = choose
        self._share = share
        self._most_usd = purse.left_usd * _PART / max(1.0, _MORE * share * len(requests))
        self._mask: BoolArray | None = None
        self._before: tuple[IndexArray, Explored] | None = None

    def choose(self, prepared: Prepared, *, again: bool = False) -> Chosen:
        """Chooses, and explores; see ``ProviderLimits.choose``."""
        chosen = self._choose(prepared, again=again)
        if not again:
            self._mask = prepared.case.mask
            stds = prepared.estimates.score_std
            if stds is not None:
                one = len(chosen.choice) == 1
                self._before = (self._of_one if one else self._of_all)(prepared, chosen, stds)
        elif self._before is not None:
            self._before = self._once_more(prepared, chosen, *self._before)
        if self._before is None:
            return chosen
        choice, explored = self._before
        if not explored.drawn.any():
            return replace(chosen, explored=explored)
        return replace(
            chosen,
            choice=choice,
            reasons=np.where(explored.drawn, np.int8(Reason.EXPLORED), chosen.reasons),
            priced=chosen.priced & ~explored.drawn,
            explored=explored,
        )

    def _of_one(
        self, prepared: Prepared, chosen: Chosen, stds: FloatArray
    ) -> tuple[IndexArray, Explored] | None:
        """Explores a single request; if it is not drawn, without arrays, which take longer."""
        case, best = prepared.case, chosen.choice.item(0)
        start = start_of(self._rule.seed, SHARE, prepared.prefix)
        if draw(start, case.tickets.item(0)) < self._share:
            return self._of_all(prepared, chosen, stds)
        if not self._rule.has_other(case, best, stds, self._most_usd):
            return None
        if not _open_rows(self._requests, prepared, chosen)[0]:
            return None
        most_usd = np.array([self._most_usd])
        odds = np.array([1.0 - self._share])
        return chosen.choice, Explored(
            chosen.choice, chosen.reasons, _NOT_DRAWN, odds, self._share, most_usd
        )

    def _of_all(
        self, prepared: Prepared, chosen: Chosen, stds: FloatArray
    ) -> tuple[IndexArray, Explored] | None:
        case, best, n = prepared.case, chosen.choice, len(chosen.choice)
        most_usd = np.full(n, self._most_usd)
        others = self._rule.others(case, best, stds, most_usd)
        others[~_open_rows(self._requests, prepared, chosen)] = False
        if not others.any():
            return None
        uniforms = self._rule.uniforms([prepared.prefix] * n, case.tickets)
        found = drawn(case, best, others, stds, np.full(n, self._share), uniforms)
        explored = Explored(
            best, chosen.reasons, found.drawn, found.propensity, self._share, most_usd
        )
        extra_usd = _extra_usd(prepared, best, found.choice)
        for row in np.flatnonzero(found.drawn).tolist():
            if not self._purse.pay(extra_usd.item(row)):
                found.choice[row] = best[row]
                found.drawn[row] = False
                found.propensity[row] = np.nan
                self._counts.withdrawn.inc()
        return found.choice, explored

    def _once_more(
        self, prepared: Prepared, chosen: Chosen, choice: IndexArray, before: Explored
    ) -> tuple[IndexArray, Explored]:
        changed = (prepared.case.mask != self._mask).any(axis=1)
        back = before.drawn & changed
        if back.any():
            give_back(self._purse, self._counts, _extra_usd(prepared, before.best, choice)[back])
        kept = before.drawn & ~changed
        return np.where(kept, choice, chosen.choice), replace(
            before,
            best=chosen.choice,
            reasons=chosen.reasons,
            drawn=kept,
            propensity=np.where(changed & (before.propensity < 1.0), np.nan, before.propensity),
        )


def give_back(purse: Purse, counts: ExplorationCounts, amounts_usd: FloatArray) -> None:
    """Gives back what was paid for drawn models that do not answer, float64 [k], and counts it."""
    for amount_usd in amounts_usd.tolist():
        purse.give_back(amount_usd)
        counts.withdrawn.inc()


def _extra_usd(prepared: Prepared, best: IndexArray, choice: IndexArray) -> FloatArray:
    """Returns what choices are expected to cost beyond the best, at least 0, float64 [n]."""
    costs_usd, rows = prepared.case.costs_usd, np.arange(len(choice))
    return np.maximum(0.0, costs_usd[rows, choice] - costs_usd[rows, best])


def _open_rows(requests: Sequence[PromptRequest], prepared: Prepared, chosen: Chosen) -> BoolArray:
    """Returns the requests that may be explored, bool [n].

    Those are chosen for by score and price, without a named model, and not within a conversation:
    its later turns stay with the model of the first.

    Args:
        requests: the n requests.
        prepared: the input of the choice.
        chosen: the choice of the policies.
    """
    found = chosen.priced & (chosen.choice >= 0)
    if prepared.turns is not None:
        rows = prepared.turns.rows
        found = found & (rows.current < 0) & (rows.ties == 0)
    if any(one.named for one in requests):
        found = found & np.array([not one.named for one in requests])
    return found
