"""The settings of how a service is operated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from routoo.address import Address
from routoo.errors import ConfigError
from routoo.section import Section

if TYPE_CHECKING:
    from routoo.config import Settings


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


def check_workers(settings: Settings) -> None:
    """Refuses what several workers cannot keep.

    Raises:
        ConfigError: names the settings.
    """
    if settings.workers == 1:
        return
    for address in (settings.listen, *(listener.address for listener in settings.listeners)):
        if Address.parse(address).path:
            raise ConfigError(
                f"workers: a socket file cannot be shared, as {address} would have to be; name"
                " HOST:PORT instead, or set workers: 1"
            )
    if settings.budgets and settings.ledger.backend == "memory":
        raise ConfigError(
            f"workers: {settings.workers} workers would each spend the whole of every budget, as"
            " ledger.backend: memory is one process's; set ledger.backend: redis, or workers: 1"
        )
