"""Settings of a service's operation: reload, overload, and shares of providers' limits."""

from __future__ import annotations

from pydantic import Field

from routoo.config.section import Section


class ReloadSettings(Section):
    """Reload of changed files while the service runs; SIGHUP reloads in any case."""

    watch: bool = False
    """Set to check the files for changes and to reload when they have changed."""
    interval_s: float = Field(default=1.0, ge=0.01, le=3600, allow_inf_nan=False)
    """Time between two checks. A change is loaded once the files did not change for as long."""


class OverloadSettings(Section):
    """Limits beyond which calls are refused, so that the others are answered in time.

    A refused call ends with RESOURCE_EXHAUSTED and is told when to retry.
    """

    max_wait_ms: float = Field(default=5000.0, gt=0, le=3_600_000, allow_inf_nan=False)
    """Longest expected wait of a request, with or without overload."""
    overloaded_wait_ms: float | None = Field(default=None, gt=0, le=3_600_000, allow_inf_nan=False)
    """Longest expected wait of a request while more requests come than are answered. Unset: twice
    the time that a request takes without load, or a fiftieth of the time until its deadline where
    that is a second, and up to a twentieth where it is more."""
    max_unseen: int = Field(default=512, ge=1, le=1_000_000)
    """Most calls that wait in gRPC until this process reads them, in each of the 128 queues among
    which connections are divided. Calls wait there when even refusing them takes too long. Above
    the bound gRPC cancels calls at random, above twice the bound all of them; they end with
    CANCELLED. Without it the process would answer callers that have given up."""


class ProviderLimitSettings(Section):
    """How the limits of providers and models, which the pool file tells, are kept."""

    in_progress_timeout_s: float = Field(default=300.0, ge=1, le=86_400, allow_inf_nan=False)
    """After so long without a report, a request no longer counts as one of ``max_concurrent``."""
    replicas: int = Field(default=1, ge=1, le=10_000)
    """Services like this one that share the limits; each takes an equal part. The workers of a
    service divide its part between them."""
