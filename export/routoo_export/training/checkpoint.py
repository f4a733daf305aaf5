"""Checkpoints: trained predictors between ``train`` and ``export``.

A checkpoint is a folder with the heads' arrays in a .npz file, the record in a .json file, and the
backbone in a folder of its own.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from routoo_export.backbones.base import Backbone
from routoo_export.backbones.config import BackboneConfig
from routoo_export.backbones.load import load_backbone
from routoo_export.errors import CheckpointError
from routoo_export.network.network import Weights
from routoo_export.outcomes.outcomes import Source
from routoo_export.training.finetune.config import FinetuneConfig
from routoo_export.training.heads.train import TrainConfig

ARRAYS_FILE: Final = "predictor.npz"
RECORD_FILE: Final = "predictor.json"
METRICS_FILE: Final = "metrics.json"
BACKBONE_FOLDER: Final = "backbone"


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """Facts of the training that the artifact's manifest needs.

    Attributes:
        models: The m models in the order of the outputs.
        config: Settings of the heads.
        backbone: Settings of the backbone.
        sources: The sources of the outcomes.
        prior_scores: Mean score of each model over the training rows, [m] in [0, 1].
        prior_output_tokens: Mean output tokens of each model over the training rows, [m].
        mean_rule_models: Models without recorded response lengths.
        finetune: Settings of the fine-tuning; None = the backbone was not fine-tuned.
    """

    models: tuple[str, ...]
    config: TrainConfig
    backbone: BackboneConfig
    sources: tuple[Source, ...]
    prior_scores: tuple[float, ...]
    prior_output_tokens: tuple[float, ...]
    mean_rule_models: tuple[str, ...]
    finetune: FinetuneConfig | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trained predictor.

    Attributes:
        backbone: Computes the features of a prompt.
        weights: The heads on these features.
        record: Facts of the training.
    """

    backbone: Backbone
    weights: Weights
    record: CheckpointRecord


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the checkpoint into ``folder``, which is created where it is missing."""
    checkpoint.backbone.save(folder / BACKBONE_FOLDER)
    arrays: dict[str, Any] = {
        f"weights.{name}": array for name, array in checkpoint.weights.arrays().items()
    }
    np.savez_compressed(folder / ARRAYS_FILE, **arrays)
    text = json.dumps(asdict(checkpoint.record), indent=2) + "\n"
    (folder / RECORD_FILE).write_text(text, encoding="utf-8")


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint that ``save_checkpoint`` wrote.

    Raises:
        CheckpointError: a file is missing or of another version of this package.
    """
    try:
        with np.load(folder / ARRAYS_FILE) as arrays:
            weights = Weights.of(
                {name.removeprefix("weights."): arrays[name] for name in arrays.files}
            )
        record = _record(json.loads((folder / RECORD_FILE).read_text(encoding="utf-8")))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder}: no usable checkpoint ({error}); run `routoo-export train` first"
        ) from error
    backbone = load_backbone(folder / BACKBONE_FOLDER)
    return Checkpoint(backbone=backbone, weights=weights, record=record)


def read_metrics(folder: Path) -> dict[str, Any]:
    """The metrics that ``routoo-export evaluate`` left beside the checkpoint.

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


def _record(values: dict[str, Any]) -> CheckpointRecord:
    tuning = values.get("finetune")
    return CheckpointRecord(
        models=tuple(values["models"]),
        config=TrainConfig(**values["config"]),
        backbone=BackboneConfig(**_tuples(values["backbone"])),
        sources=tuple(Source(**source) for source in values["sources"]),
        prior_scores=tuple(values["prior_scores"]),
        prior_output_tokens=tuple(values["prior_output_tokens"]),
        mean_rule_models=tuple(values["mean_rule_models"]),
        finetune=None if tuning is None else FinetuneConfig(**_tuples(tuning)),
    )


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Turn lists back into tuples, which JSON lacks."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
