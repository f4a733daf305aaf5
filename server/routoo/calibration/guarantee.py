"""The cheapest price that is proven to keep quality within a drop of a reference model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from routoo.calibration.prices import price_grid
from routoo.calibration.sample import require_labels
from routoo.errors import InfeasibleError
from routoo.selector.guarantee import labels_needed, last_proven, p_values
from routoo.selector.online import decide

if TYPE_CHECKING:
    from routoo.calibration.sample import PromptSample
    from routoo.routing.operating_point import PricedSample
    from routoo.routing.pool import Pool
    from routoo.selector.arrays import FloatArray, IndexArray
    from routoo.selector.guarantee import Promise

GRID = 40
# Tests that bet take the prompts in the order given; a sorted file would not be in random order.
_SHUFFLE_SEED = 0


@dataclass(frozen=True, slots=True)
class Proven:
    """The setting that keeps the promise.

    Attributes:
        price: score per USD.
        p_value: of "loses more than the drop".
        choice: int [n], what the labelled prompts get.
        differences: float64 [n], their scores minus the reference's.
        cost_share: predicted cost over that of sending everything to the reference.
    """

    price: float
    p_value: float
    choice: IndexArray
    differences: FloatArray
    cost_share: float


def prove(
    sample: PromptSample, pool: Pool, priced: PricedSample, reference: int, promise: Promise
) -> Proven:
    """Learns the price.

    Args:
        sample: n labelled prompts that stand for the traffic to come, independent of each other
            and of what the predictor was trained on.
        pool: m models; every prompt has a true score of each.
        priced: where the grid of prices comes from.
        reference: column of the model that quality is held against.
        promise: what is promised.

    Raises:
        PromptsFileError: a label is missing.
        InfeasibleError: not even the price of 0 is proven; says how many labels it would take.
    """
    require_labels(sample, np.arange(len(pool.names)), pool)
    prices = price_grid(priced, GRID)
    rows = np.arange(len(sample))
    choices = [decide(sample.scores, sample.costs_usd, sample.mask, one) for one in prices.tolist()]
    against = sample.true_scores[:, reference]
    differences = np.stack([sample.true_scores[rows, one] - against for one in choices], axis=1)
    shuffled = np.random.default_rng(_SHUFFLE_SEED).permutation(differences)
    p = p_values(shuffled, promise)
    best = int(last_proven(p, promise.alpha))
    if best < 0:
        raise InfeasibleError(_refusal(shuffled[:, 0], promise, pool.names[reference]))
    choice = choices[best]
    cost = sample.costs_usd[rows, choice].mean() / sample.costs_usd[:, reference].mean()
    return Proven(float(prices[best]), float(p[best]), choice, differences[:, best], float(cost))


def _refusal(differences: FloatArray, promise: Promise, reference: str) -> str:
    n = len(differences)
    drop = -float(differences.mean())
    said = (
        f"{n:,} labels do not prove a drop of at most {promise.max_drop:g} against {reference} at"
        f" confidence {1.0 - promise.alpha:g}: routing for the most quality shows a drop of"
        f" {drop:.4f}"
    )
    needed = labels_needed(differences, promise)
    if needed is None:
        return f"{said}, so more labels would not help; allow a larger max_drop"
    # What was tried failed on n labels: an estimate at or below n was lucky.
    more = max(needed - n, n // 10, 1)
    return f"{said}; about {more:,} more labels would, or allow a larger max_drop"
