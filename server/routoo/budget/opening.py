"""Opens the ledger that the settings ask for."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from routoo.budget.alone import Alone
from routoo.budget.books import Keeping
from routoo.budget.journal import Journal
from routoo.budget.journaling import TEND_INTERVAL_S, Journaling
from routoo.budget.memory import MemoryLedger
from routoo.budget.scopes import Scopes
from routoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.budget.ledger import Ledger
    from routoo.config.budget import BudgetSettings, LedgerSettings


def open_ledger(
    budgets: Sequence[BudgetSettings], settings: LedgerSettings, clock_ns: Callable[[], int]
) -> Ledger | None:
    """Opens the books; the caller closes them.

    Args:
        budgets: section ``budgets``.
        settings: section ``ledger``.
        clock_ns: nanoseconds since 1970, ``time.time_ns``.

    Returns:
        None without budgets.

    Raises:
        ConfigError: the journal is in use, damaged or cannot be opened; the extra ``redis`` is not
            installed.
    """
    if not budgets:
        return None
    terms = tuple(budget.terms() for budget in budgets)
    keeping = _keeping(settings)
    if settings.backend == "redis":
        return _open_redis(Scopes(terms), keeping, settings, clock_ns)
    journaling = None
    if settings.journal is not None:
        interval_s = settings.fsync_interval_s if settings.fsync == "interval" else TEND_INTERVAL_S
        journaling = Journaling(Journal(settings.journal), settings.fsync, interval_s)
    return MemoryLedger(terms, keeping, clock_ns, journaling)


def succeed(
    old: Ledger,
    budgets: Sequence[BudgetSettings],
    settings: LedgerSettings,
    clock_ns: Callable[[], int],
) -> Ledger:
    """A ledger of other budgets on the books of ``old``, which decisions in progress still use.

    Raises:
        ConfigError: Redis is away, so that what the old one has spent is not in the books yet.
    """
    terms = tuple(budget.terms() for budget in budgets)
    if isinstance(old, MemoryLedger):
        return old.succeeded_by(terms, _keeping(settings))
    if any(state.degraded for state in old.states()):
        raise ConfigError(
            "budgets: cannot change while Redis is away; reload again when it is back"
        )
    return _open_redis(Scopes(terms), _keeping(settings), settings, clock_ns)


def _keeping(settings: LedgerSettings) -> Keeping:
    return Keeping(
        ttl_ns=round(settings.reservation_ttl_s * 1e9),
        releases_expired=settings.on_expiry == "release",
        max_decisions=settings.max_decisions,
    )


def _open_redis(
    scopes: Scopes, keeping: Keeping, settings: LedgerSettings, clock_ns: Callable[[], int]
) -> Ledger:
    try:
        # Needed by those only who share budgets.
        from routoo.budget.redis_ledger import RedisLedger  # noqa: PLC0415
        from routoo.budget.redis_store import Connecting, RedisStore  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"ledger.backend: redis needs the Python package {error.name}; install routoo[redis]"
        ) from None
    connecting = Connecting(
        url=settings.redis_url,
        cluster=settings.redis_cluster,
        timeout_s=settings.redis_timeout_s,
        connections=settings.redis_connections,
        key_prefix=settings.key_prefix,
    )
    return RedisLedger(
        scopes,
        RedisStore(connecting, scopes, keeping),
        Alone(scopes, keeping, settings.local_share, clock_ns),
        max_probe_s=settings.redis_max_probe_s,
        jitter=random.Random(),  # noqa: S311 - spreads attempts, guards nothing
    )
