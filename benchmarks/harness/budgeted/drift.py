"""Streams whose prices, models or answers change on the way: ParetoBandit's prompts, in phases.

Each phase sends every prompt once, in an order of its own. In the second phase something changes,
in the third it is over; a model that joined stays.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from harness.budgeted.bandit import BANDIT_POOL, BATCH
from routoo.predictor.artifact import load_artifact, shipped_artifact
from routoo.predictor.encoding import PaddedGraph
from routoo.predictor.onnx import OnnxPredictor
from routoo.routing.money.operating_point import PricedSample
from routoo.routing.pool import Pool, load_pool
from routoo.selector.policies.lp import round_scores

FloatArray = npt.NDArray[np.float64]
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
class Prompts:
    """n prompts and what is known of them, m models.

    Attributes:
        texts: [n].
        pool: the models.
        scores: float64 [n, m], predicted.
        score_std: float64 [n, m].
        tasks: int [n], the most probable kind of task.
        task_names: the kinds.
        input_tokens: float64 [n].
        output_tokens: float64 [n, m], predicted.
        true_scores: float64 [n, m].
        true_costs_usd: float64 [n, m], as billed.
        sample: the calibration sample of the predictor, at the pool's prices.
    """

    texts: list[str]
    pool: Pool
    scores: FloatArray
    score_std: FloatArray
    tasks: npt.NDArray[np.int64]
    task_names: tuple[str, ...]
    input_tokens: FloatArray
    output_tokens: FloatArray
    true_scores: FloatArray
    true_costs_usd: FloatArray
    sample: PricedSample

    def __len__(self) -> int:
        return len(self.texts)


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


def read_prompts(data: Path) -> Prompts:
    """Reads the prompts of ParetoBandit's validation set, with the shipped predictor's answers."""
    pool = load_pool(BANDIT_POOL)
    artifact = load_artifact(shipped_artifact())
    graph = PaddedGraph(artifact, pool.predictor_names)
    predictor = OnnxPredictor(artifact, provider="cpu", intra_op_threads=1, graph=graph)
    columns = pool.columns_in(predictor.models)
    table = pq.read_table(data / "paretobandit_val.parquet")
    texts = table["prompt"].to_pylist()
    parts = [predictor.predict(texts[at : at + BATCH]) for at in range(0, len(texts), BATCH)]

    def told(name: str) -> FloatArray:
        return np.concatenate([getattr(part, name) for part in parts]).astype(np.float64)

    def figures(kind: str) -> FloatArray:
        found = [table[f"{kind}:{name}"].to_numpy() for name in pool.names]
        return np.stack(found, axis=1).astype(np.float64)

    return Prompts(
        texts=texts,
        pool=pool,
        scores=round_scores(told("scores")[:, columns]),
        score_std=told("score_std")[:, columns],
        tasks=told("tasks").argmax(axis=1),
        task_names=parts[0].task_names,
        input_tokens=told("input_tokens"),
        output_tokens=np.rint(told("output_tokens")[:, columns]),
        true_scores=figures("score"),
        true_costs_usd=figures("cost"),
        sample=PricedSample(
            artifact.calibration_sample(), pool, artifact.columns_of(pool.predictor_names)
        ),
    )


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
