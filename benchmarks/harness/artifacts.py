"""Artifacts to measure speed with: the whole of MiniLM, and heads trained on made-up outcomes.

The time of a prompt does not depend on the values of the weights.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.prompts import varied_prompts
from routoo.predictor.artifact import shipped_artifact
from routoo_export.artifact.artifact import write_artifact
from routoo_export.backbones.config import DEFAULTS
from routoo_export.outcomes.outcomes import read_outcomes
from routoo_export.training.heads.train import TrainConfig
from routoo_export.training.pipeline import Recipe, train_predictor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routoo_export.graph.precision import Precision
    from routoo_export.training.checkpoint import Checkpoint

MODELS = 8
PROMPTS = 240
LAYERS = 6
DOMAINS = 4


def minilm(folder: Path) -> Checkpoint:
    """Trains heads on all six layers of MiniLM, frozen; writes the outcomes into ``folder``."""
    outcomes = read_outcomes(
        _outcomes(folder / "made-up.parquet"), name="made-up", licence="CC0-1.0"
    )
    backbone = replace(DEFAULTS["encoder"], layers=(LAYERS,))
    return train_predictor(outcomes, Recipe(backbone, TrainConfig().quick()))


def export_minilm(checkpoint: Checkpoint, folder: Path, precision: Precision) -> Path:
    """Writes the checkpoint's artifact to ``folder``/PRECISION/predictor/1; returns that."""
    version = folder / precision / "predictor" / "1"
    outcomes = read_outcomes(folder / "made-up.parquet", name="made-up", licence="CC0-1.0")
    write_artifact(checkpoint, outcomes, {}, version, precision=precision)
    return version


@contextmanager
def artifacts_or_defaults(
    folders: list[Path] | None, *, shipped: bool = True
) -> Iterator[list[Path]]:
    """Yields the given version folders; None: the shipped predictor's and one of MiniLM at int8.

    Without ``shipped`` the latter alone. It is removed at the end.
    """
    with TemporaryDirectory() as scratch:
        if folders is None:
            folder = Path(scratch)
            folders = [export_minilm(minilm(folder), folder, "int8")]
            if shipped:
                folders.insert(0, shipped_artifact())
        yield folders


def _outcomes(path: Path) -> Path:
    rng = np.random.default_rng(0)
    columns: dict[str, list[object]] = {
        "prompt_id": [f"p{row}" for row in range(PROMPTS)],
        "prompt": list(varied_prompts(PROMPTS)),
        "domain": [f"d{row % DOMAINS}" for row in range(PROMPTS)],
    }
    for model in range(MODELS):
        chance = 0.2 + 0.6 * model / MODELS
        columns[f"score:m{model}"] = (rng.random(PROMPTS) < chance).astype(float).tolist()
        columns[f"resp_chars:m{model}"] = rng.integers(40, 900, PROMPTS).tolist()
    pq.write_table(pa.table(columns), path)
    return path
