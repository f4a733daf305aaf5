"""Training from outcomes to a checkpoint, and the features that a cross-validation fold may use."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from routoo_export.backbones.base import Backbone
from routoo_export.backbones.compute import Compute
from routoo_export.backbones.config import DEFAULTS, BackboneConfig
from routoo_export.backbones.feature_cache import FeatureExtractor
from routoo_export.backbones.pretrained import load_pretrained
from routoo_export.backbones.static import StaticBackbone, encode_static
from routoo_export.backbones.transformer import TransformerBackbone
from routoo_export.errors import OutcomeError
from routoo_export.network.network import predict
from routoo_export.outcomes.check import require_trainable
from routoo_export.outcomes.feature_prompts import require_texts
from routoo_export.outcomes.folds import Holdout
from routoo_export.outcomes.outcomes import Outcomes
from routoo_export.outcomes.splits import TRAIN_BUCKETS, VALIDATION_BUCKETS, in_buckets
from routoo_export.progress import Stages, silent
from routoo_export.training.checkpoint import Checkpoint, CheckpointRecord
from routoo_export.training.finetune.config import FinetuneConfig
from routoo_export.training.finetune.finetune import Resumption, finetune
from routoo_export.training.heads.rows import Rows, encode_views, make_rows, rows_of_ids
from routoo_export.training.heads.train import TrainConfig, token_targets
from routoo_export.training.supervision.supervision import (
    GradedSupervision,
    HeadsTask,
    Mask,
    Supervision,
)

STATE_FILE: Final = "finetune.pt"


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings that, together with the outcomes, determine a predictor.

    Attributes:
        backbone: Settings of the backbone.
        heads: Settings of the heads. Their seed is that of the whole training.
        finetune: Settings of the fine-tuning; None = the backbone stays as it is.
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    heads: TrainConfig = field(default_factory=TrainConfig)
    finetune: FinetuneConfig | None = None


@dataclass(frozen=True, slots=True)
class Workplace:
    """The place of a computation: device, folders and progress.

    Attributes:
        compute: Device and precision of a transformer.
        cache: Folder that keeps a transformer's features; None = they are computed anew.
        unfinished: Folder for the state of an unfinished fine-tuning; None = it is not saved.
        resume: Continue from that state where it exists.
        stages: Shows the progress of each stage.
    """

    compute: Compute = field(default_factory=Compute)
    cache: Path | None = None
    unfinished: Path | None = None
    resume: bool = False
    stages: Stages = silent

    @property
    def extract(self) -> FeatureExtractor:
        return FeatureExtractor(self.cache, self.stages)


class FoldRows(Protocol):
    """Returns all prompts with features of a backbone that did not train on the held-out ones.

    For a fold of None, the features are those of the checkpoint's own backbone.
    """

    def __call__(self, fold: Holdout | None) -> Rows: ...


def train_predictor(
    supervision: Supervision | Outcomes, recipe: Recipe, workplace: Workplace | None = None
) -> Checkpoint:
    """Train on buckets 0-6 and calibrate on bucket 7; buckets 8-9 are not used.

    Raises:
        OutcomeError: the outcomes are too few, or of one model.
        ExportError: there is no such backbone, or it cannot be used as the recipe asks.
    """
    if isinstance(supervision, Outcomes):
        supervision = GradedSupervision(supervision)
    workplace = workplace or Workplace()
    outcomes, config = supervision.outcomes, recipe.heads
    train = in_buckets(outcomes.buckets, TRAIN_BUCKETS)
    validation = in_buckets(outcomes.buckets, VALIDATION_BUCKETS)
    require_texts(outcomes.prompts)
    if supervision.graded:
        require_trainable(outcomes)
    elif not train.any() or not validation.any():
        raise OutcomeError("the training or the validation split is empty; bring more prompts")
    backbone = train_backbone(supervision, train, recipe, workplace)
    rows = make_rows(outcomes, backbone, config.seed, workplace.extract)
    with workplace.stages("heads", supervision.epochs(config)) as advance:
        weights = supervision.fit(HeadsTask(rows, train, validation, config, advance))
    trained = outcomes.rows(train)
    said = predict(weights, rows.where(train).features)
    scores = trained.scores if supervision.graded else np.full(trained.scores.shape, np.nan)
    return Checkpoint(
        backbone=backbone,
        weights=weights,
        record=CheckpointRecord(
            models=outcomes.models,
            config=config,
            backbone=recipe.backbone,
            finetune=recipe.finetune,
            sources=outcomes.sources,
            prior_scores=_means(scores, said.scores, digits=4),
            prior_output_tokens=_means(token_targets(trained), said.output_tokens, digits=1),
            mean_rule_models=tuple(
                model
                for model, lengths in zip(outcomes.models, outcomes.output_tokens.T, strict=True)
                if np.isnan(lengths).all()
            ),
        ),
    )


def train_backbone(
    supervision: Supervision,
    train: Mask,
    recipe: Recipe,
    workplace: Workplace,
    name: str = STATE_FILE,
) -> Backbone:
    """Train the recipe's backbone on the prompts of the mask ``train`` [n] alone.

    Args:
        supervision: The prompts and their outcomes.
        train: Mask [n] of the prompts to train on.
        recipe: The settings.
        workplace: Device and folders.
        name: Name of the file with the state of fine-tuning in ``workplace.unfinished``.
    """
    config = recipe.backbone
    if config.kind == "static":
        return StaticFit.of(supervision.outcomes, config, workplace).fit(train)
    backbone = replace(load_pretrained(config), compute=workplace.compute)
    if recipe.finetune is None:
        return backbone
    resumption = None
    if workplace.unfinished is not None:
        resumption = Resumption(workplace.unfinished / name, resume=workplace.resume)
    return finetune(
        backbone,
        supervision.tuning(train, recipe.heads),
        recipe.finetune,
        resumption=resumption,
        stages=workplace.stages,
    )


def teacher_states(
    outcomes: Outcomes, config: BackboneConfig, workplace: Workplace
) -> NDArray[np.float32] | None:
    """States float32 [n, d] of the static backbone's teacher for every prompt; None = no teacher.

    The teacher is the packaged encoder without training, so it has seen no prompt of ``outcomes``.
    Its state of a prompt does not depend on the other prompts: all folds share one computation, and
    one file in the cache with the encoder backbone of that layer.
    """
    if not config.teacher_layer:
        return None
    encoder = replace(DEFAULTS["encoder"], layers=(config.teacher_layer,))
    teacher = replace(load_pretrained(encoder), compute=workplace.compute)
    return workplace.extract(teacher, teacher.encode(outcomes.prompts)).numpy()


@dataclass(frozen=True, slots=True)
class StaticFit:
    """The inputs of all static backbones that are trained on parts of the same n prompts.

    Attributes:
        config: Settings of the backbone.
        ids: Token ids of each prompt.
        states: The teacher's states, float32 [n, d] (see ``teacher_states``); None = no teacher.
    """

    config: BackboneConfig
    ids: Sequence[Sequence[int]]
    states: NDArray[np.float32] | None

    @classmethod
    def of(cls, outcomes: Outcomes, config: BackboneConfig, workplace: Workplace) -> "StaticFit":
        ids = encode_static(outcomes.prompts, config.max_tokens)
        return cls(config, ids, teacher_states(outcomes, config, workplace))

    def fit(self, train: Mask) -> StaticBackbone:
        """Train a backbone on the prompts of the mask ``train`` [n] alone."""
        return StaticBackbone.fit_ids(
            [tokens for tokens, keep in zip(self.ids, train, strict=True) if keep],
            self.config.width,
            self.config.max_tokens,
            None if self.states is None else self.states[train],
        )


def fold_rows(checkpoint: Checkpoint, outcomes: Outcomes, workplace: Workplace) -> FoldRows:
    """The features of ``outcomes`` that each fold may use.

    A pretrained backbone, or one that took only principal directions from the training prompts, is
    the same for every fold; its features are computed once. A fine-tuned or distilled backbone fits
    the prompts that it was trained on better than others, so it is trained anew on the training
    prompts of each fold.
    """
    record = checkpoint.record
    recipe = Recipe(record.backbone, record.config, record.finetune)
    seed = record.config.seed

    @cache
    def own() -> Rows:
        backbone = checkpoint.backbone
        if isinstance(backbone, TransformerBackbone):
            backbone = replace(backbone, compute=workplace.compute)
        return make_rows(outcomes, backbone, seed, workplace.extract)

    @cache
    def static() -> tuple[StaticFit, list[list[list[int]]]]:
        fit = StaticFit.of(outcomes, recipe.backbone, workplace)
        return fit, encode_views(outcomes, checkpoint.backbone, seed)

    def rows_of(fold: Holdout | None) -> Rows:
        distilled = recipe.backbone.kind == "static" and recipe.backbone.teacher_layer > 0
        if fold is None or not (distilled or recipe.finetune):
            return own()
        if distilled:
            fit, views = static()
            return rows_of_ids(outcomes, fit.fit(fold.train), views, workplace.extract)
        held = hashlib.sha256(fold.held.tobytes()).hexdigest()[:12]
        name = f"finetune-without-{held}.pt"
        backbone = train_backbone(GradedSupervision(outcomes), fold.train, recipe, workplace, name)
        return make_rows(outcomes, backbone, seed, workplace.extract)

    return rows_of


def _means(known: NDArray[np.float64], said: NDArray[np.float32], digits: int) -> tuple[float, ...]:
    """Mean per column over its known cells, or over the predictions if it has none; rounded."""
    present = ~np.isnan(known)
    counts = present.sum(axis=0)
    means = np.where(present, known, 0.0).sum(axis=0) / np.maximum(counts, 1)
    means = np.where(counts > 0, means, said.mean(axis=0, dtype=np.float64))
    return tuple(round(float(mean), digits) for mean in means)
