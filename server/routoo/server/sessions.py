"""Opens the sessions, in memory or in the ledger's Redis."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from routoo.engine.sessions.memory import MemorySessions
from routoo.engine.sessions.tracker import Sessions
from routoo.errors import ConfigError

if TYPE_CHECKING:
    from routoo.config.settings import Settings
    from routoo.engine.sessions.store import SessionStore


def open_sessions(settings: Settings) -> Sessions:
    """Opens what is kept of sessions; the caller closes it.

    Args:
        settings: the sections ``sessions`` and ``ledger``, and the number of workers.

    Raises:
        ConfigError: the extra ``redis`` is not installed, or its URL cannot be understood.
    """
    return Sessions(settings.sessions, _store(settings))


def are_kept(settings: Settings) -> bool:
    """Returns whether the settings ask for sessions."""
    enabled = settings.sessions.enabled
    # With several workers a turn may reach any of them: none would know the turns of the others.
    is_one_place = settings.workers == 1 or settings.ledger.backend == "redis"
    return is_one_place if enabled is None else enabled


def _store(settings: Settings) -> SessionStore | None:
    """Returns the store that the settings ask for; None: no sessions are kept."""
    if not are_kept(settings):
        return None
    sessions = settings.sessions
    if settings.ledger.backend == "redis":
        return _shared(settings)
    return MemorySessions(
        max_sessions=sessions.max_sessions,
        max_bytes=sessions.max_bytes,
        ttl_s=sessions.ttl_s,
        cache_ttl_s=sessions.cache_ttl_s,
    )


def _shared(settings: Settings) -> SessionStore:
    try:
        # The extra ``redis`` is needed only where replicas share sessions.
        from routoo.engine.sessions.shared import RedisSessions  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"ledger.backend: redis needs the Python package {error.name}; install routoo[redis]"
        ) from None
    jitter = random.Random()  # noqa: S311 - spreads attempts, guards nothing
    return RedisSessions(settings.ledger, settings.sessions, jitter)
