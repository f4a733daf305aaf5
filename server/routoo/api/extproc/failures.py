"""Replies with an error: whether the upstream may have worked, and bill, for the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

Attributes = Any  # of Envoy's ProcessingRequest; they have no types
TIMED_OUT: Final = 504
FROM_UPSTREAM: Final = "via_upstream"
"""Envoy's word for a reply that the upstream has written."""
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
_NOT_REACHED = ("connection_failure", "connection failure", "connection_timeout", "overflow")


def may_have_worked(status: str, headers: Mapping[str, str], attributes: Attributes) -> bool:
    """Returns whether Envoy itself has written an error, while the upstream may have worked.

    Args:
        status: the HTTP status, an error.
        headers: those of the reply, by name.
        attributes: those that Envoy has sent with them.
    """
    fields = attributes[_ATTRIBUTES].fields if _ATTRIBUTES in attributes else {}
    if _DETAILS in fields:
        details = fields[_DETAILS].string_value
        return (
            details != FROM_UPSTREAM
            and any(part in details for part in _REACHED)
            and not any(part in details for part in _NOT_REACHED)
        )
    return status == str(TIMED_OUT) and _SERVICE_TIME not in headers
