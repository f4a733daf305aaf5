"""Small synthetic outcomes with a known structure, and one predictor trained on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from threadpoolctl import threadpool_limits

from routoo_export.backbones.config import BackboneConfig
from routoo_export.outcomes.outcomes import Outcomes, merge_outcomes, read_outcomes
from routoo_export.outcomes.sources import PROTOCOL
from routoo_export.training.heads.train import TrainConfig
from routoo_export.training.pipeline import Recipe, train_predictor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from routoo_export.training.checkpoint import Checkpoint

WORDS = {
    "math": ["integral", "matrix", "prime", "derivative", "polynomial", "vector", "sum", "root"],
    "law": ["court", "statute", "contract", "tort", "plaintiff", "appeal", "liability", "clause"],
}
POOL_MODELS = ("small", PROTOCOL.weak, PROTOCOL.reference)
PAIR_MODELS = (PROTOCOL.weak, PROTOCOL.strong)


def write_wide(path: Path, rows: int, models: tuple[str, ...], seed: int) -> None:
    """``rows`` prompts of two domains; later models are better, all are better at law."""
    rng = np.random.default_rng(seed)
    domains = [("math", "law")[i % 2] for i in range(rows)]
    prompts = [
        " ".join(rng.choice(WORDS[domain], 12)) + f" {seed} {i}?\nA. yes\nB. no"
        for i, domain in enumerate(domains)
    ]
    columns: dict[str, Any] = {
        "prompt_id": [f"{path.stem}-{i}" for i in range(rows)],
        "prompt": prompts,
        "domain": domains,
    }
    for j, model in enumerate(models):
        chance = 0.25 + 0.2 * j + 0.25 * np.array([domain == "law" for domain in domains])
        score = (rng.random(rows) < chance).astype(np.float32)
        score[rng.random(rows) < 0.05] = np.nan
        columns[f"score:{model}"] = score
        columns[f"cost_est:{model}"] = np.full(rows, 1.0e-4 * 4.0**j)
        if model != PROTOCOL.strong:
            columns[f"resp_chars:{model}"] = rng.integers(40, 400, rows) * (j + 1)
    pq.write_table(pa.table(columns), path)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Bound the threads as the command line does: sums in another order give another predictor."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def synthetic_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in the shape of the real one."""
    folder = tmp_path_factory.mktemp("outcomes")
    write_wide(folder / f"{PROTOCOL.pool_source}.parquet", 400, POOL_MODELS, seed=1)
    write_wide(folder / f"{PROTOCOL.pair_source}.parquet", 400, PAIR_MODELS, seed=2)
    lines = ["model,usd_per_1M_input,usd_per_1M_output,source,status"]
    lines += [f"{m},1,{j + 1},test,stated" for j, m in enumerate((*POOL_MODELS, PROTOCOL.strong))]
    (folder / "prices.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def synthetic_outcomes(synthetic_data: Path) -> Outcomes:
    return merge_outcomes(
        [
            read_outcomes(synthetic_data / f"{name}.parquet", name=name, licence="MIT")
            for name in (PROTOCOL.pool_source, PROTOCOL.pair_source)
        ]
    )


@pytest.fixture(scope="session")
def quick_config() -> TrainConfig:
    return TrainConfig().quick()


@pytest.fixture(scope="session")
def quick_recipe(quick_config: TrainConfig) -> Recipe:
    return Recipe(BackboneConfig(width=32), quick_config)


@pytest.fixture(scope="session")
def checkpoint(synthetic_outcomes: Outcomes, quick_recipe: Recipe) -> Checkpoint:
    return train_predictor(synthetic_outcomes, quick_recipe)
