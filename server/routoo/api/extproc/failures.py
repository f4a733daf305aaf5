"""Replies with an error: whether the upstream may have worked for it, and whose fault it was."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any, Final

from routoo.routing.health.failures import Cause, ProviderFailure, cause_of
from routoo.routing.health.retry_after import retry_after_s_of

if TYPE_CHECKING:
    from collections.abc import Mapping

Attributes = Any  # of Envoy's ProcessingRequest; they have no types
TIMED_OUT: Final = 504
FROM_UPSTREAM: Final = "via_upstream"
"""Envoy's word for a reply that the upstream has written."""
RETRY_AFTER: Final = "retry-after"
"""The header, which Envoy's access log has where its configuration says so."""
_ATTRIBUTES = "envoy.filters.http.ext_proc"
_DETAILS = "response.code_details"
# Set by Envoy on every reply of an upstream, and on none of its own.
_SERVICE_TIME = "x-envoy-upstream-service-time"
# Parts of Envoy's details of replies to requests that have reached an upstream.
_REACHED = (
    "timeout",
    "max_stream_duration",
    "connection_termination",
    "remote_reset",
    "local_reset",
    "protocol_error",
)
# Parts of these details by what they say of the provider, the first that fits; of others Envoy's
# own, such as the refusal of a caller, nothing is said.
_CAUSES: Final = (
    ("overflow", Cause.RATE_LIMITED),
    ("connection_failure", Cause.CONNECTION),
    ("connection failure", Cause.CONNECTION),
    ("connection_timeout", Cause.CONNECTION),
    ("no_healthy_upstream", Cause.CONNECTION),
    ("dns_resolution_failure", Cause.CONNECTION),
    ("upstream_response_timeout", Cause.TIMEOUT),
    ("response_timeout", Cause.TIMEOUT),
    ("per_try_timeout", Cause.TIMEOUT),
    ("max_stream_duration", Cause.TIMEOUT),
    ("connection_termination", Cause.RESET),
    ("remote_reset", Cause.RESET),
    ("protocol_error", Cause.RESET),
    ("route_not_found", Cause.GONE),
    ("cluster_not_found", Cause.GONE),
)
_NOT_REACHED = ("connection_failure", "connection failure", "connection_timeout", "overflow")


def may_have_worked(status: str, headers: Mapping[str, str], attributes: Attributes) -> bool:
    """Returns whether Envoy itself has written an error, while the upstream may have worked.

    Args:
        status: the HTTP status, an error.
        headers: those of the reply, by name.
        attributes: those that Envoy has sent with them.
    """
    details = _details_of(attributes)
    if details:
        return (
            details != FROM_UPSTREAM
            and any(part in details for part in _REACHED)
            and not any(part in details for part in _NOT_REACHED)
        )
    return status == str(TIMED_OUT) and _SERVICE_TIME not in headers


def reply_failure(
    status: int, headers: Mapping[str, str], attributes: Attributes
) -> ProviderFailure | None:
    """Returns the failure that a reply tells; None: it is none of the provider's.

    Args:
        status: the HTTP status; 0: none.
        headers: those of the reply, by name.
        attributes: those that Envoy has sent with them.
    """
    return failure_told(status, headers.get(RETRY_AFTER, ""), _details_of(attributes))


def failure_told(status: int, retry_after: str, details: str) -> ProviderFailure | None:
    """Returns the failure that Envoy tells of a reply with an error; None: it is nobody's there.

    Args:
        status: the HTTP status.
        retry_after: the header of this name.
        details: Envoy's word for where the reply is from; empty: it has not said.
    """
    if not details or details == FROM_UPSTREAM:
        return ProviderFailure.of(cause_of(status), retry_after_s_of(retry_after, time()))
    return ProviderFailure.of(
        next((cause for part, cause in _CAUSES if part in details), Cause.NONE)
    )


def _details_of(attributes: Attributes) -> str:
    fields = attributes[_ATTRIBUTES].fields if _ATTRIBUTES in attributes else {}
    details: str = fields[_DETAILS].string_value if _DETAILS in fields else ""
    return details
