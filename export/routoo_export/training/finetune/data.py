"""The data of a fine-tuning: token ids in three views, targets, and the order of the batches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from routoo_export.backbones.static import StaticBackbone
from routoo_export.backbones.tokens import pad_ids
from routoo_export.backbones.transformer import TransformerBackbone
from routoo_export.outcomes.outcomes import Outcomes
from routoo_export.training.heads.objectives import SoftLabels
from routoo_export.training.heads.rows import prompt_views
from routoo_export.training.heads.topics import Topics, assign_topics, topic_model_logits
from routoo_export.training.heads.train import TrainConfig, token_targets

SORTED_BATCHES: Final = 32
"""Number of batches whose random prompts are sorted together by length and cut into batches."""
_TOPIC_WIDTH: Final = 64

Order = list[tuple[NDArray[np.int64], NDArray[np.int64]]]
"""For each batch, its rows [b] and the view of each row [b]."""


@dataclass(frozen=True, slots=True)
class TuningBatch:
    """The tensors of one batch of b prompts.

    Attributes:
        input_ids: Token ids, int64 [b, length].
        labels: Target scores, [b, m].
        topics: Topic of each prompt, int64 [b].
        log_tokens: Log output tokens, standardised per model, [b, m]; 0 where they are missing.
        has_tokens: 1 where output tokens are known, else 0; [b, m].
    """

    input_ids: Tensor
    labels: SoftLabels
    topics: Tensor
    log_tokens: Tensor
    has_tokens: Tensor


@dataclass(frozen=True, slots=True)
class TuningData:
    """The n prompts of a fine-tuning and their targets.

    Attributes:
        ids: Token ids of each prompt in each view (see ``rows.prompt_views``).
        shares: Share of an epoch's prompts that appear in each view.
        pad_token_id: The token that pads a batch.
        labels: Target scores, [n, m].
        topics: Topic of each prompt.
        topic_logits: Each model's mean logit per topic, float32 [t, m].
        log_tokens: Log output tokens, standardised per model, [n, m]; 0 where they are missing.
        has_tokens: 1 where output tokens are known, else 0; [n, m].
        seed: Seed of the order and the views.
    """

    ids: tuple[list[list[int]], ...]
    shares: tuple[float, ...]
    pad_token_id: int
    labels: SoftLabels
    topics: Topics
    topic_logits: NDArray[np.float32]
    log_tokens: Tensor
    has_tokens: Tensor
    seed: int

    @classmethod
    def of(
        cls,
        backbone: TransformerBackbone,
        outcomes: Outcomes,
        heads: TrainConfig,
        *,
        max_tokens: int,
        weights: NDArray[np.float64] | None,
    ) -> "TuningData":
        """The data of ``outcomes`` as ``backbone`` reads them.

        Args:
            backbone: The transformer to fine-tune.
            outcomes: The prompts and their outcomes.
            heads: Settings of the heads.
            max_tokens: Length to which prompts are cut.
            weights: Weight of each outcome in the loss, [n, m]; None = 1.
        """
        short = replace(backbone, reading=replace(backbone.reading, max_tokens=max_tokens))
        topics = _topics(outcomes, heads.seed)
        log_tokens = np.log(token_targets(outcomes))
        present = ~np.isnan(log_tokens)
        counts = np.maximum(present.sum(axis=0), 1)
        mean = np.where(present, log_tokens, 0.0).sum(axis=0) / counts
        centred = np.where(present, log_tokens - mean, 0.0)
        deviation = np.sqrt(np.square(centred).sum(axis=0) / counts)
        changed = (heads.bare_share, heads.fewer_share)
        return cls(
            ids=tuple(short.encode(view) for view in prompt_views(outcomes.prompts, heads.seed)),
            shares=(1.0 - sum(changed), *changed),
            pad_token_id=backbone.spec.pad_token_id,
            labels=SoftLabels.of(outcomes.scores, weights, heads.objective),
            topics=topics,
            topic_logits=topic_model_logits(
                outcomes.scores, topics, heads.topic_pseudo_count, weights
            ),
            log_tokens=_float32(centred / np.where(deviation > 0, deviation, 1.0)),
            has_tokens=_float32(present),
            seed=heads.seed,
        )

    def order(self, epoch: int, batch_size: int) -> Order:
        """The batches of an epoch; prompts of similar length go together."""
        rng = np.random.default_rng((self.seed, epoch))
        rows = len(self.topics.labels)
        views = rng.choice(len(self.shares), size=rows, p=self.shares)
        lengths = np.array([len(self.ids[view][row]) for row, view in enumerate(views)])
        order = rng.permutation(rows)
        chunks = [
            chunk[np.argsort(lengths[chunk], kind="stable")]
            for chunk in _cut(order, batch_size * SORTED_BATCHES)
        ]
        batches = [batch for chunk in chunks for batch in _cut(chunk, batch_size)]
        return [(batches[i], views[batches[i]]) for i in rng.permutation(len(batches))]

    def batch(self, rows: NDArray[np.int64], views: NDArray[np.int64], device: str) -> TuningBatch:
        """The batch of ``rows`` [b], each in its view, on ``device``."""
        ids = [self.ids[view][row] for row, view in zip(rows, views, strict=True)]
        index = torch.from_numpy(rows)
        labels = self.labels.rows(index)
        return TuningBatch(
            torch.from_numpy(pad_ids(ids, self.pad_token_id)).to(device),
            replace(labels, scores=labels.scores.to(device), present=labels.present.to(device)),
            torch.from_numpy(self.topics.labels)[index].to(device),
            self.log_tokens[index].to(device),
            self.has_tokens[index].to(device),
        )


def batches_per_epoch(rows: int, batch_size: int) -> int:
    """Count the batches that ``TuningData.order`` makes of ``rows`` prompts."""
    chunk = batch_size * SORTED_BATCHES
    full, rest = divmod(rows, chunk)
    return full * SORTED_BATCHES + -(-rest // batch_size)


def _cut(values: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _topics(outcomes: Outcomes, seed: int) -> Topics:
    """The topics of all prompts; without domains, clusters of static features, which are cheap."""
    if None not in outcomes.domains:
        return assign_topics(outcomes, torch.empty(len(outcomes.prompts), 0), seed)
    static = StaticBackbone.fit(outcomes.prompts, width=_TOPIC_WIDTH, max_tokens=512)
    return assign_topics(outcomes, static.features(static.encode(outcomes.prompts)), seed)


def _float32(values: Sequence[float] | NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
