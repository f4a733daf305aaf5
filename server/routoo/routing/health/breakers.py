"""Circuit breakers of models and providers, as one state machine over arrays.

A breaker is closed while all is well. Failures open it (M. Nygard, "Release It!", 2007): so many in
a row, or a share of the requests of late, or one that tells when to come back. While it is open its
models are left out. After a pause, which doubles with each failed attempt, it is half open: a few
requests are let through. Once one of them is answered the share that is let through rises (Envoy's
slow start), and the breaker is closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from math import exp
from typing import TYPE_CHECKING, Final

import numpy as np

from routoo.routing.health.failures import OF_MODEL, OF_PROVIDER, WAITS, Cause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.config.sections.health import HealthSettings
    from routoo.routing.health.failures import ProviderFailure
    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray

FIRST_SHARE: Final = 0.1
"""The share of requests with which a recovered model begins."""
_NEVER = -np.inf
# A pause has doubled to the longest one by then, whatever the settings.
_MOST_DOUBLINGS = 64
_SEVERAL = 2


class BreakerState(IntEnum):
    """The state of a breaker; the numbers are those of the API."""

    CLOSED = 1
    """All requests may go there."""
    OPEN = 2
    """None may, until the pause is over."""
    HALF_OPEN = 3
    """A few may, to see whether it answers again."""
    RISING = 4
    """It answers again, and the share of the requests that may go there rises."""

    @property
    def label(self) -> str:
        """The name in metrics, logs and messages."""
        return self.name.lower()


# Plain numbers: numpy takes several times as long to compare with a member of an enumeration.
_CLOSED, _OPEN, _HALF_OPEN, _RISING = (int(one) for one in BreakerState)
_OUT = frozenset({_OPEN, _HALF_OPEN})


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of a breaker's state.

    Attributes:
        unit: whose breaker it is.
        before: its state before.
        after: its state after.
        cause: the cause of the last failure that counted.
        pause_s: the time in seconds for which it is open at most; 0: it is not open.
    """

    unit: int
    before: BreakerState
    after: BreakerState
    cause: Cause
    pause_s: float


@dataclass(frozen=True, slots=True)
class Admitted:
    """The models that n requests may go to, as far as their health is concerned.

    Attributes:
        mask: bool [n, k].
        probed: bool [k], the models that are half open, at most one row of which may ask them.
    """

    mask: BoolArray
    probed: BoolArray


