"""Opens the sessions, in memory or in the ledger's Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.engine.sessions.memory import MemorySessions
from routoo.engine.sessions.tracker import Sessions

if TYPE_CHECKING:
    from routoo.config.settings import Settings
    from routoo.engine.sessions.store import SessionStore


def open_sessions(settings: Settings) -> Sessions:
    """Opens what is kept of sessions; the caller closes it.

    Args:
        settings: the sections ``sessions`` and ``ledger``, and the number of workers.
    """
    return Sessions(settings.sessions, _store(settings))


def _store(settings: Settings) -> SessionStore | None:
    """Returns the store that the settings ask for; None: no sessions are kept."""
    sessions, enabled = settings.sessions, settings.sessions.enabled
    # With several workers a turn may reach any of them: none would know the turns of the others.
    is_shared = settings.workers == 1
    if not (is_shared if enabled is None else enabled):
        return None
    return MemorySessions(
        max_sessions=sessions.max_sessions,
        max_bytes=sessions.max_bytes,
        ttl_s=sessions.ttl_s,
        cache_ttl_s=sessions.cache_ttl_s,
    )
