"""The cheapest way through sessions with hindsight, by dynamic programming over warm caches.

A turn's cost on a model depends on when that model was asked last. A state is one such time per
model, so that every cache that may still be warm counts, and not that of the last model alone.
Maximising predicted score minus price times bill at many prices gives, by weak duality, a bound on
the bill of any way with a given total score (Everett 1963, "Generalized Lagrange multiplier
method").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.agent_traces import TTL_S
from routoo.routing.sessions.state import MIN_CACHED_TOKENS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from harness.agent_traces import Trace
    from routoo.routing.pool import Pool

    Floats = NDArray[np.float64]

_BITS = 6  # of a lag in a state's key; sessions have at most 60 turns
_REFERENCES = 24  # states that the others are compared with


@dataclass(frozen=True, slots=True)
class Way:
    """What a way through sessions comes to.

    Attributes:
        bill_usd: what the providers bill.
        score: sum of the predicted scores.
        switches: turns with another model than the turn before.
    """

    bill_usd: float
    score: float
    switches: int = 0


def turn_costs(trace: Trace, pool: Pool) -> Floats:
    """Returns what each turn costs by the lag of its model, in USD, float64 [t, t + 1, m].

    Lag k: the model was asked k turns before; 0: never, or so long ago that its cache is cold.
    """
    turns, models = len(trace.at_s), len(pool.names)
    costs = np.empty((turns, turns + 1, models))
    for turn in range(turns):
        cached = np.zeros(turns + 1)
        for lag in range(1, turn + 1):
            is_warm = trace.at_s[turn] - trace.at_s[turn - lag] < TTL_S
            tokens = trace.input_tokens[turn - lag]
            cached[lag] = tokens if is_warm and tokens >= MIN_CACHED_TOKENS else 0.0
        wide = np.full((turns + 1, models), trace.input_tokens[turn])
        read = np.minimum(np.repeat(cached[:, None], models, axis=1), wide)
        written = np.where(wide >= MIN_CACHED_TOKENS, wide - read, 0.0)
        output = np.full((turns + 1, models), trace.output_tokens[turn])
        costs[turn] = pool.prices.cached_costs_usd(wide, read, written, output, None)
    return costs


def cache_worth(trace: Trace, pool: Pool) -> Floats:
    """Returns what the cache of each turn's input saves when it is read once, in USD, [t, m]."""
    wide = np.repeat(trace.input_tokens[:, None], len(pool.names), axis=1)
    nothing, written = np.zeros_like(wide), np.where(wide >= MIN_CACHED_TOKENS, wide, 0.0)
    cold = pool.prices.cached_costs_usd(wide, nothing, written, nothing, None)
    warm = pool.prices.cached_costs_usd(wide, written, nothing, nothing, None)
    return cold - warm


def best_way(
    traces: Sequence[Trace], costs: Sequence[Floats], worth_usd: Sequence[Floats], price: float
) -> Way:
    """Returns the way of the highest score minus price times bill.

    Args:
        traces: the sessions.
        costs: of each, see ``turn_costs``.
        worth_usd: of each, see ``cache_worth``.
        price: score per USD.
    """
    ways = [
        _best(trace, own, worth, price)
        for trace, own, worth in zip(traces, costs, worth_usd, strict=True)
    ]
    return Way(sum(one.bill_usd for one in ways), sum(one.score for one in ways))


def least_bill_usd(score: float, optima: Sequence[tuple[float, Way]]) -> float:
    """Returns a bill below which no way has a total score; ``optima``: prices with their ways."""
    return max(way.bill_usd + (score - way.score) / price for price, way in optima)


def _best(trace: Trace, costs: Floats, worth_usd: Floats, price: float) -> Way:
    turns, _, models = costs.shape
    every = np.arange(models)
    lags = np.zeros((1, models), np.int64)
    bills, scores = np.zeros(1), np.zeros(1)
    for turn in range(turns):
        paid = costs[turn][lags, every]  # [s, m]
        # One new state per state and model.
        bills = (bills[:, None] + paid).ravel()
        scores = (scores[:, None] + trace.scores[turn]).ravel()
        lags = np.repeat(np.where(lags > 0, lags + 1, 0)[:, None, :], models, axis=1)
        lags[:, every, every] = 1
        lags = lags.reshape(-1, models)
        if turn + 1 < turns:
            lags = np.where(_is_warm(trace, turn + 1, lags), lags, 0)
            values = scores - price * bills
            caches = price * np.where(lags > 0, worth_usd[turn + 1 - lags, every], 0.0)
            kept = _not_behind(_best_of_each(lags, values), lags, values, caches)
            lags, bills, scores = lags[kept], bills[kept], scores[kept]
    best = int(np.argmax(scores - price * bills))
    return Way(float(bills[best]), float(scores[best]))


def _best_of_each(lags: NDArray[np.int64], values: Floats) -> NDArray[np.intp]:
    """Returns the best of the rows that are the same state."""
    keys = (lags << (_BITS * np.arange(lags.shape[1]))).sum(axis=1)
    order = np.lexsort((-values, keys))
    first = np.ones(len(order), np.bool_)
    first[1:] = keys[order][1:] != keys[order][:-1]
    return order[first]


def _not_behind(
    rows: NDArray[np.intp], lags: NDArray[np.int64], values: Floats, caches: Floats
) -> NDArray[np.intp]:
    """Leaves out states that are behind another one by more than their own caches are worth.

    From the other one, the same models may be asked. A model that it has asked as late or later
    costs no more then; any other one costs at most once what its cache saves here.
    """
    lags, values, caches = lags[rows], values[rows], caches[rows]
    left = np.ones(len(rows), np.bool_)
    for other in np.argsort(-values)[:_REFERENCES]:
        lacks = (lags[other] == 0) | (lags[other] > lags)
        more = np.where(lacks, caches, 0.0).sum(axis=1)
        left &= (values + more >= values[other]) | (np.arange(len(rows)) == other)
    return rows[left]


def _is_warm(trace: Trace, turn: int, lags: NDArray[np.int64]) -> NDArray[np.bool_]:
    asked_s = trace.at_s[turn - lags]
    found: NDArray[np.bool_] = (lags > 0) & (trace.at_s[turn] - asked_s < TTL_S)
    return found
