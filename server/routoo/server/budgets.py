"""Opens the ledger and the prices, and keeps them over a reload."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from time import monotonic, time_ns
from typing import TYPE_CHECKING

from routoo.budget.clocks import SteadyClock
from routoo.budget.memory.books import Keeping
from routoo.budget.memory.journal import Journal
from routoo.budget.memory.ledger import MemoryLedger
from routoo.budget.memory.persistence import TEND_INTERVAL_S, Journaling
from routoo.budget.memory.spent import journal_spending
from routoo.budget.redis.alone import Alone
from routoo.budget.redis.lease import Leasing
from routoo.budget.scopes import Scopes
from routoo.engine.accounting import Accounting
from routoo.engine.booking.report_bound import ReportBound
from routoo.engine.booking.single import BudgetBooking
from routoo.engine.corrections.repricing import Repricing
from routoo.engine.limits.opening import open_limits
from routoo.engine.open_decisions import OpenDecisions
from routoo.engine.outcomes import OutcomeSettlement
from routoo.errors import ConfigError
from routoo.pricing.online import OnlinePricing
from routoo.pricing.prices import FixedPricing
from routoo.server.corrections import open_corrector, open_learner
from routoo.server.exploration import open_explorer
from routoo.server.provider_health import open_health, renew_health
from routoo.server.sessions import open_sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.budget.ledger import Ledger
    from routoo.budget.redis.store import RedisStore
    from routoo.budget.spent import DaySpent
    from routoo.config.sections.budget import BudgetSettings, LedgerSettings
    from routoo.config.sections.policy import PolicySettings
    from routoo.config.settings import Settings
    from routoo.engine.corrections.corrector import Corrector
    from routoo.engine.corrections.learner import Learner
    from routoo.engine.health.tracker import ProviderHealth
    from routoo.engine.limits.choice import ProviderLimits
    from routoo.engine.sessions.tracker import Sessions
    from routoo.pricing.prices import Pricing
    from routoo.server.assembly import Components
    from routoo.telemetry.outcome_counts import OutcomeCounts


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clocks of the accounting.

    Attributes:
        clock_s: seconds on a clock that never goes back.
        clock_ns: nanoseconds since 1970 by the machine's clock, for the hour whose prices hold.
        periods_ns: nanoseconds since 1970, for the periods of budgets.
    """

    clock_s: Callable[[], float] = monotonic
    clock_ns: Callable[[], int] = time_ns
    periods_ns: Callable[[], int] = field(default_factory=SteadyClock)


def open_accounting(
    settings: Settings,
    parts: Components,
    counts: OutcomeCounts,
    clocks: Clocks | None = None,
    *,
    worker: int = 0,
) -> Accounting:
    """Opens the books, and starts the prices that follow them.

    Args:
        settings: budgets, ledger, prices, and how long decisions are kept.
        parts: the pool, which prices reported tokens, and the sample, whose price holds until
            budgets have prices of their own.
        counts: sums up reports.
        clocks: the clocks to use; None: those of the machine.
        worker: the number of this process among the workers of a service.

    Raises:
        ConfigError: the books, or the file of the corrections, cannot be opened.
    """
    clocks = clocks or Clocks()
    ledger = open_ledger(settings.budgets, settings.ledger, clocks.periods_ns)
    try:
        corrector = open_corrector(
            settings, parts.pool.names, counts, worker, clock_ns=clocks.clock_ns
        )
        learner = open_learner(settings, parts.pool.names, counts, worker)
    except BaseException:
        if ledger is not None:
            ledger.close()
        raise
    kept = settings.outcomes
    decisions = OpenDecisions(kept.max_open_decisions, kept.max_age_s)
    sessions = open_sessions(settings)
    health = open_health(settings, parts.pool, counts.health, clocks.clock_s)
    limits = open_limits(settings, parts.pool, worker, clock_s=clocks.clock_s)
    kept_parts = _Kept(ledger, decisions, corrector, sessions, health, limits, worker, learner)
    return _accounting_of(settings, parts, kept_parts, counts, clocks)


