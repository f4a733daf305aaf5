"""Models of the table that the catalogue does not have, as models that others may be likened to.

An onboarded model is known by its row alone: means and variances of its scores on users' prompts.
The abilities that explain them are found by inverting the moments of the logistic function; their
correlations are those that models have in general.
"""

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from routoo.predictor.model_table import ModelTable
from routoo_export.catalogue.placement import typical_abilities
from routoo_export.catalogue.reference import logistic_moments
from routoo_export.catalogue.table import Catalogue

Doubles = NDArray[np.float64]

_STEPS: Final = 50
# Bounds of the variance of a model's logit on one kind of task.
_LEAST_VARIANCE: Final = 1e-4
_MOST_VARIANCE: Final = 25.0


def with_row_of(table: ModelTable, catalogue: Catalogue, name: str, level: Doubles) -> Catalogue:
    """The catalogue with a model of the table as its last, or as it is where it has the model.

    Args:
        table: The table.
        catalogue: The catalogue that the table's other rows come from.
        name: The model's name in the table.
        level: How far the table lies above the catalogue, in logits, float64 [t].
    """
    if name in catalogue.names:
        return catalogue
    row = table.index[name]
    score_mean, score_var = (
        values[row].astype(np.float64) for values in (table.score_mean, table.score_var)
    )
    logits, variance = logits_of(score_mean, score_var)
    slope = catalogue.reference_slope
    of_ability = np.maximum(variance - catalogue.transfer_var, _LEAST_VARIANCE) / slope**2
    prior = np.sqrt(np.diag(catalogue.prior_cov))
    scale = np.sqrt(of_ability) / prior
    share = np.clip(table.reasoning_share[row].astype(np.float64), 0.0, 1.0 - 1e-9)
    total = table.log_tokens[row].astype(np.float64)
    thinks = share > 0.0
    added = {
        "release": np.nan,
        "score_mean": score_mean,
        "score_var": score_var,
        "log_tokens": total + np.log1p(-share),
        "log_reasoning_tokens": np.where(thinks, total + np.log(np.where(thinks, share, 1.0)), 0.0),
        "log_tokens_std": np.median(catalogue.log_tokens_std, axis=0),
        "prompts": table.evidence[row].astype(np.float64),
        "benchmarks": table.benchmarks[row].astype(np.int64),
        "ability_mean": (logits - level - catalogue.reference_offset) / slope,
        "ability_cov": np.float32(catalogue.prior_cov * np.outer(scale, scale)),
        "prior_mean": typical_abilities(catalogue)[0],
    }
    columns: dict[str, Any] = {
        column: np.concatenate([getattr(catalogue, column), np.asarray(values)[None]])
        for column, values in added.items()
    }
    return replace(catalogue, names=(*catalogue.names, name), **columns)


def logits_of(mean: Doubles, variance: Doubles) -> tuple[Doubles, Doubles]:
    """Mean and variance of Gaussian logits whose logistic has this mean and variance.

    Args:
        mean: Means of a score, in (0, 1), float64 of any shape.
        variance: Its variances, of the same shape.
    """
    slope = mean * (1.0 - mean)
    logits, spread = np.log(mean / (1.0 - mean)), variance / slope**2
    for _ in range(_STEPS):
        spread = np.clip(spread, _LEAST_VARIANCE, _MOST_VARIANCE)
        found, found_variance = logistic_moments(logits, spread)
        logits = logits + (mean - found) / slope
        spread = spread * np.sqrt(variance / np.maximum(found_variance, 1e-12))
    return logits, np.clip(spread, _LEAST_VARIANCE, _MOST_VARIANCE)
