"""Keeps the breakers of models and providers by what is reported, and tells choices of them."""

from __future__ import annotations

import threading
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
import structlog

from routoo.routing.health.breakers import Breakers, BreakerState
from routoo.routing.health.failures import Cause
from routoo.routing.health.overview import HealthOverview, UnitHealth
from routoo.routing.health.rows import HealthRows
from routoo.routing.health.units import Units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from routoo.config.sections.health import HealthSettings
    from routoo.routing.decision import Decision
    from routoo.routing.health.breakers import Transition
    from routoo.routing.health.failures import ProviderFailure
    from routoo.routing.outcome import OutcomeReport
    from routoo.routing.pool import Pool
    from routoo.telemetry.health_metrics import HealthCounts

_log = structlog.get_logger("routoo.health")


class ProviderHealth:
    """Keeps the health of a pool's models and of their providers. Thread-safe.

    Whoever chooses reads ``is_well`` first: while it is true there is nothing else to ask, and no
    lock is taken.

    Args:
        settings: section ``health``.
        pool: the models.
        counts: counts failures.
        clock_s: seconds on a clock that never goes back, that of the decisions' times.
        random: draws the requests that may go to models whose share rises.

    Attributes:
        is_well: whether every request may go to every model.
        counts: counts failures.
    """

    def __init__(
        self,
        settings: HealthSettings,
        pool: Pool,
        counts: HealthCounts,
        *,
        clock_s: Callable[[], float] = monotonic,
        random: np.random.Generator | None = None,
    ) -> None:
        self.is_well = True
        self._settings = settings
        self._units = Units.of(pool)
        self._breakers = Breakers(settings, self._units.provider_of, len(self._units.providers))
        self.counts = counts
        self._clock_s = clock_s
        self._random = np.random.default_rng() if random is None else random
        self._lock = threading.Lock()

    def succeeded_by(self, pool: Pool, settings: HealthSettings) -> ProviderHealth:
        """Returns the health of another pool's models; those of the same name keep their state."""
        new = ProviderHealth(
            settings, pool, self.counts, clock_s=self._clock_s, random=self._random
        )
        before = {key: unit for unit, key in enumerate(self._units.key)}
        with self._lock:
            for unit, key in enumerate(new._units.key):
                if key in before:
                    new._breakers.take(unit, self._breakers, before[key])
        new.is_well = new._breakers.all_closed
        return new

    def rows(self, n: int) -> HealthRows | None:
        """Returns the columns that n requests may go to; None: all of them.

        Args:
            n: the number of requests, at least 1.
        """
        if self.is_well:
            return None
        with self._lock:
            admission = self._breakers.admit(n, self._clock_s(), self._random)
            changes = self._changed()
        self._tell(changes)
        return None if self.is_well else HealthRows.of(admission, self._units.model_of)

    def asked(self, columns: Sequence[int], rows: HealthRows) -> None:
        """Notes the choice for the requests that got ``rows``; -1: none.

        It has to be called, as probes on their way are counted.
        """
        models = self._units.model_of
        probes = [int(models[one]) for one in columns if one >= 0 and rows.probed[one]]
        if probes:
            with self._lock:
                self._breakers.asked(probes, self._clock_s())

    def reported(self, outcome: OutcomeReport, model: str, asked_s: float | None) -> None:
        """Notes what a report tells of a model; the arguments are those of ``failed``."""
        if outcome.tenant is not None and not self._settings.tenants_report:
            return
        if asked_s is None:
            asked_s = self._clock_s() - outcome.age_s
        if outcome.failure is not None:
            self.failed(model, outcome.failure, asked_s)
        elif outcome.error or (outcome.estimated and not outcome.status):
            self.refused(model)  # or the caller left before there was a reply
        else:
            self.worked(model, asked_s)

    def failed(self, model: str, failure: ProviderFailure, asked_s: float | None = None) -> None:
        """Notes that a request failed at a model.

        Args:
            model: the model's name in the pool, without an arm; one that the pool lacks is passed
                over.
            failure: the way in which it failed.
            asked_s: when the request was decided, by the same clock; None: now.
        """
        at = self._units.of_model.get(model)
        if at is None:
            return
        if failure.cause is Cause.CREDENTIALS and not self._settings.credentials:
            self.refused(model)
            return
        labels = (self._units.provider(at), model, failure.cause.label)
        self.counts.failures.labels(*labels).inc()
        with self._lock:
            self._breakers.failed(at, failure, self._clock_s(), asked_s)
            changes = self._changed()
        self._tell(changes)

    def worked(self, model: str, asked_s: float | None = None) -> None:
        """Notes that a model has answered; the arguments are those of ``failed``."""
        at = self._units.of_model.get(model)
        if at is None:
            return
        with self._lock:
            self._breakers.worked(at, self._clock_s(), asked_s)
            changes = self._changed()
        self._tell(changes)

    def refused(self, model: str) -> None:
        """Notes that a model refused a request for the caller's own fault, which tells nothing."""
        at = self._units.of_model.get(model)
        if at is not None and not self.is_well:
            with self._lock:
                self._breakers.answered(at, self._clock_s())

    def undone(self, decisions: Iterable[Decision]) -> None:
        """Makes room for other probes where decisions went to nobody."""
        for decision in decisions:
            rows, column = decision.batch.health, decision.batch.choices[decision.row]
            if rows is not None and rows.probed[column]:
                self.refused(decision.model)

    def overview(self) -> HealthOverview:
        """Returns the health of all models and providers."""
        breakers, units = self._breakers, self._units
        with self._lock:
            now_s = self._clock_s()
            shares = breakers.shares(now_s)
            found = [self._state(unit, float(shares[unit]), now_s) for unit in range(len(shares))]
            changes = self._changed()
        self._tell(changes)
        k = len(units.models)
        of_provider = [found[k + seller].share for seller in units.provider_of.tolist()]
        return HealthOverview(
            tuple(
                replace(one, share=one.share * share)
                for one, share in zip(found[:k], of_provider, strict=True)
            ),
            tuple(one for one in found[k:] if one.provider),
        )

    def _state(self, unit: int, share: float, now_s: float) -> UnitHealth:
        breakers, units = self._breakers, self._units
        began_s = float(breakers.since_s[unit])
        return UnitHealth(
            model=units.models[unit] if unit < len(units.models) else "",
            provider=units.provider(unit),
            state=BreakerState(breakers.states[unit]),
            cause=Cause(breakers.causes[unit]),
            since_s=max(0.0, now_s - began_s) if np.isfinite(began_s) else None,
            share=share,
            opened=int(breakers.opened[unit]),
        )

    def _changed(self) -> list[Transition]:
        """Returns what has changed; called with the lock."""
        self.is_well = self._breakers.all_closed
        return self._breakers.changes()

    def _tell(self, changes: Sequence[Transition]) -> None:
        for change in changes:
            unit, units = change.unit, self._units
            is_model = unit < len(units.models)
            model, provider = units.models[unit] if is_model else "", units.provider(unit)
            if not is_model and not provider:
                continue  # it stands for its one model
            cause = change.cause.label
            told = {"model": model, "provider": provider, "cause": cause}
            if change.after is BreakerState.OPEN:
                self.counts.opens.labels(provider, model, cause).inc()
                pause_s = round(change.pause_s, 3)
                _log.warning("left out, as it fails", **told, pause_s=pause_s)
            elif change.after is BreakerState.RISING:
                _log.info("answers again", **told)
            elif change.after is BreakerState.CLOSED:
                _log.info("gets all requests again", **told)
