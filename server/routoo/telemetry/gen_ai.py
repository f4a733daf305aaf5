"""Names of OpenTelemetry's semantic conventions for generative AI, and attributes of spans by them.

The span of a decision tells the request as it is to be sent; that of a report tells the answer. The
names are those of version 1.37 of the conventions, which are still in development; what Routoo
alone knows has names that begin with ``routoo.``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from routoo.routing.decision import Decision
    from routoo.routing.outcome import OutcomeReport

OPERATION: Final = "route"
"""The operation: none of those that the conventions define, as no model is asked here."""
PROVIDERS: Final = {
    "x-ai": "x_ai",
    "xai": "x_ai",
    "mistralai": "mistral_ai",
    "mistral": "mistral_ai",
    "google": "gcp.gemini",
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "vertex_ai": "gcp.vertex_ai",
}
"""Names of providers in the conventions, where the pool's usual ones, in lower case, are others."""
TOKEN_BUCKETS: Final = tuple(4**power for power in range(14))
"""Upper bounds that the conventions ask of counts of tokens."""
Attribute = str | int | float | bool


def asked(decision: Decision) -> dict[str, Attribute]:
    """Returns the attributes of a decision: the request that it makes of a model."""
    batch, row = decision.batch, decision.row
    provider = batch.pool.specs[batch.choices[row]].provider
    found: dict[str, Attribute] = {
        "gen_ai.operation.name": OPERATION,
        "gen_ai.request.model": decision.model,
        "routoo.predicted_input_tokens": int(batch.input_tokens[row]),
        "routoo.predicted_output_tokens": int(batch.output_tokens[row]),
        "routoo.predicted_latency_ms": batch.latencies_ms[row],
    }
    if provider:
        found["gen_ai.provider.name"] = PROVIDERS.get(provider.lower(), provider)
    if decision.longest_answer is not None:
        found["gen_ai.request.max_tokens"] = decision.longest_answer
    if decision.answers > 1:
        found["gen_ai.request.choice.count"] = decision.answers
    return found


def reported(outcome: OutcomeReport) -> dict[str, Attribute]:
    """Returns the attributes of a report: the answer, as far as it is told."""
    usage = outcome.usage
    known: dict[str, Attribute | None] = {
        "routoo.decision_id": outcome.decision_id,
        "gen_ai.response.model": outcome.model or ("" if usage is None else usage.model) or None,
        "gen_ai.response.id": None if usage is None else usage.reply_id or None,
        "gen_ai.usage.input_tokens": outcome.input_tokens if usage is None else usage.input_tokens,
        "gen_ai.usage.output_tokens": (
            outcome.output_tokens if usage is None else usage.output_tokens
        ),
        "routoo.reported_cost_usd": outcome.cost_usd,
        "routoo.reported_score": outcome.score,
        "routoo.failed": True if outcome.error else None,
    }
    return {name: value for name, value in known.items() if value is not None}
