"""The network of the recogniser: the sums of each region's rows, and a layer of hidden units.

It learns kinds and traits together, with dropped rows, after fastText (Joulin et al., EACL 2017).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from routoo.predictor.ngrams import REGIONS
from routoo_export.outcomes.kinds import TASK_KINDS
from routoo_export.recogniser.bags import Bags, Batch
from routoo_export.recogniser.examples import Example
from routoo_export.recogniser.network import DIFFICULTIES, LANGUAGES, LENGTHS, FloatArray
from routoo_export.recogniser.settings import RecogniserSettings


class Layers(nn.Module):
    """The network: bags of rows -> task logits and trait logits."""

    def __init__(self, rows: int, settings: RecogniserSettings) -> None:
        super().__init__()
        traits = len(LANGUAGES) + len(DIFFICULTIES) + len(LENGTHS)
        self.table = nn.EmbeddingBag(rows, settings.width, mode="sum", sparse=True)
        nn.init.normal_(self.table.weight, 0.0, 0.05)
        self.hidden = nn.Linear(len(REGIONS) * settings.width, settings.units)
        self.tasks = nn.Linear(settings.units, len(TASK_KINDS))
        self.traits = nn.Linear(settings.units, traits)
        self.dropout = nn.Dropout(settings.dropout)

    def units(self, batch: Batch) -> Tensor:
        """The hidden units [n, u]."""
        bags = self.table(batch.rows, batch.offsets, per_sample_weights=batch.weights)
        pooled = bags.reshape(-1, self.hidden.in_features)
        return functional.relu(self.hidden(self.dropout(pooled)))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        units = self.dropout(self.units(batch))
        return self.tasks(units), self.traits(units)


def train_layers(
    bags: Bags,
    examples: Sequence[Example],
    weights: FloatArray,
    rows: int,
    settings: RecogniserSettings,
) -> Layers:
    """Train the network.

    Args:
        bags: The bags of n prompts.
        examples: The n prompts.
        weights: How much each counts, [n].
        rows: Trained rows.
        settings: How to train.
    """
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    layers = Layers(rows, settings)
    dense = [value for name, value in layers.named_parameters() if name != "table.weight"]
    optimisers = (
        torch.optim.AdamW(dense, lr=settings.rate, weight_decay=1e-2),
        torch.optim.SparseAdam([layers.table.weight], lr=settings.table_rate),
    )
    rates = (settings.rate, settings.table_rate)
    kinds = torch.tensor([one.kind for one in examples])
    wanted, known = _trait_labels(examples)
    weight = torch.from_numpy(weights)
    n = len(examples)
    steps, step = settings.epochs * -(-n // settings.batch), 0
    for _ in range(settings.epochs):
        order = random.permutation(n)
        for start in range(0, n, settings.batch):
            rows_of_step = order[start : start + settings.batch]
            factor = min(1.0, (step + 1) / 50) * max(0.02, 1.0 - step / steps)
            step += 1
            for optimiser, rate in zip(optimisers, rates, strict=True):
                optimiser.param_groups[0]["lr"] = rate * factor
            tasks, traits = layers(
                bags.batch(
                    rows_of_step,
                    random,
                    dropped=settings.dropped,
                    words_dropped=settings.words_dropped,
                )
            )
            at = torch.from_numpy(rows_of_step)
            of_task = functional.cross_entropy(
                tasks, kinds[at], reduction="none", label_smoothing=settings.smoothing
            )
            of_traits = functional.binary_cross_entropy_with_logits(
                traits, wanted[at], weight=known[at], reduction="none"
            )
            loss = (of_task * weight[at]).mean()
            loss = loss + settings.trait_weight * (of_traits.sum(dim=1) * weight[at]).mean()
            for optimiser in optimisers:
                optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            for optimiser in optimisers:
                optimiser.step()
    return layers.eval()


def _trait_labels(examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Labels of the traits but the free features, and which are known, float32 [n, r] each."""
    languages = np.array([[one.language == code for code in LANGUAGES] for one in examples])
    of_language = np.array([[one.language in LANGUAGES] for one in examples])
    difficulty = np.array([one.difficulty for one in examples])[:, None]
    tokens = np.array([one.output_tokens for one in examples])[:, None]
    labels = np.concatenate(
        [languages, difficulty >= np.array(DIFFICULTIES), tokens >= np.array(LENGTHS)], axis=1
    )
    known = np.concatenate(
        [
            np.repeat(of_language, len(LANGUAGES), 1),
            np.repeat(difficulty > 0, len(DIFFICULTIES), 1),
            np.repeat(tokens > 0, len(LENGTHS), 1),
        ],
        axis=1,
    )
    return torch.from_numpy(labels.astype(np.float32)), torch.from_numpy(known.astype(np.float32))
