"""The whole way from outcomes to a checkpoint, and the features of a fold on that way."""

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
    """Everything but the outcomes that decides a predictor. finetune None: the backbone as it is.

    The seed of all of it is that of the heads.
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    heads: TrainConfig = field(default_factory=TrainConfig)
    finetune: FinetuneConfig | None = None


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where and how it is computed.

    cache: folder for features that were computed before, or None. unfinished: folder for the state
    of fine-tuning, from which ``resume`` goes on, or None.
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
    """All prompts, with the features of a backbone that has not learned from the held-out ones.

    None: with the features of the checkpoint's own backbone.
    """

    def __call__(self, fold: Holdout | None) -> Rows: ...


def train_predictor(
    supervision: Supervision | Outcomes, recipe: Recipe, workplace: Workplace | None = None
) -> Checkpoint:
    """Train on buckets 0-6, calibrate on bucket 7; buckets 8-9 are not looked at.

    Raises:
        OutcomeError: the outcomes are too few, or of one model.
        ExportError: the backbone is none, or cannot be used as the recipe asks.
    """
    if isinstance(supervision, Outcomes):
        supervision = GradedSupervision(supervision)
    workplace = workplace or Workplace()
    outcomes, config = supervision.outcomes, recipe.heads
    train = in_buckets(outcomes.buckets, TRAIN_BUCKETS)
    validation = in_buckets(outcomes.buckets, VALIDATION_BUCKETS)
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
    """The recipe's backbone; of the outcomes it sees those of the mask ``train`` [n] alone.

    name: of the file with the state of fine-tuning in the workplace.
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
    """What the static backbone's teacher makes of every prompt, float32 [n, d]; None = no teacher.

    The teacher is the packaged encoder as it comes: it has seen no prompt of ``outcomes``. What it
    makes of one does not hang on the others, so that all folds share one computation, and one file
    in the cache with the encoder backbone of that layer.
    """
    if not config.teacher_layer:
        return None
    encoder = replace(DEFAULTS["encoder"], layers=(config.teacher_layer,))
    teacher = replace(load_pretrained(encoder), compute=workplace.compute)
    return workplace.extract(teacher, teacher.encode(outcomes.prompts)).numpy()


@dataclass(frozen=True, slots=True)
class StaticFit:
    """What static backbones of n prompts share, whichever of the prompts they learn from.

    ids: token ids of each prompt. states: as of ``teacher_states``.
    """

    config: BackboneConfig
    ids: Sequence[Sequence[int]]
    states: NDArray[np.float32] | None

    @classmethod
    def of(cls, outcomes: Outcomes, config: BackboneConfig, workplace: Workplace) -> "StaticFit":
        ids = encode_static(outcomes.prompts, config.max_tokens)
        return cls(config, ids, teacher_states(outcomes, config, workplace))

    def fit(self, train: Mask) -> StaticBackbone:
        """The backbone of the prompts ``train`` [n] alone."""
        return StaticBackbone.fit_ids(
            [tokens for tokens, keep in zip(self.ids, train, strict=True) if keep],
            self.config.width,
            self.config.max_tokens,
            None if self.states is None else self.states[train],
        )


def fold_rows(checkpoint: Checkpoint, outcomes: Outcomes, workplace: Workplace) -> FoldRows:
    """The features of ``outcomes`` that a fold may use.

    A backbone as it came, or that took no more than directions from the training prompts, is the
    same for every fold; its features are computed once. One that was fine-tuned, or distilled and
    so fits the prompts that it was shown better than others, is made anew on those that the fold
    trains on.
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
    """Mean per column over its known cells, or else over what the predictor says; rounded."""
    present = ~np.isnan(known)
    counts = present.sum(axis=0)
    means = np.where(present, known, 0.0).sum(axis=0) / np.maximum(counts, 1)
    means = np.where(counts > 0, means, said.mean(axis=0, dtype=np.float64))
    return tuple(round(float(mean), digits) for mean in means)
