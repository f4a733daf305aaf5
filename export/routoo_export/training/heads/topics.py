"""Topics: the kind of question that a prompt is, and each model's mean score on that kind."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional

from routoo_export.outcomes.outcomes import Outcomes
from routoo_export.training.heads.convex import minimise

CLUSTERS_PER_SOURCE: Final = 16
_TOPIC_RIDGE: Final = 1.0e-4


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of n rows.

    Attributes:
        names: Names of the t topics.
        labels: The topic of each row, int64 [n].
    """

    names: tuple[str, ...]
    labels: NDArray[np.int64]


def assign_topics(outcomes: Outcomes, features: Tensor, seed: int) -> Topics:
    """Assign each row a topic: "source/domain", or a learned cluster where there is no domain."""
    names: list[str] = [topic or "" for topic in outcomes.topics]
    for source in sorted({s for s, n in zip(outcomes.source_names, names, strict=True) if not n}):
        bare = [i for i, n in enumerate(names) if not n and outcomes.source_names[i] == source]
        values = features[torch.tensor(bare)].numpy()
        clusters = min(CLUSTERS_PER_SOURCE, len(np.unique(values, axis=0)))
        found = KMeans(clusters, n_init=3, random_state=seed).fit_predict(values)
        for i, cluster in zip(bare, found, strict=True):
            names[i] = f"{source}/cluster-{cluster}"
    distinct = tuple(sorted(set(names)))
    index = {name: t for t, name in enumerate(distinct)}
    return Topics(distinct, np.array([index[name] for name in names], dtype=np.int64))


def topic_model_logits(
    scores: NDArray[np.float64],
    topics: Topics,
    pseudo_count: float,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Logits float32 [t, m] of each model's mean score per topic, shrunk.

    Each cell is pulled towards an additive logit model (topic ease + model ability), which alone
    fills the cells without data. Scores may be pseudo-outcomes outside [0, 1]; their means are
    clipped to it.

    Args:
        scores: Scores float64 [n, m], NaN = missing.
        topics: The topics of the rows.
        pseudo_count: Weight of the additive model, in prompts.
        weights: Weight of each score, [n, m]; None = 1.
    """
    present = ~np.isnan(scores)
    counts = np.zeros((len(topics.names), scores.shape[1]))
    sums = np.zeros_like(counts)
    counted = present if weights is None else np.where(present, weights, 0.0)
    np.add.at(counts, topics.labels, counted)
    np.add.at(sums, topics.labels, np.where(present, scores, 0.0) * counted)
    sums = np.clip(sums, 0.0, counts)
    additive = _additive_probabilities(torch.from_numpy(counts), torch.from_numpy(sums))
    shrunk = (sums + pseudo_count * additive) / (counts + pseudo_count)
    logits: NDArray[np.float32] = (np.log(shrunk) - np.log1p(-shrunk)).astype(np.float32)
    return logits


def _additive_probabilities(counts: Tensor, sums: Tensor) -> NDArray[np.float64]:
    ease = torch.zeros(counts.shape[0], 1, dtype=torch.float64, requires_grad=True)
    ability = torch.zeros(1, counts.shape[1], dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        logits = ease + ability
        fit = (counts * functional.softplus(logits) - sums * logits).sum()
        ridge = _TOPIC_RIDGE * (ease.square().sum() + ability.square().sum())
        return (fit + ridge) / counts.sum()

    minimise(loss, [ease, ability])
    probabilities: NDArray[np.float64] = torch.sigmoid(ease + ability).detach().numpy()
    return probabilities
