"""The one table from domain errors to gRPC status codes, and from those to the ones of HTTP."""

from __future__ import annotations

from math import ceil

import grpc
import structlog

from routoo.errors import (
    BudgetSpentError,
    DeadlineError,
    DrainingError,
    InfeasibleError,
    InvalidRequestError,
    LimitReachedError,
    NoBudgetError,
    NoEligibleModelError,
    NoRuleError,
    PermissionDeniedError,
    QueueFullError,
    RateLimitedError,
    RoutooError,
    TooLargeError,
    UnauthenticatedError,
    UnknownDecisionError,
    UnreadableBodyError,
)

STATUS: dict[type[RoutooError], grpc.StatusCode] = {
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    UnreadableBodyError: grpc.StatusCode.INVALID_ARGUMENT,
    NoEligibleModelError: grpc.StatusCode.FAILED_PRECONDITION,
    InfeasibleError: grpc.StatusCode.FAILED_PRECONDITION,
    UnknownDecisionError: grpc.StatusCode.FAILED_PRECONDITION,
    NoRuleError: grpc.StatusCode.FAILED_PRECONDITION,
    BudgetSpentError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    LimitReachedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    NoBudgetError: grpc.StatusCode.PERMISSION_DENIED,
    UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    RateLimitedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    QueueFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooLargeError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
    DrainingError: grpc.StatusCode.UNAVAILABLE,
}
_HTTP_STATUS: dict[grpc.StatusCode, int] = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
# HTTP tells these apart, which gRPC does not.
_HTTP_STATUS_OF_ERROR: dict[type[RoutooError], int] = {
    BudgetSpentError: 402,
    QueueFullError: 503,
    TooLargeError: 413,
    UnknownDecisionError: 404,
}
_log = structlog.get_logger("routoo.api")
INTERNAL_TEXT = "internal error; the service's log has the detail"
# A status travels in a header of limited size, and callers' own values are quoted in it.
LONGEST_DETAIL_CHARS = 500


class ForwardedError(RoutooError):
    """A refusal by another worker of the service, which is passed on unchanged.

    Attributes:
        status: the status of that refusal; its message is the error's text.
    """

    def __init__(self, status: grpc.StatusCode, line: str) -> None:
        self.status = status
        super().__init__(line)


def status_of(error: BaseException) -> tuple[grpc.StatusCode, str]:
    """Returns the status code and one line for the caller.

    An error that is not in the table becomes INTERNAL with a fixed text that tells no detail.
    """
    if isinstance(error, ForwardedError):
        return error.status, str(error)
    for kind in type(error).__mro__:
        if kind in STATUS:
            line = " ".join(str(error).split())
            if len(line) > LONGEST_DETAIL_CHARS:
                line = line[: LONGEST_DETAIL_CHARS - 3] + "..."
            return STATUS[kind], line
    return grpc.StatusCode.INTERNAL, INTERNAL_TEXT


def http_status_of(error: BaseException) -> int:
    """Returns the status of HTTP for an error."""
    for kind in type(error).__mro__:
        if kind in _HTTP_STATUS_OF_ERROR:
            return _HTTP_STATUS_OF_ERROR[kind]
    return _HTTP_STATUS.get(status_of(error)[0], 500)


def reported(error: BaseException, rpc: str, decision_id: str = "") -> tuple[grpc.StatusCode, str]:
    """Returns the status and line of an error, and logs it if it is a fault of the service.

    Args:
        error: the error that ended a call.
        rpc: the call's name, for the log.
        decision_id: the id under which others look for it in the log; empty: none. With one, an
            error that says that the service is away is logged, too.
    """
    status, line = status_of(error)
    if status is grpc.StatusCode.INTERNAL and not isinstance(error, ForwardedError):
        named = {"decision_id": decision_id} if decision_id else {}
        _log.error("call failed", rpc=rpc, exc_info=error, **named)
    elif decision_id:
        _log.warning("call not answered", rpc=rpc, status=status.name, decision_id=decision_id)
    return status, line


def trailers_of(error: BaseException) -> tuple[tuple[str, str], ...]:
    """Returns the trailers of a refusal: when to retry, if the error has a ``retry_after_s``.

    gRPC's clients wait for that time before they retry.
    """
    retry_after_s: float | None = getattr(error, "retry_after_s", None)
    if retry_after_s is None:
        return ()
    return (("grpc-retry-pushback-ms", str(max(1, ceil(retry_after_s * 1000.0)))),)
