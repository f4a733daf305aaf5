"""The one table from domain errors to gRPC status codes."""

from __future__ import annotations

import grpc

from routoo.errors import (
    BudgetSpentError,
    DeadlineError,
    DrainingError,
    InfeasibleError,
    InvalidRequestError,
    NoBudgetError,
    NoEligibleModelError,
    NotBuiltError,
    QueueFullError,
    RoutooError,
)

STATUS: dict[type[RoutooError], grpc.StatusCode] = {
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    NoEligibleModelError: grpc.StatusCode.FAILED_PRECONDITION,
    InfeasibleError: grpc.StatusCode.FAILED_PRECONDITION,
    BudgetSpentError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    NoBudgetError: grpc.StatusCode.PERMISSION_DENIED,
    QueueFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
    DrainingError: grpc.StatusCode.UNAVAILABLE,
    NotBuiltError: grpc.StatusCode.UNIMPLEMENTED,
}
INTERNAL_TEXT = "internal error; the service's log has the detail"
# A status travels in a header of limited size, and callers' own values are quoted in it.
LONGEST_DETAIL_CHARS = 500


def status_of(error: BaseException) -> tuple[grpc.StatusCode, str]:
    """Code and one line for the caller; whatever is not in the table says nothing of itself."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            line = " ".join(str(error).split())
            if len(line) > LONGEST_DETAIL_CHARS:
                line = line[: LONGEST_DETAIL_CHARS - 3] + "..."
            return STATUS[kind], line
    return grpc.StatusCode.INTERNAL, INTERNAL_TEXT
