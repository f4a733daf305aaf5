"""Refusals over HTTP as problem details (RFC 9457), with the texts that gRPC's calls get."""

from __future__ import annotations

from http import HTTPStatus
from math import ceil
from typing import TYPE_CHECKING, Final

import orjson

from routoo.api.status import http_status_of, reported
from routoo.errors import InvalidRequestError, RoutooError

if TYPE_CHECKING:
    from routoo.api.http.call import Headers, HttpCall

PROBLEM: Final = b"application/problem+json"


class HttpError(RoutooError):
    """A request that is refused for what only HTTP knows.

    Attributes:
        status: of HTTP.
        headers: further headers of the reply.
        closes: whether the connection ends with the reply.
    """

    def __init__(
        self, status: int, message: str, headers: Headers = (), *, closes: bool = False
    ) -> None:
        self.status = status
        self.headers = headers
        self.closes = closes
        super().__init__(message)


def retry_headers(error: Exception) -> Headers:
    """Returns the header that says when to try again, in whole seconds, where an error tells it."""
    retry_after_s: float | None = getattr(error, "retry_after_s", None)
    if retry_after_s is None:
        return ()
    return ((b"retry-after", b"%d" % max(1, ceil(retry_after_s))),)


def problem_of(error: Exception, rpc: str) -> tuple[int, str, dict[str, object]]:
    """Converts an error to a problem; a fault of the service is logged and tells no detail.

    Args:
        error: the error that a call has ended with.
        rpc: the call's name, for the log.

    Returns:
        The status of HTTP, the code as gRPC names it, and the problem: ``type``, ``title``,
        ``status``, ``detail``, ``code``; and ``field`` where the error names one.
    """
    if isinstance(error, HttpError):
        status, code, line = error.status, f"HTTP_{error.status}", str(error)
    else:
        found, line = reported(error, rpc)
        status, code = http_status_of(error), found.name
    problem: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": line,
        "code": code,
    }
    if isinstance(error, InvalidRequestError) and error.field:
        problem["field"] = error.field
    return status, code, problem


async def send_problem(call: HttpCall, error: Exception, rpc: str) -> str:
    """Replies with the problem of an error, and returns its code."""
    status, code, problem = problem_of(error, rpc)
    headers = retry_headers(error)
    if isinstance(error, HttpError):
        headers = error.headers
        call.closes |= error.closes
    if status == HTTPStatus.UNAUTHORIZED:
        headers = (*headers, (b"www-authenticate", b'Bearer realm="routoo"'))
    await call.reply(status, orjson.dumps(problem), PROBLEM, headers)
    return code
