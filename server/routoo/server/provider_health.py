"""Opens the health of providers, and keeps it over a reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.engine.health.tracker import ProviderHealth

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.config.settings import Settings
    from routoo.routing.pool import Pool
    from routoo.telemetry.health_metrics import HealthCounts


def open_health(
    settings: Settings, pool: Pool, counts: HealthCounts, clock_s: Callable[[], float]
) -> ProviderHealth | None:
    """Opens what is kept of the health of a pool's models; None: the settings do not want it.

    Args:
        settings: the section ``health``.
        pool: the models.
        counts: counts failures.
        clock_s: seconds on the clock of the decisions' times.
    """
    if not settings.health.enabled:
        return None
    return ProviderHealth(settings.health, pool, counts, clock_s=clock_s)


def renew_health(
    old: ProviderHealth | None,
    settings: Settings,
    pool: Pool,
    counts: HealthCounts,
    clock_s: Callable[[], float],
) -> ProviderHealth | None:
    """Returns the health for the next engine, with what is known of the models that stay.

    The arguments are those of ``open_health``.

    Args:
        old: that of the engine that serves.
        settings: the section ``health``.
        pool: the new models.
        counts: counts failures.
        clock_s: seconds on the clock of the decisions' times.
    """
    if old is None or not settings.health.enabled:
        return open_health(settings, pool, counts, clock_s)
    return old.succeeded_by(pool, settings.health)
