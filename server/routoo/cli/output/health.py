"""The health of models and providers on screens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.cli.output.numbers import percent, seconds
from routoo.v1 import health_pb2

if TYPE_CHECKING:
    from routoo.v1.health_pb2 import Health, UnitHealth

_STATES = {
    health_pb2.HEALTH_STATE_OPEN: "left out",
    health_pb2.HEALTH_STATE_HALF_OPEN: "on trial",
    health_pb2.HEALTH_STATE_RISING: "coming back",
}


def is_failing(found: UnitHealth) -> bool:
    """Returns whether not all requests may go there; of a model, also for its provider's sake."""
    return found.state in _STATES or (bool(found.state) and found.share < 1.0)


def told(found: UnitHealth) -> str:
    """Describes the health of one model or provider; empty: nobody watches it."""
    if not found.state:
        return ""
    if found.state not in _STATES:
        return "well" if found.share >= 1.0 else "its provider fails"
    cause = health_pb2.FailureCause.Name(found.cause).removeprefix("FAILURE_CAUSE_").lower()
    since = f", {seconds(found.since_s * 1e3)}" if found.HasField("since_s") else ""
    rising = found.state == health_pb2.HEALTH_STATE_RISING
    share = f", {percent(found.share)} of its requests" if rising else ""
    return f"{_STATES[found.state]}{since}: {cause}{share}"


def summary(health: Health) -> str:
    """Lists what fails."""
    if not health.enabled:
        return "not watched"
    failing = [f"{one.model or one.provider}: {told(one)}" for one in health.failing]
    return "; ".join(failing) or "all models answer"