def renew_accounting(
    old: Accounting,
    before: Settings,
    settings: Settings,
    parts: Components,
    counts: OutcomeCounts,
    *,
    same_models: bool,
) -> Accounting:
    """Makes the accounting of the next engine, with the same books and open decisions.

    A change of the budgets keeps settled and reserved costs in the books; prices are kept where
    they still apply. The old accounting may be used until its engine is retired, and has to be
    closed by ``close_replaced`` then. Waits for a step of the old prices to end; not on the event
    loop.

    Args:
        old: the accounting that serves.
        before: the settings that it was made from.
        settings: the new settings; the section ``ledger`` has to be the same.
        parts: the new pool and sample, see ``open_accounting``.
        counts: sums up reports.
        same_models: whether pool, sample and price have not changed.

    Raises:
        ConfigError: the books cannot be opened.
    """
    kept = settings.outcomes
    clocks = Clocks() if old.spending is None else Clocks(periods_ns=old.spending.clock_ns)
    ledger = None if old.spending is None else old.spending.ledger
    if old.corrector is not None:
        old.corrector.keep_models(parts.pool.names)
    if old.learner is not None:
        old.learner.keep_models(parts.pool.names)
        old.learner.settings = settings.learning
    if settings.budgets != before.budgets:
        if ledger is None or not settings.budgets:
            ledger = open_ledger(settings.budgets, settings.ledger, clocks.periods_ns)
        else:
            ledger = succeed(ledger, settings.budgets, settings.ledger, clocks.periods_ns)
    elif (
        same_models
        and _prices_alike(settings.policy, before.policy)
        and settings.health == before.health
        and settings.provider_limits == before.provider_limits
        and settings.policy.explore == before.policy.explore
    ):
        old.decisions.bound(kept.max_open_decisions, kept.max_age_s)
        return old
    old.pricing.close()
    old.decisions.bound(kept.max_open_decisions, kept.max_age_s)
    health = renew_health(old.health, settings, parts.pool, counts.health, clocks.clock_s)
    limits = open_limits(settings, parts.pool, old.worker, old.limits, clocks.clock_s)
    kept_parts = _Kept(
        ledger,
        old.decisions,
        old.corrector,
        old.sessions,
        health,
        limits,
        old.worker,
        old.learner,
    )
    return _accounting_of(settings, parts, kept_parts, counts, clocks, old.pricing)


def _prices_alike(one: PolicySettings, other: PolicySettings) -> bool:
    return (
        one.prices == other.prices
        and one.max_mean_cost_usd == other.max_mean_cost_usd
        and one.mean_cost_is_set == other.mean_cost_is_set
    )


def close_replaced(old: Accounting, new: Accounting) -> None:
    """Closes those parts of a replaced accounting that the new one does not use."""
    if old.pricing is not new.pricing:
        old.pricing.close()
    ledger = None if new.spending is None else new.spending.ledger
    if old.spending is not None and old.spending.ledger is not ledger:
        old.spending.ledger.close()
    if old.explorer is not None and old.explorer is not new.explorer:
        old.explorer.purse.close()
    if old.limits is not None and old.limits is not new.limits:
        old.limits.close()


@dataclass(frozen=True, slots=True)
class _Kept:
    """The parts of an accounting that prices and reports are made from."""

    ledger: Ledger | None
    decisions: OpenDecisions
    corrector: Corrector | None
    sessions: Sessions
    health: ProviderHealth | None
    limits: ProviderLimits | None
    worker: int
    learner: Learner | None


def _accounting_of(
    settings: Settings,
    parts: Components,
    kept: _Kept,
    counts: OutcomeCounts,
    clocks: Clocks,
    before: Pricing | None = None,
) -> Accounting:
    ledger, policy = kept.ledger, settings.policy
    pricing: Pricing = FixedPricing(parts.price)
    spending, settled = None, None
    if ledger is not None and not all(one.is_apart for one in ledger.terms):
        online = pricing = OnlinePricing(
            ledger,
            parts.sample.scores,
            parts.sample.costs_usd,
            unbudgeted=parts.price,
            max_mean_cost_usd=policy.max_mean_cost_usd if policy.mean_cost_is_set else None,
            settings=policy.prices,
            clock_s=clocks.clock_s,
        )
        if isinstance(before, OnlinePricing):
            online.go_on_from(before)
        settled = online.settled
    if ledger is not None:
        spending = BudgetBooking(
            ledger,
            refuses_unbudgeted=settings.ledger.unbudgeted == "refuse",
            clock_ns=clocks.periods_ns,
        )
    outcomes = OutcomeSettlement(
        kept.decisions,
        ledger,
        parts.pool,
        counts,
        clocks.clock_ns,
        kept.corrector,
        settled,
        kept.sessions,
        kept.health,
        bound=ReportBound(settings.ledger.report_factor, clocks.clock_s),
        limits=None if kept.limits is None else kept.limits.guard,
        learner=kept.learner,
    )
    _reprice(kept.corrector, pricing, parts, settings)
    if isinstance(pricing, OnlinePricing):
        pricing.start()
    explorer = open_explorer(
        settings,
        parts.policies.exploration,
        parts.pool,
        ledger,
        counts.exploration,
        clocks.clock_s,
    )
    if explorer is not None:
        explorer.purse.start()
    return Accounting(
        pricing,
        spending,
        kept.decisions,
        outcomes,
        clocks.clock_ns,
        kept.corrector,
        kept.sessions,
        kept.health,
        kept.limits,
        explorer,
        kept.worker,
        parts.presets,
        kept.learner,
    )


