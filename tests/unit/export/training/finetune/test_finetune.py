"""Fine-tuning: it learns, depends only on the seed, and can be resumed without a difference."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from routoo_export.backbones.config import BackboneConfig
from routoo_export.backbones.pretrained import load_pretrained
from routoo_export.errors import CheckpointError, ExportError
from routoo_export.evaluation.metrics import auc
from routoo_export.outcomes.folds import stem_folds
from routoo_export.training.finetune.config import FinetuneConfig
from routoo_export.training.finetune.data import TuningData, batches_per_epoch
from routoo_export.training.finetune.finetune import Resumption, TuningTask, finetune
from routoo_export.training.heads.train import TrainConfig
from routoo_export.training.pipeline import Recipe, Workplace, fold_rows, train_predictor
from support.artifacts.tiny_transformers import (
    WIDTH,
    save_tiny_decoder,
    save_tiny_encoder,
    tiny_mobillama,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from routoo_export.backbones.transformer import TransformerBackbone
    from routoo_export.outcomes.outcomes import Outcomes
    from routoo_export.progress import Advance

TUNING = FinetuneConfig(epochs=2, batch_size=16, max_tokens=24, learning_rate=3.0e-3, exits=(1,))
HEADS = TrainConfig(hidden=16)
WORDS = ["integral", "matrix", "prime", "court", "statute", "contract"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "encoder": save_tiny_encoder(root / "bert", WORDS),
        "decoder": save_tiny_decoder(root / "llama", WORDS),
    }


@pytest.fixture(scope="module")
def task(synthetic_outcomes: Outcomes) -> TuningTask:
    return TuningTask(synthetic_outcomes.rows(np.arange(80)), HEADS)


def tiny(folders: dict[str, Path], kind: Any, **changes: Any) -> TransformerBackbone:
    config = BackboneConfig(kind=kind, model=str(folders[kind]), max_tokens=24, layers=(1, 2))
    return load_pretrained(replace(config, **changes))


def tensors(backbone: TransformerBackbone) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


class Interrupted(Exception):  # noqa: N818 - it is none of ours
    """An interruption of the training."""


class Watch:
    """Records the losses and interrupts the training after ``limit`` steps."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.losses: list[float] = []

    @contextmanager
    def __call__(self, _task: str, _total: int) -> Iterator[Advance]:
        yield self._advance

    def _advance(self, done: int, loss: float | None = None) -> None:
        if done and loss is not None:
            self.losses.append(loss)
        if self.limit is not None and len(self.losses) >= self.limit:
            raise Interrupted


@pytest.mark.parametrize(("kind", "lora_rank"), [("encoder", 0), ("decoder", 0), ("decoder", 4)])
def test_tuning_learns_leaves_the_original_alone_and_obeys_the_seed(
    folders: dict[str, Path], task: TuningTask, kind: str, lora_rank: int
) -> None:
    backbone = tiny(folders, kind)
    before = tensors(backbone)
    watch = Watch()
    finetune(backbone, task, replace(TUNING, lora_rank=lora_rank, epochs=16), stages=watch)
    assert watch.losses[-1] < watch.losses[0] - 0.05
    config = replace(TUNING, lora_rank=lora_rank)
    tuned = finetune(backbone, task, config)
    assert same(tensors(backbone), before)
    after = tensors(tuned)
    assert after.keys() == before.keys()
    moved = [name for name in before if not torch.equal(after[name], before[name])]
    assert moved
    # The token table is not trained; LoRA changes linear layers only.
    assert not [name for name in moved if "word_embeddings" in name or "embed_tokens" in name]
    assert lora_rank == 0 or all("_proj" in name for name in moved)
    assert not any(parameter.requires_grad for parameter in tuned.model.parameters())
    assert same(after, tensors(finetune(backbone, task, config)))
    reseeded = replace(task, heads=replace(HEADS, seed=1))
    assert not same(after, tensors(finetune(backbone, reseeded, config)))


def test_tuned_features_tell_the_domains_apart(folders: dict[str, Path], task: TuningTask) -> None:
    law = np.array([domain == "law" for domain in task.outcomes.domains], dtype=np.float64)
    config = replace(TUNING, epochs=20)
    tuned = finetune(tiny(folders, "encoder", layers=(2,)), task, config)
    features = tuned.features(tuned.encode(task.outcomes.prompts)).numpy()
    direction = features[law == 1].mean(0) - features[law == 0].mean(0)
    assert auc(law, (features @ direction).astype(np.float64)) > 0.95


@pytest.mark.parametrize(("kind", "lora_rank"), [("encoder", 0), ("decoder", 4)])
@pytest.mark.parametrize("steps", [3, 8])
def test_an_interrupted_run_ends_in_the_same_weights(
    folders: dict[str, Path],
    task: TuningTask,
    kind: str,
    lora_rank: int,
    steps: int,
    tmp_path: Path,
) -> None:
    backbone = tiny(folders, kind)
    config = replace(TUNING, lora_rank=lora_rank)
    file = tmp_path / "deep" / "state.pt"
    whole = finetune(backbone, task, config)
    with pytest.raises(Interrupted):
        finetune(
            backbone, task, config, resumption=Resumption(file, every_steps=2), stages=Watch(steps)
        )
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    watch = Watch()
    resumed = finetune(
        backbone, task, config, resumption=Resumption(file, 2, resume=True), stages=watch
    )
    assert same(tensors(resumed), tensors(whole))
    # Steps that were saved are not repeated; an epoch has five batches.
    assert len(watch.losses) == 2 * 5 - (steps - 1) // 2 * 2
    again = Watch()
    finished = finetune(
        backbone, task, config, resumption=Resumption(file, 2, resume=True), stages=again
    )
    assert same(tensors(finished), tensors(whole))
    assert again.losses == []


