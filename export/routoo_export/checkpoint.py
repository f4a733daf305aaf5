"""A trained predictor between `train` and `export`: arrays in one .npz, the rest in one .json."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from routoo_export.errors import CheckpointError
from routoo_export.features import TokenTable
from routoo_export.network import Weights
from routoo_export.outcomes import Source
from routoo_export.train import TrainConfig

ARRAYS_FILE: Final = "predictor.npz"
RECORD_FILE: Final = "predictor.json"
METRICS_FILE: Final = "metrics.json"


@dataclass(frozen=True, slots=True)
class Record:
    """What the manifest must know of the training.

    models: in the order of the outputs. prior_scores [m] in [0, 1], prior_output_tokens [m]: means
    over the training rows. mean_rule_models: those without recorded response lengths.
    """

    models: tuple[str, ...]
    config: TrainConfig
    sources: tuple[Source, ...]
    prior_scores: tuple[float, ...]
    prior_output_tokens: tuple[float, ...]
    mean_rule_models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trained predictor."""

    table: TokenTable
    weights: Weights
    record: Record


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write both files into `folder`, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {
        f"weights.{name}": array for name, array in checkpoint.weights.arrays().items()
    }
    for field in fields(TokenTable):
        arrays[f"table.{field.name}"] = getattr(checkpoint.table, field.name)
    np.savez_compressed(folder / ARRAYS_FILE, **arrays)
    text = json.dumps(asdict(checkpoint.record), indent=2) + "\n"
    (folder / RECORD_FILE).write_text(text, encoding="utf-8")


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote.

    Raises:
        CheckpointError: a file is missing or of another version of this package.
    """
    try:
        with np.load(folder / ARRAYS_FILE) as arrays:
            table = TokenTable(**{f.name: arrays[f"table.{f.name}"] for f in fields(TokenTable)})
            weights = Weights(**{f.name: arrays[f"weights.{f.name}"] for f in fields(Weights)})
        record = _record(json.loads((folder / RECORD_FILE).read_text(encoding="utf-8")))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder}: no usable checkpoint ({error}); run `routoo-export train` first"
        ) from error
    return Checkpoint(table=table, weights=weights, record=record)


def read_metrics(folder: Path) -> dict[str, Any]:
    """The metrics that `routoo-export evaluate` left beside the checkpoint.

    Raises:
        CheckpointError: there are none, or they are not JSON.
    """
    try:
        metrics: dict[str, Any] = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder}: no metrics ({error}); run `routoo-export evaluate` first"
        ) from error
    return metrics


def _record(values: dict[str, Any]) -> Record:
    return Record(
        models=tuple(values["models"]),
        config=TrainConfig(**values["config"]),
        sources=tuple(Source(**source) for source in values["sources"]),
        prior_scores=tuple(values["prior_scores"]),
        prior_output_tokens=tuple(values["prior_output_tokens"]),
        mean_rule_models=tuple(values["mean_rule_models"]),
    )
