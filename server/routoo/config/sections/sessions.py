"""Settings of sessions: requests that are turns of one conversation."""

from __future__ import annotations

from pydantic import Field

from routoo.config.section import Section


class SessionSettings(Section):
    """Sessions, whose models stay while a switch costs more than it gains."""

    enabled: bool | None = None
    """Whether sessions are kept. Unset: with one worker, or with ``ledger.backend: redis``."""
    derive: bool = True
    """Whether requests through Envoy that name no session get one from their bodies."""
    ttl_s: float = Field(default=3600.0, gt=0, le=30 * 86_400, allow_inf_nan=False)
    """Longest time that a session without turns is kept."""
    max_sessions: int = Field(default=100_000, ge=1, le=10_000_000)
    """Most sessions kept in memory; one more drops the one that was used least recently."""
    max_bytes: int = Field(default=64 * 1024 * 1024, ge=65_536, le=2**40)
    """Most memory that they take; some 700 to 1,200 bytes each."""
    min_gain: float = Field(default=0.01, ge=0, le=1, allow_inf_nan=False)
    """The gain in predicted score, after costs at the price in force, below which a model stays."""
    cache_ttl_s: float = Field(default=300.0, gt=0, le=86_400, allow_inf_nan=False)
    """How long providers keep an input in their caches that nobody reads."""
