"""A caller's report of the outcome of a decision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from routoo.routing.estimates import Estimates
    from routoo.routing.health.failures import ProviderFailure
    from routoo.tariffs.usage import Usage


@dataclass(frozen=True, slots=True)
class OutcomeReport:
    """The outcome of a decision, as a caller reports it. None: not known.

    Attributes:
        decision_id: the decision that was followed.
        model: the model that answered, where it is not the decided one; else empty.
        score: quality of the answer, in [0, 1].
        cost_usd: the real cost.
        input_tokens: input tokens that the provider billed.
        output_tokens: output tokens that the provider billed.
        latency_ms: time to the last token; of a time-out, how long was waited for it.
        time_to_first_token_ms: time to the first token; the same, where the answer came in one.
        error: the provider's error, when there was no answer; else empty.
        tenant: the tenant to which the decision has to belong; None: any.
        usage: all that the provider counted for the answer; None: nothing but the fields above is
            known. It goes before ``input_tokens`` and ``output_tokens``.
        estimated: whether the provider has not told the cost: totals that ``usage`` lacks are the
            predicted ones, and its ``output_tokens`` raise the predicted ones. With an error: the
            provider may have worked, so that the predicted cost is booked.
        read: whether the service has read the usage in the provider's reply by itself.
        first_try: the failure of the decided model, where ``model`` is the fallback that was asked
            then; None: there was one try.
        status: the HTTP status of the provider's reply; 0: not known, or there was none.
        failure: the way in which the provider failed; None: it has not, or nobody knows.
        witnessed: whether Envoy tells of it, which has seen the reply, so that it counts for the
            provider's health even where the decision is another replica's.
        reason_code: why the outcome is as it is, in a word of the caller's; empty: not told.
        age_s: the time since a decision that is another replica's, in seconds.
    """

    decision_id: str
    model: str = ""
    score: float | None = None
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    latency_ms: float | None = None
    time_to_first_token_ms: float | None = None
    error: str = ""
    tenant: str | None = None
    usage: Usage | None = None
    estimated: bool = False
    read: bool = False
    first_try: ProviderFailure | None = None
    status: int = 0
    failure: ProviderFailure | None = None
    witnessed: bool = False
    reason_code: str = ""
    age_s: float = 0.0

    @property
    def is_grade(self) -> bool:
        """Whether the report tells a score, and nothing of what the answer took."""
        if self.score is None:
            return False
        rest = replace(self, score=None, reason_code="", model="")
        return rest == OutcomeReport(self.decision_id, tenant=self.tenant, age_s=self.age_s)


class ReportResult(IntEnum):
    """What came of a report; true where it was accepted. The numbers are those of the API."""

    BOOKED = 1
    """The cost is booked in the budgets in place of what was reserved."""
    COUNTED = 2
    """The outcome is counted. Nothing is booked: no budget applies, or it is a grade alone."""
    COUNTED_TOO_LATE_FOR_BUDGETS = 3
    """The outcome is counted. The budgets keep what they booked when the reservation expired."""
    UNKNOWN_DECISION = 4
    """The decision was never made here, is too old, or is another tenant's."""
    REPORTED_BEFORE = 5
    """The decision was reported before, or graded before, and that report stays."""
    TOO_LATE = 6
    """The report tells a cost alone, and the budgets can no longer correct what they booked."""
    NOTHING_TOLD = 7
    """The report tells nothing, and no budget waits for it."""
    COST_NEEDED = 8
    """This process does not remember the decision, and budgets that may need its cost."""

    def __bool__(self) -> bool:
        return self <= LAST_ACCEPTED


LAST_ACCEPTED: Final = ReportResult.COUNTED_TOO_LATE_FOR_BUDGETS
"""No result above it was accepted."""


def estimated_usage(usage: Usage, estimates: Estimates, row: int, column: int) -> Usage:
    """Returns a usage that the provider has not told to the end, with predicted totals.

    Args:
        usage: what is known of it.
        estimates: the predictions of the decision's batch.
        row: the decision.
        column: the model that answered.
    """
    read = usage.input_tokens
    if read is None:
        read = int(estimates.input_tokens[row, column])
    written = max(usage.output_tokens or 0, int(estimates.output_tokens[row, column]))
    return replace(usage, input_tokens=read, output_tokens=written)
