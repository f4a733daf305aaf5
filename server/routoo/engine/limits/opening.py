"""Opens what keeps the limits of providers, and keeps it over a reload."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from routoo.engine.limits.choice import ProviderLimits, terms_of
from routoo.engine.limits.guard import LimitGuard
from routoo.errors import ConfigError
from routoo.pricing.capacity import CapacityPricing

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.config.settings import Settings
    from routoo.routing.pool import Pool


def check_limits(settings: Settings, pool: Pool) -> None:
    """Refuses limits that leave a process nothing.

    Raises:
        ConfigError: names the limit.
    """
    if pool.limits is None:
        return
    replicas, workers = settings.provider_limits.replicas, settings.workers
    shares = pool.limits.shares(replicas, workers, workers - 1)
    for name, limit, share in zip(
        pool.limits.names, pool.limits.limits.tolist(), shares.tolist(), strict=True
    ):
        if share < 1.0:
            raise ConfigError(
                f"{name} is {limit:.0f}, which {replicas * workers} processes cannot divide;"
                " lower workers or provider_limits.replicas, or raise the limit"
            )


def open_limits(
    settings: Settings,
    pool: Pool,
    worker: int,
    before: ProviderLimits | None = None,
    clock_s: Callable[[], float] = monotonic,
) -> ProviderLimits | None:
    """Starts to keep the limits of a pool; None: it has none.

    Args:
        settings: how limits are shared, and when a request is given up.
        pool: has the limits.
        worker: the number of this process among the workers of the service.
        before: what has kept the limits so far; what is used of limits of the same names counts on.
        clock_s: seconds on a clock that never goes back.
    """
    rows = pool.limits
    if rows is None:
        return None
    kept = settings.provider_limits
    shares = rows.shares(kept.replicas, settings.workers, worker)
    guard = LimitGuard(rows, shares, pool.names, kept.in_progress_timeout_s, clock_s)
    interval_s = settings.policy.prices.resolve_interval_s
    pricing = CapacityPricing(terms_of(rows, shares), guard.returning, interval_s, clock_s)
    if before is not None:
        guard.go_on_from(before.guard)
    pricing.start()
    return ProviderLimits(guard, pricing)
