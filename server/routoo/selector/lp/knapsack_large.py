"""One coupling row over very many prompts: most are settled without the knapsack.

A prompt that takes the same model at a price above the optimum's and at one below it takes that
model at every price between them, because the value of the best model minus the price of its usage
is convex in the price. Two prices that enclose the optimum's come from a sample. The prompts that
they do not settle, a few in a hundred, are solved exactly within what the others leave of the
limit. Where the price that is found lies outside the two, they are moved apart. So the optimum is
exact, and large arrays are read block by block, in the order of memory, and not copied.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from routoo.selector.arrays import FloatArray, IndexArray
from routoo.selector.lp.knapsack import UnreachableError, extremes, solve_row
from routoo.selector.lp.problem import SUM_RTOL, Optimum

# Prompts of a block, whose arrays then stay in the processor's cache.
_BLOCK = 8_192

# Prompts of the sample.
_SAMPLE = 20_000

# Errors of the sample that are allowed for, as shares of the limit, tried in turn; with the last
# one any price is possible.
_MARGINS = (0.03, 0.2, np.inf)


@dataclass(frozen=True, slots=True)
class _Enclosure:
    """Two prices that should enclose the optimum's.

    Attributes:
        low: the lower one, at least 0.
        high: the upper one; may be infinite.
    """

    low: float
    high: float


def solve_large(values: FloatArray, usage: FloatArray, limit: float) -> Optimum:
    """Maximise the summed value while the summed usage is at most ``limit``.

    Of several optima it may return another one than ``knapsack.solve_row``.

    Args:
        values: float64 [n, m], -inf in cells that may not be chosen.
        usage: float64 [n, m], finite everywhere, of any sign.
        limit: float, in the unit of ``usage``.

    Raises:
        UnreachableError: no choice is within the limit.
    """
    limit += SUM_RTOL * abs(limit)
    for margin in _MARGINS:
        prices = _enclosure(values, usage, limit, margin)
        choice, is_open = _choices(values, usage, prices)
        settled = np.flatnonzero(~is_open)
        taken = float(usage[settled, choice[settled]].sum())
        rows = np.flatnonzero(is_open)
        if not rows.size:
            # The knapsack needs a prompt; to leave the model of the last one open loses nothing.
            rows = settled[-1:]
            taken -= float(usage[rows[0], choice[rows[0]]])
            settled = settled[:-1]
        try:
            part = solve_row(values[rows], usage[rows], limit - taken)
        except UnreachableError as error:
            if np.isinf(margin):
                raise UnreachableError(taken + error.least) from None
            continue
        price = float(part.prices[0])
        if prices.low <= price <= prices.high:
            break
    choice[rows] = part.choice
    settled_value = float(values[settled, choice[settled]].sum())
    bound = price * limit + sum(
        float(_best(block_values - price * block_usage)[0].sum())
        for block_values, block_usage, _ in _blocks(values, usage)
    )
    return Optimum(choice, part.prices, settled_value + part.relaxed_value, bound)


def _enclosure(values: FloatArray, usage: FloatArray, limit: float, margin: float) -> _Enclosure:
    """Return the prices at which a sample spends its part of the limit, plus or minus a margin."""
    if np.isinf(margin):
        return _Enclosure(0.0, np.inf)
    step = max(len(values) // _SAMPLE, 1)
    sample_values, sample_usage = values[::step].copy(), usage[::step].copy()
    part = limit * len(sample_values) / len(values)
    slack = margin * abs(part)
    high = np.inf
    try:
        low = float(solve_row(sample_values, sample_usage, part + slack).prices[0])
        high = float(solve_row(sample_values, sample_usage, part - slack).prices[0])
    except UnreachableError as error:
        if part + slack < error.least:
            low = 0.0
    # At a price of 0 the limit does not bind in the sample; it may bind over all prompts.
    return _Enclosure(low, high if high > low else np.inf)


def _choices(
    values: FloatArray, usage: FloatArray, prices: _Enclosure
) -> tuple[IndexArray, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Return the choice at the lower price, int [n], and where the upper one differs, bool [n]."""
    choice = np.empty(len(values), dtype=np.intp)
    is_open = np.empty(len(values), dtype=np.bool_)
    for block_values, block_usage, rows in _blocks(values, usage):
        if prices.low > 0.0 and np.isfinite(prices.high):
            _, at_low = _best(block_values - prices.low * block_usage)
            _, at_high = _best(block_values - prices.high * block_usage)
        else:
            at_high, at_low = extremes(values[rows], usage[rows])
            if prices.low > 0.0:
                _, at_low = _best(block_values - prices.low * block_usage)
            if np.isfinite(prices.high):
                _, at_high = _best(block_values - prices.high * block_usage)
        choice[rows] = at_low
        is_open[rows] = at_low != at_high
    return choice, is_open


def _blocks(
    values: FloatArray, usage: FloatArray
) -> Iterator[tuple[FloatArray, FloatArray, slice]]:
    """Yield values, usage and rows of blocks of b prompts, transposed to [m, b].

    Sums and maxima over models then run along memory.
    """
    for start in range(0, len(values), _BLOCK):
        rows = slice(start, start + _BLOCK)
        yield np.ascontiguousarray(values[rows].T), np.ascontiguousarray(usage[rows].T), rows


def _best(worth: FloatArray) -> tuple[FloatArray, IndexArray]:
    """Return the largest worth per prompt, [b], of [m, b], and its model, the first of a tie."""
    best = worth[0].copy()
    model = np.zeros(worth.shape[1], dtype=np.intp)
    for index in range(1, len(worth)):
        np.copyto(model, index, where=worth[index] > best)
        np.maximum(best, worth[index], out=best)
    return best, model
