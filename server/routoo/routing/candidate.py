"""A model of the pool beside the chosen one, with what was predicted for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """The predictions of one model, or of one of its arms, for one prompt.

    Attributes:
        model: its name in the pool.
        arm: the name of its arm; empty: it has none.
        score: predicted score, in [0, 1].
        cost_usd: predicted cost.
        latency_ms: predicted time to the last token.
        output_tokens: predicted length of the answer.
        utility: score minus shadow price times cost, and minus what limits of providers take off.
        percentile_latency_ms: the time at the percentile that the request names; None: it names
            none.
        removed_by: the constraint that removed the model; empty: it is eligible.
        score_std: standard deviation of the score; None: not known.
        evidence: graded prompts behind the score; None: not known.
        averages: published averages behind the score; None: not known.
    """

    model: str
    arm: str
    score: float
    cost_usd: float
    latency_ms: float
    output_tokens: float
    utility: float
    removed_by: str
    score_std: float | None = None
    evidence: float | None = None
    averages: float | None = None
    percentile_latency_ms: float | None = None
