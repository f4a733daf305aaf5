"""Streams whose prices, models or answers change on the way: ParetoBandit's prompts, in phases.

Each phase sends every prompt once, in an order of its own. In the second phase something changes,
in the third it is over; a model that joined stays.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from harness.budgeted.prompts import FloatArray, Prompts

IndexArray = npt.NDArray[np.intp]

SCENARIOS: Final = ("stationary", "price cut", "silent failure", "new model")
PHASES: Final = 3
CUT: Final = 0.1
"""What the best model's prices are multiplied by after the cut."""
FAILED: Final = 0.3
"""What the scores of the failing model are multiplied by."""
FAILING, NEW, DEAREST = (
    "mistralai/mistral-large-2512",
    "google/gemini-2.5-flash",
    "google/gemini-2.5-pro",
)
# The predictor's answer for a model that it knows nothing of: as the others on average, and unsure.
NEW_STD: Final = 0.2


@dataclass(frozen=True, slots=True)
class Scene:
    """A stream of k requests.

    Attributes:
        rows: int [k], the prompts.
        phases: int [k], the phase of each.
        scores: float64 [k, m], of the answers.
        costs_usd: float64 [k, m], of the answers.
        offered: bool [PHASES, m], the models that there are in each phase.
        price_factors: float64 [PHASES, m], by which the pool's prices are multiplied.
    """

    rows: IndexArray
    phases: IndexArray
    scores: FloatArray
    costs_usd: FloatArray
    offered: npt.NDArray[np.bool_]
    price_factors: FloatArray

    def __len__(self) -> int:
        return len(self.rows)


def scene_of(prompts: Prompts, scenario: str, seed: int) -> Scene:
    """Makes a stream.

    Args:
        prompts: all prompts, of which each phase sends every one.
        scenario: one of ``SCENARIOS``. In all but the last, the model that joins there is not
            in the pool, as in ParetoBandit's own experiments.
        seed: of the orders.
    """
    rng = np.random.default_rng(seed)
    n, names = len(prompts), prompts.pool.names
    rows = np.concatenate([rng.permutation(n) for _ in range(PHASES)])
    phases = np.repeat(np.arange(PHASES), n)
    scores, costs_usd = prompts.true_scores[rows].copy(), prompts.true_costs_usd[rows].copy()
    offered = np.ones((PHASES, len(names)), np.bool_)
    offered[:, names.index(NEW)] = False
    factors = np.ones((PHASES, len(names)))
    changed = phases == 1
    if scenario == "price cut":
        factors[1, names.index(DEAREST)] = CUT
        costs_usd[changed, names.index(DEAREST)] *= CUT
    elif scenario == "silent failure":
        scores[changed, names.index(FAILING)] *= FAILED
    elif scenario == "new model":
        offered[1:, names.index(NEW)] = True
    return Scene(rows, phases, scores, costs_usd, offered, factors)
