"""The settings of how a service is operated."""

from __future__ import annotations

from pydantic import Field

from routoo.config.section import Section


class ReloadSettings(Section):
    """Taking changed files while serving; SIGHUP does it in any case."""

    watch: bool = False
    """Whether the files are looked at, and taken when they have changed."""
    interval_s: float = Field(default=1.0, ge=0.01, le=3600, allow_inf_nan=False)
    """How often. A change is taken when it has stood still for as long."""


class OverloadSettings(Section):
    """What is refused, with RESOURCE_EXHAUSTED and when to retry, so that the rest is in time."""

    max_wait_ms: float = Field(default=5000.0, gt=0, le=3_600_000, allow_inf_nan=False)
    """Longest that a request may be expected to wait, overload or not."""
    overloaded_wait_ms: float | None = Field(default=None, gt=0, le=3_600_000, allow_inf_nan=False)
    """Likewise while more requests come than are answered. Unset: twice what a request takes
    without load, or a fiftieth of the time until its deadline where that is a second, and up to a
    twentieth where it is more."""
    max_unseen: int = Field(default=512, ge=1, le=1_000_000)
    """Calls that may lie in gRPC before this process has seen them, as they do when even refusing
    takes too long, in each of the 128 queues among which connections are divided. Above it gRPC
    cuts calls off at random, above twice as many all of them; they end with CANCELLED. Without
    that bound the process would answer callers that have gone."""
