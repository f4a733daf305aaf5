"""The errors of the domain; every message is one line that says what to do.

They do not depend on gRPC: ``routoo.api.status`` holds the one table that turns them into status
codes, and the command line turns ``ConfigError`` into exit code 2.

RoutooError
├── InvalidRequestError      the caller's request is wrong; names the field
│   └── UnreadableBodyError  the body of an HTTP request is not JSON
├── NoEligibleModelError     the constraints leave no model; names the one that removed the last
├── InfeasibleError          no assignment keeps the batch constraints; says by how much
├── UnknownDecisionError     a decision that is not open: never made here, too old, or forgotten
├── NoRuleError              there is no rule for the signal of an answer
├── BudgetSpentError         a budget has not enough left; names it, says when there is more
├── NoBudgetError            no budget applies to the tenant, and the settings ask for one
├── UnauthenticatedError     the caller sent no credential that is known here
├── PermissionDeniedError    the caller may not do this; says what it would need
├── RateLimitedError         the caller exceeds its limits; says when to try again
├── QueueFullError           too many requests wait
├── TooLargeError            the request needs more memory than all requests may have; says how much
├── DeadlineError            the caller's deadline has passed
├── DrainingError            the service is stopping
├── PredictorError           the predictor failed, or its output is no prediction
└── ConfigError              the service cannot start with this configuration
    ├── PoolError            a wrong pool file, or a model that the predictor does not know
    └── ArtifactError        a missing, corrupt or mismatched predictor artifact
"""


class RoutooError(Exception):
    """Base of all errors that Routoo raises on purpose."""


class InvalidRequestError(RoutooError):
    """The caller's request is wrong; ``field`` names the field, e.g. ``requests[3].prompt``."""

    def __init__(self, message: str, *, field: str = "") -> None:
        self.field = field
        self.detail = message
        super().__init__(f"{field}: {message}" if field else message)

    def within(self, parent: str) -> "InvalidRequestError":
        """Returns the same error with ``parent`` before its field.

        Args:
            parent: the field that holds the request, e.g. ``requests[3]``.
        """
        field = f"{parent}.{self.field}" if self.field else parent
        return InvalidRequestError(self.detail, field=field)


class UnreadableBodyError(InvalidRequestError):
    """The body of an HTTP request is not JSON.

    ``may_be_routed`` tells whether it may name a model that is routed, for a reader that takes more
    than JSON.
    """

    may_be_routed = True


class NoEligibleModelError(RoutooError):
    """The constraints of a request leave no model. ``constraint`` removed the last one."""

    def __init__(self, message: str, *, constraint: str = "") -> None:
        self.constraint = constraint
        super().__init__(message)


class InfeasibleError(RoutooError):
    """No assignment keeps all batch constraints."""


class UnknownDecisionError(RoutooError):
    """The decision is not open here: never made, too old, or made by another replica."""


class NoRuleError(RoutooError):
    """There is no rule for the signal of an answer."""


class BudgetSpentError(RoutooError):
    """A budget cannot pay for the request. ``budget`` names it."""

    def __init__(self, message: str, *, budget: str = "") -> None:
        self.budget = budget
        super().__init__(message)


class LimitReachedError(RoutooError):
    """A limit of a provider leaves no model for the request. ``limit`` names it.

    ``retry_after_s`` tells after how many seconds to try again; None: no retry helps.
    """

    def __init__(
        self, message: str, *, limit: str = "", retry_after_s: float | None = None
    ) -> None:
        self.limit = limit
        self.retry_after_s = retry_after_s
        super().__init__(message)


class NoBudgetError(RoutooError):
    """The tenant has no budget, and the settings ask for one."""


class UnauthenticatedError(RoutooError):
    """The caller sent no credential that is known here."""


class PermissionDeniedError(RoutooError):
    """The caller is known, but may not do this."""


class RateLimitedError(RoutooError):
    """The caller exceeds the limits of one client.

    ``retry_after_s`` tells after how many seconds to try again; None: after one of the caller's own
    calls has ended.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class QueueFullError(RoutooError):
    """Too many requests wait already.

    ``retry_after_s`` tells after how many seconds to try again; None: not known.
    """

    retry_after_s: float | None = None


class TooLargeError(RoutooError):
    """The request needs more memory than all requests together may have; no retry helps."""


class DeadlineError(RoutooError):
    """The caller's deadline passed before the decision."""


class DrainingError(RoutooError):
    """The service is stopping and takes no new request."""


class PredictorError(RoutooError):
    """The predictor failed, or its output has the wrong shape or is not finite.

    ``kind`` is a label for metrics: failed, nonsense, timeout, deadline (the callers' deadline came
    before the timeout), unavailable.
    """

    def __init__(self, message: str, *, kind: str = "failed") -> None:
        self.kind = kind
        super().__init__(message)


class ConfigError(RoutooError):
    """The service cannot start with this configuration."""


class PoolError(ConfigError):
    """The pool file is wrong, or the predictor does not know one of its models."""


class ArtifactError(ConfigError):
    """The predictor artifact is missing, corrupt or does not fit together."""


def without_package(error: ModuleNotFoundError, extra: str) -> str:
    """Returns the line for a command that needs a package which is not installed.

    Args:
        error: what the import raised.
        extra: the extras of ``routoo`` that bring all that the program's commands need.

    Raises:
        ModuleNotFoundError: it is no package, but a module of Routoo, which is a mistake of ours.
    """
    package = (error.name or "").partition(".")[0]
    if package in {"", "routoo", "routoo_export"}:
        raise error
    return f"this command needs {package}, which is not installed: pip install 'routoo[{extra}]'"
