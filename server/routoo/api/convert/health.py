"""Conversion of the health of providers, and of reported failures, to and from protobuf."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.errors import InvalidRequestError
from routoo.request_fields import checked_number
from routoo.routing.health.breakers import BreakerState
from routoo.routing.health.failures import FIRST_ERROR, Cause, ProviderFailure, cause_of
from routoo.v1 import health_pb2

if TYPE_CHECKING:
    from routoo.routing.health.overview import HealthOverview, UnitHealth
    from routoo.v1 import outcome_pb2

_FIRST_STATUS, _LAST_STATUS = 100, 599


def reported_failure(
    message: outcome_pb2.ReportOutcomeRequest,
) -> tuple[ProviderFailure | None, str]:
    """Checks and converts what a report tells of a failure.

    Returns:
        The failure (None: it is none of the provider's), and the error in words (empty: none).

    Raises:
        InvalidRequestError: names the field.
    """
    status = message.status_code
    if status and not _FIRST_STATUS <= status <= _LAST_STATUS:
        raise InvalidRequestError(
            f"{status} is no HTTP status; send 100 to 599, or 0 where there was no reply",
            field="status_code",
        )
    try:
        cause = Cause(message.failure) or cause_of(status)
    except ValueError:
        raise InvalidRequestError(
            f"{message.failure} is no way to fail that this version knows; leave it out, or update"
            " the service",
            field="failure",
        ) from None
    retry_after_s = None
    if message.HasField("retry_after_s"):
        retry_after_s = checked_number(message.retry_after_s, "retry_after_s")
    is_error = bool(cause) or status >= FIRST_ERROR
    if retry_after_s is not None and not is_error:
        raise InvalidRequestError(
            "belongs to a failure; set status_code or failure, too", field="retry_after_s"
        )
    error = message.error
    if not error and is_error:
        error = f"HTTP status {status}" if status >= FIRST_ERROR else cause.label
    return ProviderFailure.of(cause, retry_after_s), error


def health_message(overview: HealthOverview | None) -> health_pb2.Health:
    """Converts the health of all models and providers, of which those that fail are listed.

    Args:
        overview: the health; None: nobody watches it.
    """
    if overview is None:
        return health_pb2.Health(enabled=False)
    failing = [
        unit_message(one)
        for one in (*overview.providers, *overview.models)
        if one.state is not BreakerState.CLOSED
    ]
    return health_pb2.Health(enabled=True, failing=failing)


def unit_message(found: UnitHealth) -> health_pb2.UnitHealth:
    """Converts the health of one model or provider."""
    # The numbers are those of the API.
    return health_pb2.UnitHealth(
        model=found.model,
        provider=found.provider,
        state=found.state.value,  # type: ignore[arg-type]
        cause=found.cause.value,  # type: ignore[arg-type]
        since_s=found.since_s,
        share=found.share,
        opened=found.opened,
    )
