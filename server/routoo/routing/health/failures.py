"""Failures of providers: their causes, and the causes of HTTP statuses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self


class Cause(IntEnum):
    """The way in which a provider has failed; the numbers are those of the API."""

    NONE = 0
    """No failure, or one whose cause is not known."""
    RATE_LIMITED = 1
    """It takes no more requests for now."""
    SERVER_ERROR = 2
    """It answered that it cannot answer."""
    TIMEOUT = 3
    """It did not answer in time."""
    CONNECTION = 4
    """Nobody could connect to it."""
    RESET = 5
    """The connection broke before the answer was whole."""
    CREDENTIALS = 6
    """It does not accept the key, or the account lacks money."""
    GONE = 7
    """It does not know the model."""

    @property
    def label(self) -> str:
        """The name in metrics, logs and messages."""
        return self.name.lower()


OF_PROVIDER: Final = frozenset({Cause.CONNECTION, Cause.CREDENTIALS})
"""Failures that say something of all models of a provider."""
OF_MODEL: Final = frozenset({Cause.GONE})
"""Failures that say nothing of the other models of a provider."""
WAITS: Final = frozenset({Cause.RATE_LIMITED, Cause.SERVER_ERROR})
"""Failures whose Retry-After leaves the model out at once."""

FIRST_ERROR: Final = 400
_SERVER_ERRORS = 500
_LAST_STATUS = 599
# Of the errors below 500, those that are not the caller's fault. The others (400, 405, 409, 413,
# 415, 422 and the like) are: the provider has answered, and would refuse the request again.
_STATUSES: Final = {
    401: Cause.CREDENTIALS,
    402: Cause.CREDENTIALS,
    403: Cause.CREDENTIALS,
    404: Cause.GONE,
    407: Cause.CREDENTIALS,
    408: Cause.TIMEOUT,
    410: Cause.GONE,
    429: Cause.RATE_LIMITED,
    504: Cause.TIMEOUT,
}


def cause_of(status: int) -> Cause:
    """Returns the cause that an HTTP status tells; NONE: success, or the caller's own fault."""
    if status in _STATUSES:
        return _STATUSES[status]
    return Cause.SERVER_ERROR if _SERVER_ERRORS <= status <= _LAST_STATUS else Cause.NONE


@dataclass(frozen=True, slots=True)
class ProviderFailure:
    """A failure of a provider.

    Attributes:
        cause: the way in which it failed.
        retry_after_s: the time in seconds after which it wants to be asked again, positive and
            finite; None: it has not said.
    """

    cause: Cause
    retry_after_s: float | None = None

    @classmethod
    def of(cls, cause: Cause, retry_after_s: float | None = None) -> Self | None:
        """Returns the failure of a cause; None: there is none.

        Args:
            cause: the way in which it failed.
            retry_after_s: as somebody told it; what is no positive number of seconds is left out.
        """
        if cause is Cause.NONE:
            return None
        told = retry_after_s is not None and math.isfinite(retry_after_s) and retry_after_s > 0.0
        return cls(cause, retry_after_s if told else None)