def test_a_state_of_another_run_is_refused(
    folders: dict[str, Path], task: TuningTask, tmp_path: Path
) -> None:
    backbone = tiny(folders, "encoder")
    file = tmp_path / "state.pt"
    with pytest.raises(Interrupted):
        finetune(backbone, task, TUNING, resumption=Resumption(file, 1), stages=Watch(2))
    other = replace(TUNING, learning_rate=1.0e-3)
    with pytest.raises(CheckpointError, match="of a run on other"):
        finetune(backbone, task, other, resumption=Resumption(file, 1, resume=True))
    fewer = replace(task, outcomes=task.outcomes.rows(np.arange(60)))
    with pytest.raises(CheckpointError, match="of a run on other"):
        finetune(backbone, fewer, TUNING, resumption=Resumption(file, 1, resume=True))
    file.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="not a state of training"):
        finetune(backbone, task, TUNING, resumption=Resumption(file, 1, resume=True))
    # Without --resume a run starts again and overwrites the saved state.
    finetune(backbone, task, replace(TUNING, epochs=1), resumption=Resumption(file, 9))
    assert file.stat().st_size > len(b"nothing")


def test_exits_and_rates_that_cannot_be_are_refused(
    folders: dict[str, Path], task: TuningTask
) -> None:
    backbone = tiny(folders, "encoder")
    with pytest.raises(ExportError, match="--exits 3 is outside the layers 1 to 2"):
        finetune(backbone, task, replace(TUNING, exits=(3,)))
    with pytest.raises(ExportError, match="lower --learning-rate"):
        finetune(backbone, task, replace(TUNING, learning_rate=1.0e30, clip_norm=1.0e30, epochs=4))


def test_weights_of_outcomes_count(folders: dict[str, Path], task: TuningTask) -> None:
    backbone = tiny(folders, "encoder")
    ones = replace(task, weights=np.ones(task.outcomes.scores.shape))
    assert same(
        tensors(finetune(backbone, task, TUNING)), tensors(finetune(backbone, ones, TUNING))
    )
    first = np.zeros(task.outcomes.scores.shape)
    first[:, 0] = 1.0
    weighted = finetune(backbone, replace(task, weights=first), TUNING)
    assert not same(tensors(weighted), tensors(finetune(backbone, ones, TUNING)))


def test_a_shared_feed_forward_block_is_tuned_as_one(
    folders: dict[str, Path], task: TuningTask
) -> None:
    backbone = replace(tiny(folders, "decoder", layers=(4,)), model=tiny_mobillama(WORDS))
    for lora_rank in (0, 4):
        tuned = finetune(backbone, task, replace(TUNING, lora_rank=lora_rank))
        layers = tuned.model.layers
        assert all(layer.mlp is layers[0].mlp for layer in layers)
        before = backbone.model.layers[0].mlp.up_proj.weight
        assert not torch.equal(layers[0].mlp.up_proj.weight, before)


@pytest.mark.parametrize("rows", [1, 7, 16, 80])
def test_an_epoch_shows_every_prompt_once(
    folders: dict[str, Path], task: TuningTask, rows: int
) -> None:
    backbone = tiny(folders, "encoder")
    outcomes = task.outcomes.rows(np.arange(rows))
    data = TuningData.of(backbone, outcomes, HEADS, max_tokens=9, weights=None)
    orders = [data.order(epoch, 7) for epoch in (0, 0, 1)]
    for order in orders:
        assert len(order) == batches_per_epoch(rows, 7)
        assert sorted(np.concatenate([index for index, _ in order])) == list(range(rows))
    shown = [np.concatenate([views for _, views in order]).tolist() for order in orders]
    assert shown[0] == shown[1]
    assert rows < 80 or shown[0] != shown[2]
    assert max(len(ids) for view in data.ids for ids in view) <= 9


def test_a_tuned_backbone_is_tuned_anew_per_fold(
    folders: dict[str, Path], synthetic_outcomes: Outcomes, quick_config: TrainConfig
) -> None:
    recipe = Recipe(
        BackboneConfig(kind="encoder", model=str(folders["encoder"]), layers=(2,), max_tokens=24),
        replace(quick_config, epochs=4),
        replace(TUNING, epochs=1, exits=()),
    )
    checkpoint = train_predictor(synthetic_outcomes, recipe)
    assert checkpoint.weights.hidden.shape[0] == WIDTH
    rows_of = fold_rows(checkpoint, synthetic_outcomes, Workplace())
    own = rows_of(None)
    fold = stem_folds(synthetic_outcomes)[0]
    of_fold = rows_of(fold)
    assert not torch.equal(own.features, of_fold.features)
    # Outcomes that the fold holds out do not change its features.
    scores = synthetic_outcomes.scores.copy()
    scores[fold.held] = 1.0 - scores[fold.held]
    turned = replace(synthetic_outcomes, scores=scores)
    blind = fold_rows(checkpoint, turned, Workplace())(fold)
    assert torch.equal(blind.features, of_fold.features)
    frozen = replace(checkpoint, record=replace(checkpoint.record, finetune=None))
    rows_of = fold_rows(frozen, synthetic_outcomes, Workplace())
    assert rows_of(fold) is rows_of(None)
