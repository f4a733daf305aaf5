"""Refusals of HTTP requests: their status, and their body in the error format of the called API."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Literal

import grpc
import orjson

from routoo.api.llm.headers import DECISION_ID
from routoo.api.status import http_status_of, reported, status_of
from routoo.errors import (
    BudgetSpentError,
    InvalidRequestError,
    NoEligibleModelError,
    QueueFullError,
)

if TYPE_CHECKING:
    from routoo.api.llm.body import Api
    from routoo.api.llm.headers import Header
    from routoo.config.sections.processor import ProcessorSettings, RoutingFailure

Fault = Literal["unavailable", "internal"]
_FAULTS: dict[grpc.StatusCode, Fault] = {
    grpc.StatusCode.UNAVAILABLE: "unavailable",
    grpc.StatusCode.DEADLINE_EXCEEDED: "unavailable",
    grpc.StatusCode.INTERNAL: "internal",
}
_FAILURES: dict[type[Exception], RoutingFailure] = {
    NoEligibleModelError: "no_eligible_model",
    BudgetSpentError: "budget_spent",
    QueueFullError: "overloaded",
}
# Names of OpenAI's and Anthropic's own errors, so that clients know what to do with them.
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
}
_ANTHROPIC_KINDS = _KINDS | {
    402: "billing_error",
    413: "request_too_large",
    503: "overloaded_error",
}
_FAULT = "api_error"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error reply to a caller.

    Attributes:
        status: HTTP status.
        code: a word for programs.
        message: one line for people.
        param: the header or field that is wrong; empty: none.
        retry_after_s: seconds after which another try may succeed; None: not known.
        failure: the reason for which the fallback model may answer; None: the caller has to change
            the request.
        decision_id: the id under which a fault is in the logs; empty: it is the caller's.
    """

    status: int
    code: str
    message: str
    param: str = ""
    retry_after_s: float | None = None
    failure: RoutingFailure | None = None
    decision_id: str = ""

    def body(self, api: Api) -> bytes:
        """Returns the body of the reply, JSON in the form of the API's own errors."""
        if api == "messages":
            kind = _ANTHROPIC_KINDS.get(self.status, _FAULT)
            content: object = {
                "type": "error",
                "error": {"type": kind, "message": self.message},
            }
        else:
            content = {
                "error": {
                    "message": self.message,
                    "type": _KINDS.get(self.status, _FAULT),
                    "param": self.param or None,
                    "code": self.code,
                }
            }
        return orjson.dumps(content)

    @property
    def headers(self) -> list[Header]:
        """The headers of the reply."""
        headers = [("content-type", "application/json")]
        if self.retry_after_s is not None:
            headers.append(("retry-after", str(max(1, ceil(self.retry_after_s)))))
        if self.decision_id:
            headers.append((DECISION_ID, self.decision_id))
        return headers


def unreadable(status: int, what: str) -> Refusal:
    """Makes the refusal of a body that is not read.

    Args:
        status: HTTP status.
        what: says why.
    """
    return Refusal(status, "unreadable_body", f"{what}; send plain JSON")


def too_large(settings: ProcessorSettings, what: str = "") -> Refusal:
    """Makes the refusal of a body that is too long.

    Args:
        settings: of the processor.
        what: says why; empty: it is longer than may be read.
    """
    what = what or f"the body is longer than {settings.max_body_bytes} bytes"
    return Refusal(413, "body_too_large", f"{what}; send less")


def fault_of(error: Exception) -> Fault | None:
    """Returns whose fault an error is: the service's own, or that it is away; None: neither."""
    return _FAULTS.get(status_of(error)[0])


def failure_of(error: Exception) -> RoutingFailure | None:
    """Returns the reason for which the fallback model may answer; None: there is none."""
    found = next((_FAILURES[kind] for kind in type(error).__mro__ if kind in _FAILURES), None)
    return found or fault_of(error)


def refusal_of(error: Exception, rpc: str, decision_id: str = "") -> Refusal:
    """Converts an error to a refusal; a fault of the service gets a text without detail.

    Args:
        error: the error that a request has failed with.
        rpc: the call's name, for the log.
        decision_id: the id under which the error is logged; empty: none.
    """
    code, line = reported(error, rpc, decision_id)
    status = http_status_of(error)
    failure = failure_of(error)
    param = error.field if isinstance(error, InvalidRequestError) else ""
    retry_after_s = getattr(error, "retry_after_s", None)
    word = failure or code.name.lower()
    return Refusal(status, word, line, param, retry_after_s, failure, decision_id)