def _reprice(
    corrector: Corrector | None, pricing: Pricing, parts: Components, settings: Settings
) -> None:
    if corrector is not None:
        most_usd, names = settings.policy.max_mean_cost_usd, parts.pool.names
        version = parts.artifact.version_for(parts.pool.predictor_names)
        corrector.reprice(Repricing(pricing, parts.sample, most_usd, version, names, parts.presets))


def open_ledger(
    budgets: Sequence[BudgetSettings], settings: LedgerSettings, clock_ns: Callable[[], int]
) -> Ledger | None:
    """Opens the books; the caller closes them.

    Args:
        budgets: section ``budgets``.
        settings: section ``ledger``.
        clock_ns: nanoseconds since 1970; a ``SteadyClock`` goes on over a restart by the journal.

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
        steady = clock_ns if isinstance(clock_ns, SteadyClock) else None
        journaling = Journaling(Journal(settings.journal), settings.fsync, interval_s, steady)
    return MemoryLedger(terms, keeping, clock_ns, journaling)


def succeed(
    old: Ledger,
    budgets: Sequence[BudgetSettings],
    settings: LedgerSettings,
    clock_ns: Callable[[], int],
) -> Ledger:
    """Makes a ledger of other budgets on the books of ``old``, which stays usable.

    Raises:
        ConfigError: Redis is away, so that costs of the old ledger are not in the books yet.
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
        # The extra ``redis`` is needed only where replicas share budgets.
        from routoo.budget.redis.ledger import RedisLedger  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _without_redis(error) from None
    leasing = _leasing(settings)
    return RedisLedger(
        scopes,
        _redis_store(scopes, keeping, leasing, settings),
        Alone(scopes, keeping, leasing, clock_ns),
        max_probe_s=settings.redis_max_probe_s,
        book_delay_s=settings.book_delay_s,
        jitter=random.Random(),  # noqa: S311 - spreads attempts, guards nothing
    )


def _leasing(settings: LedgerSettings) -> Leasing:
    lasts_ns = round(settings.lease_s * 1e9)
    return Leasing(settings.local_share, lasts_ns, waits_longer=settings.on_loss == "wait")


def _redis_store(
    scopes: Scopes, keeping: Keeping, leasing: Leasing, settings: LedgerSettings
) -> RedisStore:
    from routoo.budget.redis.store import RedisStore  # noqa: PLC0415

    return RedisStore(settings.connecting(), scopes, keeping, leasing)


def _without_redis(error: ModuleNotFoundError) -> ConfigError:
    return ConfigError(
        f"ledger.backend: redis needs the Python package {error.name}; install routoo[redis]"
    )


def booked_spending(
    budgets: Sequence[BudgetSettings], settings: LedgerSettings, now_ns: int
) -> list[DaySpent]:
    """Reads what was spent by day and tenant from the books of a service, which may be running.

    Args:
        budgets: section ``budgets``.
        settings: section ``ledger``.
        now_ns: nanoseconds since 1970.

    Raises:
        ConfigError: the books are in memory alone, or cannot be read.
    """
    keeping = _keeping(settings)
    if settings.backend == "memory":
        if settings.journal is None:
            raise ConfigError(
                "ledger: the books are in the memory of the service alone; set ledger.journal, or"
                " name decision logs"
            )
        return journal_spending(settings.journal, keeping)
    try:
        from routoo.budget.redis.spent import redis_spending  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _without_redis(error) from None
    terms = tuple(budget.terms() for budget in budgets)
    store = _redis_store(Scopes(terms), keeping, _leasing(settings), settings)
    try:
        return redis_spending(store, terms, now_ns)
    finally:
        store.close()
