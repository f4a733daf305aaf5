"""Outcomes of single prompts with the shipped predictor's predictions, on models of MMLU-Pro.

The predictor has not seen the prompts as texts; the rows of the models are estimated from mean
scores, those on MMLU-Pro among them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from routoo.calibration.sample import CHUNK
from routoo.predictor.artifact import load_artifact, shipped_artifact
from routoo.predictor.base import join
from routoo.predictor.encoding import PaddedGraph
from routoo.predictor.onnx import OnnxPredictor
from routoo.routing.estimates import estimates_of
from routoo.routing.money.operating_point import PricedSample
from routoo.routing.pool import Pool, load_pool
from routoo.routing.request import PromptRequest
from routoo_export.outcomes.splits import TRAIN_BUCKETS, assign_buckets

MEASURED_POOL = Path(__file__).parents[1] / "pools" / "measured.yaml"
"""Models of the pool that MMLU-Pro has outcomes of; their names there are their names here."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """n prompts and the m models of ``MEASURED_POOL``, in the order of the file.

    Attributes:
        pool: the pool.
        scores: float64 [n, m], predicted.
        costs_usd: float64 [n, m], predicted.
        true_scores: float64 [n, m].
        true_costs_usd: float64 [n, m], as the source estimates them.
        buckets: int64 [n], buckets of the split; prompts of one question share one.
        table: the file's rows.
        priced: the predictor's calibration sample at the pool's prices.
        predictor_version: of the shipped predictor.
    """

    pool: Pool
    scores: FloatArray
    costs_usd: FloatArray
    true_scores: FloatArray
    true_costs_usd: FloatArray
    buckets: npt.NDArray[np.int64]
    table: pa.Table
    priced: PricedSample
    predictor_version: str


def read_held_out(data_dir: Path, *, seed: int = 0) -> HeldOut:
    """Reads MMLU-Pro's validation and test prompts that every model of the pool has answered."""
    pool = load_pool(MEASURED_POOL)
    table = pq.read_table(data_dir / "mmlu_pro.parquet")
    groups = [None if one is None else str(one) for one in table["dup_group"].to_pylist()]
    buckets = assign_buckets(table["prompt"].to_pylist(), groups)
    true_scores = columns(table, "score", pool.names)
    kept = np.isfinite(true_scores).all(axis=1) & ~np.isin(buckets, TRAIN_BUCKETS)
    # The file is sorted by domain, so the rows are shuffled.
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(kept))
    table = table.take(pa.array(rows))
    scores, costs_usd, priced, version = predictions(table["prompt"].to_pylist(), pool)
    return HeldOut(
        pool,
        scores,
        costs_usd,
        true_scores[rows],
        columns(table, "cost_est", pool.names),
        buckets[rows],
        table,
        priced,
        version,
    )


def predictions(prompts: list[str], pool: Pool) -> tuple[FloatArray, FloatArray, PricedSample, str]:
    """Returns predicted scores and costs [n, m], the priced calibration sample, the version."""
    artifact = load_artifact(shipped_artifact())
    at = artifact.columns_of(pool.predictor_names)
    predictor = OnnxPredictor(artifact, graph=PaddedGraph(artifact, pool.predictor_names))
    requests = [PromptRequest(prompt) for prompt in prompts]
    parts = []
    for start in range(0, len(prompts), CHUNK):
        texts = prompts[start : start + CHUNK]
        parts.append(predictor.predict(texts))
    estimates = estimates_of(join(parts), requests, pool, pool.columns_in(predictor.models), None)
    priced = PricedSample(artifact.calibration_sample(), pool, at)
    return estimates.scores, estimates.costs_usd, priced, predictor.version


def columns(table: pa.Table, kind: str, models: tuple[str, ...]) -> FloatArray:
    """Returns the columns ``kind:model`` side by side, float64 [n, m]."""
    return np.stack(
        [table[f"{kind}:{model}"].to_numpy().astype(np.float64) for model in models], axis=1
    )
