"""The longest answer that a limit of the cost pays for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from routoo.routing.estimates import most_input_tokens_of

if TYPE_CHECKING:
    from routoo.routing.estimates import Estimates
    from routoo.routing.pool import Pool
    from routoo.routing.request import PromptRequest

_MANY = 1e6


def affordable_output_tokens(
    request: PromptRequest, estimates: Estimates, row: int, column: int, pool: Pool
) -> int | None:
    """Returns the longest answer, in tokens, with which a request keeps its ``max_cost_usd``.

    The input is counted as generously as it is for a request with a longest answer. At least 1,
    also where the limit pays for no answer at such an input.

    Args:
        request: the request.
        estimates: of its batch.
        row: the request's row there.
        column: the model that answers.
        pool: the models.

    Returns:
        None: the request has no such limit, or sets a longest answer itself, or output is free.
    """
    limit_usd = request.constraints.get("max_cost_usd")
    if limit_usd is None or request.max_output_tokens is not None:
        return None
    one = slice(row, row + 1)
    inputs = most_input_tokens_of(request, estimates.input_tokens[row], pool)[None, :]

    def most_usd(output_tokens: float) -> float:
        costs = pool.prices.most_usd(
            inputs,
            np.full((1, len(pool.names)), output_tokens),
            None if estimates.priced_s is None else estimates.priced_s[one],
            mixed=np.array([request.mixed]),
            images=np.array([request.images], np.float64),
            service_tiers=[request.service_tier],
        )
        return float(costs[0, column])

    per_token_usd = (most_usd(_MANY) - most_usd(0.0)) / _MANY
    if per_token_usd <= 0.0:
        return None
    longest = float(pool.longest_answers[column])
    tokens = (limit_usd - most_usd(0.0)) / per_token_usd / request.answers
    tokens = min(longest, math.floor(tokens) - request.added_output_tokens)
    if (
        tokens > 0
        and most_usd((tokens + request.added_output_tokens) * request.answers) > limit_usd
    ):
        tokens -= 1  # the division was rounded up
    return max(1, int(tokens))
