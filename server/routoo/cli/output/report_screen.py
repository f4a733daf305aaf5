"""Screen and error of ``routoo report``: what came of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from routoo.cli.output.render import Block, TextLine
from routoo.v1 import outcome_pb2

if TYPE_CHECKING:
    from routoo.v1.outcome_pb2 import ReportOutcomeResponse

_ACCEPTED: Final = {
    outcome_pb2.REPORT_RESULT_COUNTED: "counted; nothing was to be booked",
    outcome_pb2.REPORT_RESULT_COUNTED_TOO_LATE_FOR_BUDGETS: (
        "counted; too late for the budgets, which keep what they booked when it expired"
    ),
}
_REFUSED: Final = {
    outcome_pb2.REPORT_RESULT_UNKNOWN_DECISION: "is unknown or too old",
    outcome_pb2.REPORT_RESULT_REPORTED_BEFORE: "was reported before",
    outcome_pb2.REPORT_RESULT_TOO_LATE: (
        "expired too long ago for its cost to be booked; report within ledger.reservation_ttl_s"
    ),
    outcome_pb2.REPORT_RESULT_NOTHING_TOLD: (
        "has no budget that waits for it, and the report tells nothing; add a --score, a cost or"
        " tokens"
    ),
    outcome_pb2.REPORT_RESULT_COST_NEEDED: (
        "is not remembered by this process; add --cost-usd, or the tokens and --model, which the"
        " budgets need"
    ),
}


def accepted(response: ReportOutcomeResponse) -> list[Block]:
    """Shows what was done with an outcome that was accepted."""
    return [TextLine(_ACCEPTED.get(response.result, "booked"), "good")]


def refusal(decision_id: str, response: ReportOutcomeResponse) -> str:
    """Returns the line that says why an outcome was not accepted."""
    # A service of an older version does not tell.
    why = _REFUSED.get(response.result, "is unknown, too old, or was reported before")
    return f"decision {decision_id} {why}; nothing was booked"


def values(decision_id: str, response: ReportOutcomeResponse) -> dict[str, Any]:
    """Returns what came of a report, for JSON; without ``result`` where the service tells none."""
    told: dict[str, Any] = {"decision_id": decision_id, "accepted": response.accepted}
    if response.result:
        name = outcome_pb2.ReportResult.Name(response.result)
        told["result"] = name.removeprefix("REPORT_RESULT_").lower()
    return told
