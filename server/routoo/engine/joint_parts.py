"""A large batch: the parts in which it is predicted and kept, and its decisions together."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

import numpy as np

from routoo.predictor.base import join
from routoo.routing.decision import BatchDecision, Predicted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from routoo.predictor.base import Prediction
    from routoo.routing.decision import DecidedBatch, Decision, Joint
    from routoo.routing.request import PromptRequest

# So many decisions of a batch keep their figures in memory together.
_KEPT_TOGETHER: Final = 1024
MOST_CHARS: Final = 1_000_000
"""Characters of prompts that are predicted at once, which takes some ten milliseconds."""


def parts_of(
    requests: Sequence[PromptRequest], most_prompts: int
) -> Iterator[Sequence[PromptRequest]]:
    """Yields all requests, in parts of so many prompts or, where these are long, of fewer."""
    start = chars = 0
    for row, request in enumerate(requests):
        size = len(request.text)
        if row > start and (row - start == most_prompts or chars + size > MOST_CHARS):
            yield requests[start:row]
            start, chars = row, 0
        chars += size
    if start < len(requests):
        yield requests[start:]


def kept_parts(decisions: Sequence[Decision]) -> Iterator[Sequence[Decision]]:
    """Yields the decisions of a batch, in its order, as decisions of parts of it.

    A decision that stays open keeps the figures of its part in memory, and not those of the whole
    batch, of which most decisions may be closed.
    """
    if len(decisions) <= _KEPT_TOGETHER:
        yield decisions
        return
    for start in range(0, len(decisions), _KEPT_TOGETHER):
        within = decisions[start : start + _KEPT_TOGETHER]
        part = within[0].batch.rows(start, start + len(within))
        yield [replace(one, batch=part, row=row) for row, one in enumerate(within)]


def batch_decision(
    batch: DecidedBatch, decisions: list[Decision], together: Joint | None
) -> BatchDecision:
    """Sums up the decisions of a batch."""
    joint = None if together is None else together.solution
    mean_score = float(np.mean(batch.scores))
    return BatchDecision(
        decisions=decisions,
        total_cost_usd=float(np.sum(batch.costs_usd)),
        mean_score=mean_score,
        bound=mean_score if joint is None else joint.bound,
        gap=0.0 if joint is None else joint.gap,
        shadow_price=max(batch.shadow_prices) if joint is None else joint.shadow_price,
        binding=() if joint is None else joint.binding,
        timing=batch.timing,
    )


def together(
    requests: Sequence[PromptRequest], parts: Sequence[Prediction], accepted_ns: int
) -> Predicted:
    """Joins the predictions of a batch's parts. Not on the event loop: the batch may be large."""
    return Predicted(
        requests, join(parts), [accepted_ns] * len(requests), accepted_ns, monotonic_ns()
    )
