"""A report of what really happened after a decision."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OutcomeReport:
    """A report. None: not known.

    Attributes:
        decision_id: the decision that was followed.
        model: who answered, when it was another model than the decided one; else empty.
        score: how good the answer was, in [0, 1].
        cost_usd: what it cost.
        input_tokens: that the provider billed.
        output_tokens: that the provider billed.
        latency_ms: to the last token.
        error: the provider's, when there was no answer; else empty.
        tenant: whose decision it has to be; None: anybody's.
    """

    decision_id: str
    model: str = ""
    score: float | None = None
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    latency_ms: float | None = None
    error: str = ""
    tenant: str | None = None
