"""Errors of failed calls, for the caller and for the code that decides about retries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc

if TYPE_CHECKING:
    from collections.abc import Iterable

PUSHBACK: Final = "grpc-retry-pushback-ms"
"""Trailing metadata that asks the client to retry later, or never (gRPC proposal A6)."""
_NOT_AGAIN: Final = -1

# gRPC refuses such a message itself, before the service could say what to do.
_TOO_LARGE = "larger than max"


class RouterError(Exception):
    """The service refused the call, failed, or could not be reached.

    Attributes:
        code: the gRPC status, e.g. ``StatusCode.FAILED_PRECONDITION`` when no model is left.
        message: one line; the service's own text where it answered.
        retry_after_s: seconds after which the service asked for a retry; None: it did not.
    """

    def __init__(
        self, code: grpc.StatusCode, message: str, retry_after_s: float | None = None
    ) -> None:
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        super().__init__(code, message)

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"

    @property
    def is_overload(self) -> bool:
        """Whether the call was refused because the service is overloaded.

        A spent budget has the same code, but without ``retry_after_s``.
        """
        return self.code is grpc.StatusCode.RESOURCE_EXHAUSTED and self.retry_after_s is not None


def router_error(error: grpc.RpcError) -> tuple[RouterError, bool]:
    """Returns the error of one attempt, and whether the service forbids a retry."""
    pushback_ms = _pushback_ms(error.trailing_metadata() or ())
    forbidden = pushback_ms is not None and pushback_ms < 0
    after_s = None if pushback_ms is None or forbidden else pushback_ms * 1e-3
    message = " ".join((error.details() or "no detail given").split())
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in message:
        message = f"{message}; send less at once, or raise the service's limits.max_message_bytes"
    return RouterError(error.code(), message, after_s), forbidden


def _pushback_ms(metadata: Iterable[Any]) -> int | None:
    for key, value in metadata:
        if key == PUSHBACK:
            try:
                return int(value)
            except ValueError:  # A6: a value that is not a number means the same as a negative one
                return _NOT_AGAIN
    return None
