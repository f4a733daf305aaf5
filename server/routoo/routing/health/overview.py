"""The health of a model or provider, for people and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routoo.routing.health.breakers import BreakerState
    from routoo.routing.health.failures import Cause


@dataclass(frozen=True, slots=True)
class UnitHealth:
    """The health of a model, or of a provider as a whole.

    Attributes:
        model: the model's name; empty: it is the provider's.
        provider: the provider's name; empty: the model has none.
        state: of its breaker.
        cause: of the last failure that counted.
        since_s: seconds since the state began; None: since the start.
        share: the share of requests that may go there, in [0, 1]; a model's counts its provider's.
        opened: how often its breaker has opened.
    """

    model: str
    provider: str
    state: BreakerState
    cause: Cause
    since_s: float | None
    share: float
    opened: int


@dataclass(frozen=True, slots=True)
class HealthOverview:
    """The health of all models and providers.

    Attributes:
        models: [k], in the pool's order.
        providers: those that have a name.
    """

    models: tuple[UnitHealth, ...]
    providers: tuple[UnitHealth, ...]
