"""The costs of a turn: with what providers have cached, and with the turns ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from routoo.routing.sessions.state import MIN_CACHED_TOKENS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from routoo.routing.pool import Pool
    from routoo.routing.sessions.rows import SessionRows
    from routoo.selector.arrays import BoolArray, FloatArray

    Times = NDArray[np.int64] | int | None


def turn_costs_usd(
    rows: SessionRows,
    pool: Pool,
    input_tokens: FloatArray,
    output_tokens: FloatArray,
    priced_s: Times,
) -> FloatArray:
    """Returns what this turn costs on each model, with what is cached, in USD, float64 [n, m].

    What a model's provider has cached is billed at the price of cached input, and the rest at the
    price of writing where it is written.

    Args:
        rows: the n sessions; rows without one get the costs of a request without a cache.
        pool: the m models.
        input_tokens: float64 [n, m].
        output_tokens: float64 [n, m].
        priced_s: [n] or one for all, the time whose prices hold, in seconds since 1970; None: the
            mean prices of a week.
    """
    cached = np.minimum(rows.cached, input_tokens)
    return _costs_usd(rows, pool, input_tokens, cached, output_tokens, priced_s)


def weighed_usd(
    rows: SessionRows,
    pool: Pool,
    turn_usd: FloatArray,
    input_tokens: FloatArray,
    output_tokens: FloatArray,
    priced_s: Times,
) -> FloatArray:
    """Returns the mean cost of this turn and the turns ahead, in USD, float64 [n, m].

    It is the break-even rule of ski rental with an expected number of turns: a switch costs now,
    and saves later; its costs are spread over the turns for which the choice counts. A model whose
    cache is warm pays little now; one whose price is low pays little in each turn ahead.

    Args:
        rows: the n sessions; other rows keep ``turn_usd``.
        pool: the m models.
        turn_usd: float64 [n, m], what this turn costs.
        input_tokens: float64 [n, m].
        output_tokens: float64 [n, m]; those of the turns ahead are taken to be the same.
        priced_s: see ``turn_costs_usd``.
    """
    growth = np.where(np.isnan(rows.growth)[:, None], output_tokens, rows.growth[:, None])
    longer = input_tokens + growth
    kept = np.where(_is_cached(rows, pool, input_tokens), input_tokens, 0.0)
    warm = _costs_usd(rows, pool, longer, kept, output_tokens, priced_s)
    cold = _costs_usd(rows, pool, longer, np.zeros_like(kept), output_tokens, priced_s)
    share = rows.warm[:, None]
    ahead = rows.ahead[:, None]
    weighed = (turn_usd + ahead * (share * warm + (1.0 - share) * cold)) / (1.0 + ahead)
    return np.where(rows.on[:, None], weighed, turn_usd)


def moved_usd(
    rows: SessionRows,
    pool: Pool,
    turn_usd: FloatArray,
    input_tokens: FloatArray,
    output_tokens: FloatArray,
    priced_s: Times,
) -> FloatArray:
    """Returns what leaving the current model costs in this turn, in USD, float64 [n, m].

    It is what each model's turn costs beyond what it would cost if that model had in its cache what
    the current one has. 0 in rows without a current model.
    """
    at = np.maximum(rows.current, 0)[:, None]
    current = np.take_along_axis(rows.cached, at, axis=1)
    alike = np.minimum(np.maximum(rows.cached, current), input_tokens)
    if_warm = _costs_usd(rows, pool, input_tokens, alike, output_tokens, priced_s)
    return np.where(rows.current[:, None] >= 0, np.maximum(turn_usd - if_warm, 0.0), 0.0)


def _costs_usd(
    rows: SessionRows,
    pool: Pool,
    input_tokens: FloatArray,
    cached: FloatArray,
    output_tokens: FloatArray,
    priced_s: Times,
) -> FloatArray:
    written = np.where(_is_cached(rows, pool, input_tokens), input_tokens - cached, 0.0)
    return pool.prices.cached_costs_usd(input_tokens, cached, written, output_tokens, priced_s)


def _is_cached(rows: SessionRows, pool: Pool, input_tokens: FloatArray) -> BoolArray:
    """Returns whether each model's provider keeps the input in its cache, bool [n, m]."""
    prices = pool.prices
    kept = prices.sells_cache & (rows.writes[:, None] | ~prices.sells_writes)
    found: BoolArray = kept & rows.on[:, None] & (input_tokens >= MIN_CACHED_TOKENS)
    return found
