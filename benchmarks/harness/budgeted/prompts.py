"""ParetoBandit's validation set: prompts, what is predicted of them, what they cost and scored."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from routoo.predictor.artifact import load_artifact, shipped_artifact
from routoo.predictor.encoding import PaddedGraph
from routoo.predictor.onnx import OnnxPredictor
from routoo.routing.money.operating_point import PricedSample
from routoo.routing.pool import Pool, load_pool
from routoo.selector.policies.lp import round_scores

FloatArray = npt.NDArray[np.float64]

BANDIT_POOL = Path(__file__).parents[1] / "pools" / "bandit.yaml"
BATCH = 64


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
