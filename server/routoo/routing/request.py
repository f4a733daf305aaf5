"""A prompt to be routed, with the constraints that its answer has to keep."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """One request, free of transport. None and empty stand for: no constraint.

    Attributes:
        text: what the predictor reads; not empty.
        request_id: the caller's own name for it, returned unchanged.
        max_cost_usd: predicted cost, at most.
        min_score: predicted score in [0, 1], at least.
        max_latency_ms: predicted time to the last token, at most.
        allowed_models: only these, by their name in the pool.
        denied_models: none of these.
        required_capabilities: only models that have them all.
        tenant: who pays; empty: nobody in particular.
        policy: the policy that decides; empty: the one in force.
        max_quality_gap: what the small model may be worse by, in score; policy quality_gap.
        expected_output_tokens: the caller's estimate; replaces the predicted lengths.
        max_output_tokens: the answer is cut off there; no longer one is expected.
        added_input_tokens: what the model reads beside the text, such as tools and images.
        explain: the caller wants every candidate.
        constrained: any of the constraints above is set.
    """

    text: str
    request_id: str = ""
    max_cost_usd: float | None = None
    min_score: float | None = None
    max_latency_ms: float | None = None
    allowed_models: tuple[str, ...] = ()
    denied_models: tuple[str, ...] = ()
    required_capabilities: tuple[str, ...] = ()
    tenant: str = ""
    policy: str = ""
    max_quality_gap: float | None = None
    expected_output_tokens: int | None = None
    max_output_tokens: int | None = None
    added_input_tokens: int = 0
    explain: bool = False
    constrained: bool = False