class Breakers:
    """The breakers of k models, and of their p providers behind them. Not thread-safe.

    Times are seconds on a clock of the caller's; one that goes back stands still.

    Args:
        settings: section ``health``.
        provider_of: int [k], each model's provider, 0 to p - 1.
        providers: p.

    Attributes:
        states: int8 [k + p], values of ``BreakerState``.
        since_s: float64 [k + p], when the state began; -inf: it has not changed.
        causes: int8 [k + p], values of ``Cause``, of the last failure that counted.
        opened: int64 [k + p], how often each has opened.
    """

    def __init__(self, settings: HealthSettings, provider_of: IndexArray, providers: int) -> None:
        self._settings = settings
        self._provider_of = provider_of
        self._models = len(provider_of)
        units = self._models + providers
        self.states = np.full(units, BreakerState.CLOSED, np.int8)
        self.since_s = np.full(units, _NEVER)
        self.causes = np.zeros(units, np.int8)
        self.opened = np.zeros(units, np.int64)
        self._until_s = np.full(units, _NEVER)
        self._waits_s = np.full(units, _NEVER)  # until when the provider asked to wait
        self._heard_from_s = np.full(units, _NEVER)  # reports of older requests tell nothing
        self._in_a_row = np.zeros(units, np.int64)
        self._failed = np.zeros(units)
        self._told = np.zeros(units)
        self._told_s = np.zeros(units)
        self._doublings = np.zeros(units, np.int64)
        self._decided = 0  # requests that were decided while a breaker was not closed
        self._decided_before = np.zeros(units)  # of these, those until it opened
        self._asked = np.zeros(units, np.int64)  # probes on their way
        self._asked_s = np.full(units, _NEVER)
        self._hears_success = False
        self._out = 0  # units that are not closed
        self._now_s = _NEVER
        self._look_s = _NEVER  # until then, no state changes by time alone
        self._row: BoolArray | None = None  # the models that may be asked while all else is open
        self._none_probed = np.zeros(self._models, np.bool_)
        self._changes: list[Transition] = []

    @property
    def all_closed(self) -> bool:
        """Whether every request may go to every model."""
        return self._out == 0

    def changes(self) -> list[Transition]:
        """Returns the changes since the last call."""
        found, self._changes = self._changes, []
        return found

    def failed(
        self, model: int, failure: ProviderFailure, now_s: float, asked_s: float | None = None
    ) -> None:
        """Notes that a request failed at a model.

        Args:
            model: the model, 0 to k - 1.
            failure: the way in which it failed.
            now_s: the time.
            asked_s: when the request was decided; None: now.
        """
        now_s = self.advance(now_s)
        asked_s = now_s if asked_s is None else asked_s
        seller = self._seller(model)
        self._note_failure(model, failure, now_s, asked_s)
        cause = failure.cause
        is_probed = self.states[seller] == _HALF_OPEN and cause not in OF_MODEL
        if cause in OF_PROVIDER or is_probed:
            self._note_failure(seller, failure, now_s, asked_s)
        self._close_ranks(seller, cause, now_s)

    def worked(self, model: int, now_s: float, asked_s: float | None = None) -> None:
        """Notes that a model has answered; the arguments are those of ``failed``."""
        now_s = self.advance(now_s)
        asked_s = now_s if asked_s is None else asked_s
        self._hears_success = True
        seller = self._seller(model)
        was_out = self._is_out(seller)
        self._note_success(seller, now_s, asked_s)
        if was_out and self.states[seller] == _RISING:
            self._let_models_in(seller, now_s)
            # Their provider's rising share is theirs, too.
            if self._is_out(model):
                self._close(model, now_s)
        elif not was_out:
            self._note_success(model, now_s, asked_s)

    def answered(self, model: int, now_s: float) -> None:
        """Notes that a model refused a request for the caller's own fault, which tells nothing."""
        self.advance(now_s)
        for unit in (model, self._seller(model)):
            self._asked[unit] = max(0, int(self._asked[unit]) - 1)

    def admit(self, n: int, now_s: float, random: np.random.Generator) -> Admitted:
        """Returns the models that n requests may go to.

        Of models that are half open, one row at most is let through, while not too many probes are
        on their way: ``asked`` has to tell of those that are sent.

        Args:
            n: the number of requests, at least 1.
            now_s: the time.
            random: draws the requests that may go to models whose share rises.
        """
        now_s = self.advance(now_s)
        self._decided += n
        if self._row is not None:
            return Admitted(np.repeat(self._row[None], n, axis=0), self._none_probed)
        k, seller = self._models, self._provider_of + self._models
        shares = self._shares(now_s)
        left = shares[:k] * shares[seller]
        mask = np.repeat(left[None] >= 1.0, n, axis=0)
        if ((left > 0.0) & (left < 1.0)).any():
            # One draw for all models of a provider, so that its share is that of each of them.
            draws = random.random((n, len(shares) - k))
            mask |= draws[:, self._provider_of] < left
        probed = self._may_probe(now_s)
        if probed.any():
            mask[int(random.integers(n)), probed] = True
        return Admitted(mask, probed)

    def asked(self, models: Sequence[int], now_s: float) -> None:
        """Notes requests that are sent to models that are half open, one entry for each."""
        now_s = self.advance(now_s)
        for model in models:
            unit = self._prober(model)
            if self.states[unit] == _HALF_OPEN:
                self._asked[unit] += 1
                self._asked_s[unit] = now_s
                self._look_s = _NEVER

    def shares(self, now_s: float) -> FloatArray:
        """Returns the share of requests that may go to each unit, float64 [k + p], in [0, 1].

        That of a model is also bounded by its provider's.
        """
        return self._shares(self.advance(now_s))

    def advance(self, now_s: float) -> float:
        """Makes the changes that are due by time alone, and returns the time that counts."""
        self._now_s = max(self._now_s, now_s)  # which it stays where the other is no number
        now_s = self._now_s
        if now_s >= self._look_s and not self.all_closed:
            self._look(now_s)
        return now_s

    def _look(self, now_s: float) -> None:
        """Makes the changes that are due by time alone, and notes when the next one may be."""
        settings = self._settings
        passed = self._decided - self._decided_before
        early = (passed * settings.probe_share >= 1.0) & (now_s >= self.since_s + settings.open_s)
        due = (now_s >= self._until_s) | early
        due &= (self.states == _OPEN) & (now_s >= self._waits_s)
        for unit in np.flatnonzero(due).tolist():
            self._asked[unit] = 0
            self._turn(unit, BreakerState.HALF_OPEN, now_s)
        silent = (self.states == _HALF_OPEN) & (self._asked > 0)
        silent &= now_s >= self._asked_s + settings.probe_timeout_s
        for unit in np.flatnonzero(silent).tolist():
            self._asked[unit] = 0
            if not self._hears_success:
                # Whoever reports here tells of failures alone.
                self._rise(unit, now_s)
        risen = (self.states == _RISING) & (now_s >= self.since_s + settings.slow_start_s)
        for unit in np.flatnonzero(risen).tolist():
            self._close(unit, now_s)
        self._plan()

    def _plan(self) -> None:
        """Notes when the next change by time alone may be, and who may be asked until then."""
        settings = self._settings
        soonest_s = np.minimum(self._until_s, self.since_s + settings.open_s)
        first_s = np.where(self.states == _OPEN, np.maximum(self._waits_s, soonest_s), np.inf)
        waiting = (self.states == _HALF_OPEN) & (self._asked > 0)
        first_s[waiting] = self._asked_s[waiting] + settings.probe_timeout_s
        rising = self.states == _RISING
        first_s[rising] = self.since_s[rising] + settings.slow_start_s
        self._look_s = float(first_s.min())
        self._row = None
        if not rising.any() and not (self.states == _HALF_OPEN).any():
            closed = self.states == _CLOSED
            self._row = closed[: self._models] & closed[self._models + self._provider_of]

    def take(self, unit: int, other: Breakers, before: int) -> None:
        """Takes the state of a unit of another object, in which it is at ``before``."""
        for name in _KEPT:
            getattr(self, name)[unit] = getattr(other, name)[before]
        self._hears_success |= other._hears_success
        self._out = int(np.count_nonzero(self.states != _CLOSED))
        self._now_s, self._decided = max(self._now_s, other._now_s), other._decided

    def _seller(self, model: int) -> int:
        return self._models + int(self._provider_of[model])

    def _prober(self, model: int) -> int:
        """Returns the unit that a request to a model probes: its provider's, if that is out."""
        seller = self._seller(model)
        return seller if self._is_out(seller) else model

    def _is_out(self, unit: int) -> bool:
        return self.states[unit] in _OUT

    def _may_probe(self, now_s: float) -> BoolArray:
        k, seller = self._models, self._provider_of + self._models
        free = (self.states == _HALF_OPEN) & (self._asked < self._settings.probes)
        by_provider = free[seller] & (now_s >= self._waits_s[:k])
        provider_in = (self.states[seller] == _CLOSED) | (self.states[seller] == _RISING)
        found: BoolArray = by_provider | (free[:k] & provider_in)
        return found

    def _shares(self, now_s: float) -> FloatArray:
        shares = np.where(self.states == _CLOSED, 1.0, 0.0)
        rising = self.states == _RISING
        if rising.any():
            risen = (now_s - self.since_s[rising]) / self._settings.slow_start_s
            shares[rising] = np.minimum(1.0, FIRST_SHARE + (1.0 - FIRST_SHARE) * risen)
        return shares

    def _note_failure(
        self, unit: int, failure: ProviderFailure, now_s: float, asked_s: float
    ) -> None:
        settings, state = self._settings, self.states[unit]
        wait_s = 0.0
        if failure.retry_after_s is not None and failure.cause in WAITS:
            wait_s = min(failure.retry_after_s, settings.max_retry_after_s)
        if state == _OPEN:
            # Requests that were under way when it opened; the wish to wait holds all the same.
            self._waits_s[unit] = max(self._waits_s[unit], now_s + wait_s)
            return
        if asked_s < self._heard_from_s[unit]:
            return
        if state == _HALF_OPEN:
            self._open(unit, failure.cause, wait_s, now_s)
            return
        self._decay(unit, now_s)
        self._in_a_row[unit] += 1
        self._failed[unit] += 1.0
        self._told[unit] += 1.0
        is_share = self._told[unit] >= settings.min_requests and (
            self._failed[unit] >= settings.failure_share * self._told[unit]
        )
        if wait_s > 0.0 or self._in_a_row[unit] >= settings.failures or is_share:
            self._open(unit, failure.cause, wait_s, now_s)

    def _note_success(self, unit: int, now_s: float, asked_s: float) -> None:
        state = self.states[unit]
        if state not in _OUT:
            self._decay(unit, now_s)
            self._in_a_row[unit] = 0
            self._told[unit] += 1.0
            return
        # Of requests from before it opened, such as long streams, the end tells nothing. One that
        # was sent while it was open went there for lack of others, or by the caller's wish.
        opened_s = self._heard_from_s[unit]
        waits = state == _OPEN and now_s < max(
            self._waits_s[unit], opened_s + self._settings.open_s
        )
        if asked_s >= opened_s and not waits:
            self._rise(unit, now_s)

    def _decay(self, unit: int, now_s: float) -> None:
        left = exp(min(0.0, float(self._told_s[unit]) - now_s) / self._settings.window_s)
        self._failed[unit] *= left
        self._told[unit] *= left
        self._told_s[unit] = now_s

    def _close_ranks(self, seller: int, cause: Cause, now_s: float) -> None:
        """Leaves a provider out of whose models none is left, if they are several."""
        models = np.flatnonzero(self._provider_of == seller - self._models)
        if len(models) < _SEVERAL or self._is_out(seller):
            return
        if all(self._is_out(one) and self.causes[one] not in OF_MODEL for one in models.tolist()):
            wait_s = max(0.0, float(self._waits_s[models].min()) - now_s)
            self._open(seller, cause, wait_s, now_s)

    def _let_models_in(self, seller: int, now_s: float) -> None:
        """Closes the models of a provider that works again; those that fail yet open again."""
        mine = np.flatnonzero(self._provider_of == seller - self._models)
        for unit in mine.tolist():
            waits = now_s < self._waits_s[unit]
            if self._is_out(unit) and not waits and self.causes[unit] not in OF_MODEL:
                self._close(unit, now_s)

    def _open(self, unit: int, cause: Cause, wait_s: float, now_s: float) -> None:
        settings, doublings = self._settings, int(self._doublings[unit])
        pause_s = min(settings.open_s * 2.0**doublings, settings.max_open_s)
        self._until_s[unit] = now_s + pause_s
        self._waits_s[unit] = max(self._waits_s[unit], now_s + wait_s)
        self._doublings[unit] = min(doublings + 1, _MOST_DOUBLINGS)
        self._decided_before[unit] = self._decided
        self._heard_from_s[unit] = now_s
        self._forget(unit)
        self.causes[unit] = cause
        self.opened[unit] += 1
        longest_s = max(pause_s, float(self._waits_s[unit]) - now_s)
        self._turn(unit, BreakerState.OPEN, now_s, longest_s)

    def _rise(self, unit: int, now_s: float) -> None:
        self._forget(unit)
        self._turn(unit, BreakerState.RISING, now_s)
        if self._settings.slow_start_s == 0.0:
            self._close(unit, now_s)

    def _close(self, unit: int, now_s: float) -> None:
        self._doublings[unit] = 0
        if self.states[unit] != _RISING:
            self._forget(unit)
        self._turn(unit, BreakerState.CLOSED, now_s)

    def _forget(self, unit: int) -> None:
        """Forgets what was reported of a unit before."""
        self._in_a_row[unit] = 0
        self._failed[unit] = self._told[unit] = 0.0

    def _turn(self, unit: int, after: BreakerState, now_s: float, pause_s: float = 0.0) -> None:
        before = BreakerState(self.states[unit])
        self._out += int(before is BreakerState.CLOSED) - int(after is BreakerState.CLOSED)
        self._look_s, self._row = _NEVER, None
        self.states[unit] = after
        self.since_s[unit] = now_s
        cause = Cause(self.causes[unit])
        self._changes.append(Transition(unit, before, after, cause, pause_s))


_KEPT: Final = (
    *("states", "since_s", "causes", "opened", "_until_s", "_waits_s", "_heard_from_s"),
    *("_in_a_row", "_failed", "_told", "_told_s", "_doublings", "_asked", "_asked_s"),
    "_decided_before",
)
