"""Page of the errors: the status that each ends a call with, and what a caller does then."""

from __future__ import annotations

import inspect
from typing import Final

from reference.text import code, page, table
from routoo import errors
from routoo.api.status import STATUS, http_status_of, status_of

REMEDIES: Final = {
    "InvalidRequestError": "Correct the field that the message names.",
    "UnreadableBodyError": "Send one JSON object.",
    "NoEligibleModelError": "Loosen the constraint that the message names.",
    "InfeasibleError": "Loosen the constraint of the batch by as much as the message says.",
    "UnknownDecisionError": "Report within `outcomes.max_age_s`, to the service that decided.",
    "NoRuleError": "Write a rule with `routoo calibrate`, or send a signal that has one.",
    "BudgetSpentError": "Wait as long as `retry_after` says, or raise the budget.",
    "LimitReachedError": "Wait as long as `retry_after` says, or allow models of other providers.",
    "NoBudgetError": "Give the tenant a budget, or set `ledger.unbudgeted: allow`.",
    "UnauthenticatedError": "Send a token that `routoo token new` has made, or a certificate.",
    "PermissionDeniedError": "Use a credential of the tenant or role that the message names.",
    "RateLimitedError": "Wait as long as `retry_after` says.",
    "QueueFullError": "Wait as long as `retry_after` says; more replicas or `workers` if it stays.",
    "TooLargeError": "Send less at once, or raise `limits.max_in_flight_bytes`.",
    "DeadlineError": "Allow the call more time.",
    "DrainingError": "Call again: another replica, or this one when it is back.",
    "PredictorError": "Read the service's log; the shipped prior takes over where it can.",
}
_BASES: Final = {"RoutooError", "ConfigError", "PoolError", "ArtifactError"}


def errors_page() -> str:
    """Returns the page of the errors of a call."""
    rows = []
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, errors.RoutooError) and name not in _BASES:
            error = kind.__new__(kind)
            status, _ = status_of(error)
            told = kind in STATUS
            words = (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("``", "`")
            rows.append(
                [
                    code(name),
                    code(status.name),
                    code(http_status_of(error)),
                    words
                    if told
                    else f"{words} Callers are told no more than that it is internal.",
                    REMEDIES[name],
                ]
            )
    return page(
        "Errors of calls",
        "Made of the table that ends a call. Anything else is `INTERNAL` and 500, with a fixed"
        " text; the detail is in the service's log. A refusal over HTTP is a problem of RFC 9457"
        " with the gRPC status as `code` and, where a field is wrong, `field`; over gRPC"
        " `grpc-retry-pushback-ms` says when to try again, over HTTP `retry-after`.",
        table(["error", "gRPC", "HTTP", "means", "what to do"], rows),
        "A command turns these into [exit codes](commands.md#exit-codes). A wrong settings file,"
        " pool or artifact keeps a service from starting, and a reload keeps the one in use; the"
        " line names the file and the key.",
    )
