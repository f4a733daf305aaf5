"""What a call that failed says: to the caller, and to whoever decides whether it is tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc

if TYPE_CHECKING:
    from collections.abc import Iterable

PUSHBACK: Final = "grpc-retry-pushback-ms"
"""Trailing metadata of a refusal that passes by itself (gRPC proposal A6)."""
_NOT_AGAIN: Final = -1


class RouterError(Exception):
    """The service refused the call, failed, or could not be reached.

    Attributes:
        code: the gRPC status, e.g. ``StatusCode.FAILED_PRECONDITION`` when no model is left.
        message: one line; the service's own words where it answered.
        retry_after_s: when the service asked to be called again, in seconds; None: it did not.
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
        """Whether it was refused because there is too much to do right now.

        A spent budget has the same code; what tells them apart is whether the service expects the
        caller back.
        """
        return self.code is grpc.StatusCode.RESOURCE_EXHAUSTED and self.retry_after_s is not None


def router_error(error: grpc.RpcError) -> tuple[RouterError, bool]:
    """The error of one attempt, and whether the service forbids to try it again."""
    pushback_ms = _pushback_ms(error.trailing_metadata() or ())
    forbidden = pushback_ms is not None and pushback_ms < 0
    after_s = None if pushback_ms is None or forbidden else pushback_ms * 1e-3
    message = " ".join((error.details() or "no detail given").split())
    return RouterError(error.code(), message, after_s), forbidden


def _pushback_ms(metadata: Iterable[Any]) -> int | None:
    for key, value in metadata:
        if key == PUSHBACK:
            try:
                return int(value)
            except ValueError:  # A6: what is not a number means the same as a negative one
                return _NOT_AGAIN
    return None
