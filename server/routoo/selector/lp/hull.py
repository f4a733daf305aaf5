"""The upper hulls of all rows: every step that is worth its usage at some price."""

from dataclasses import dataclass

import numpy as np

from routoo.selector.arrays import FloatArray, IndexArray
from routoo.selector.lp.knapsack import extremes


@dataclass(frozen=True, slots=True)
class HullSteps:
    """Steps along the rows' hulls from a vertex to the next more expensive one, best ratio first.

    Attributes:
        start: int [n], each row's choice before any step: least usage, then most value.
        row: int [h], the row of each step.
        model: int [h], the model that the step leads to.
        gain: float64 [h], increase in value, above 0.
        extra: float64 [h], increase in usage, above 0.
        ratio: float64 [h], gain / extra, not increasing. The steps of one row keep their order.
    """

    start: IndexArray
    row: IndexArray
    model: IndexArray
    gain: FloatArray
    extra: FloatArray
    ratio: FloatArray


def hull_steps(values: FloatArray, usage: FloatArray) -> HullSteps:
    """Walk all rows' hulls from the cheap end, one step per pass, at most m - 1 passes.

    This is gift wrapping (Jarvis 1973) from the left, vectorised over the rows that still step.

    Args:
        values: float64 [n, m], -inf in cells that may not be chosen.
        usage: float64 [n, m], finite everywhere.
    """
    start, _ = extremes(values, usage)
    rows = np.arange(len(values))
    now_value, now_usage = values[rows, start], usage[rows, start]
    last_ratio = np.full(len(values), np.inf)
    steps: list[tuple[IndexArray, IndexArray, FloatArray, FloatArray, FloatArray]] = []
    while rows.size:
        gain = values - now_value[:, None]
        extra = usage - now_usage[:, None]
        ahead = (gain > 0.0) & (extra > 0.0)
        ratio = np.divide(gain, extra, out=np.full_like(gain, -np.inf), where=ahead)
        best = ratio.max(axis=1)
        # Of several models on one line, the furthest is the vertex.
        model = np.where(ratio == best[:, None], extra, -np.inf).argmax(axis=1)
        on = np.flatnonzero(best > 0.0)
        rows, values, usage, model = rows[on], values[on], usage[on], model[on]
        # A hull's ratios fall; rounding must not make a later step overtake an earlier one.
        last_ratio = np.minimum(best[on], last_ratio[on])
        steps.append((rows, model, gain[on, model], extra[on, model], last_ratio))
        at = np.arange(len(on))
        now_value, now_usage = values[at, model], usage[at, model]
    row, model, gains, extras, ratios = (np.concatenate(part) for part in zip(*steps, strict=True))
    order = np.argsort(-ratios, kind="stable")
    return HullSteps(start, row[order], model[order], gains[order], extras[order], ratios[order])
