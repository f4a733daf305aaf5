"""Cross-validation: predictions for held-out questions, fold by fold."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from routoo_export.evaluation.bootstrap import FloatArray
from routoo_export.network.network import predict
from routoo_export.outcomes.folds import Holdout
from routoo_export.training.heads.train import Progress, TrainConfig, refit
from routoo_export.training.pipeline import FoldRows


@dataclass(frozen=True, slots=True)
class CrossPrediction:
    """Predictions for every held-out prompt, by the predictor that was trained without it.

    Prompts that no fold held out have NaN.

    Attributes:
        scores: Predicted scores, float64 [n, m].
        unshrunk: The scores without the shrinkage of unusual prompts, float64 [n, m].
        output_tokens: Predicted output tokens, float64 [n, m].
        ood: How unusual each prompt is, float64 [n] (see ``network.ood``).
    """

    scores: FloatArray
    unshrunk: FloatArray
    output_tokens: FloatArray
    ood: FloatArray


def cross_predict(
    folds: Sequence[Holdout],
    rows_of: FoldRows,
    config: TrainConfig,
    progress: Progress | None = None,
) -> CrossPrediction:
    """Train on each of the ``folds`` and predict the prompts that it holds out."""
    found: CrossPrediction | None = None
    for fold in folds:
        rows = rows_of(fold)
        if found is None:
            shape = rows.outcomes.scores.shape
            blank = [np.full(size, np.nan) for size in (shape, shape, shape, shape[:1])]
            found = CrossPrediction(*blank)
        weights = refit(rows, fold.train, fold.validation, config, progress)
        features = rows.features[torch.from_numpy(fold.held)]
        seen = predict(weights, features)
        found.scores[fold.held] = seen.scores
        found.output_tokens[fold.held] = seen.output_tokens
        found.ood[fold.held] = seen.ood
        level = replace(weights, shrink=np.zeros_like(weights.shrink))
        found.unshrunk[fold.held] = predict(level, features).scores
    if found is None:
        raise ValueError("cross_predict needs a fold")
    return found
