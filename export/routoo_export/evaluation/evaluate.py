"""Evaluation of a predictor: held-out figures with their errors, and those of baselines.

- pair: cross-validation over all prompts of the pair's source, by question stem, and with whole
  domains left out of training. This evaluates the training procedure, fold by fold.
- pool: decisions by the same cross-validation by question stem.
- pool and pair on the test split: these evaluate the checkpoint itself.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from routoo_export.evaluation.pair import PairJudge, judge_pair
from routoo_export.evaluation.pool import Expected
from routoo_export.evaluation.pool_split import Drawing, judge_pool, judge_pool_folds
from routoo_export.evaluation.protocol import EvaluationProtocol
from routoo_export.evaluation.summary import Figures
from routoo_export.network.network import predict
from routoo_export.outcomes.folds import DOMAIN_GROUPS
from routoo_export.outcomes.splits import FOLDS
from routoo_export.training.checkpoint import Checkpoint
from routoo_export.training.heads.rows import Rows
from routoo_export.training.heads.train import Progress, TrainConfig
from routoo_export.training.pipeline import FoldRows

SIGNIFICANT_DIGITS: Final = 6
ROUNDING_NOISE_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        metrics: Nested plain numbers; an estimate is {value, se, low, high}, and "never" is None.
        drawing: The data of the plots.
    """

    metrics: Figures
    drawing: Drawing


def evaluation_epochs(config: TrainConfig, protocol: EvaluationProtocol, folds: int) -> int:
    """Count the epochs that ``evaluate`` trains, for a progress bar."""
    rounds = min(folds, FOLDS) + min(folds, DOMAIN_GROUPS) if protocol.pair else 0
    # A round trains a member to calibrate with, one per group for the shrinkage, and the ensemble.
    return rounds * (config.members + 1 + config.shrink_groups) * config.epochs


def evaluate(
    checkpoint: Checkpoint,
    rows_of: FoldRows,
    protocol: EvaluationProtocol,
    folds: int = FOLDS,
    progress: Progress | None = None,
) -> Evaluation:
    """Compute the figures that ``protocol`` names.

    Args:
        checkpoint: The predictor.
        rows_of: The features of all prompts, for each fold.
        protocol: The figures and the prompts on which they are computed.
        folds: How many of the five folds to cross-validate over; 0 = no cross-validation.
        progress: Called with the number of epochs just trained.
    """
    config = checkpoint.record.config
    rows = rows_of(None)
    expected = expect(checkpoint, rows)
    metrics: Figures = {}
    left_out: list[str] = []
    if protocol.pair is None:
        left_out.append("cross-validation: it judges a weak and a strong model; name both")
    else:
        judge = PairJudge.of(rows, protocol.pair, config.seed)
        of_pair = judge_pair(judge, expected, rows_of, config, folds, progress)
        metrics["pair"] = of_pair.figures
        if of_pair.folded is not None:
            decided = judge_pool_folds(
                protocol.pool, of_pair.folded, of_pair.folds, judge.resamples
            )
            if decided is not None:
                metrics["pool_five_folds"] = {"source": protocol.pool_source, **decided}
        if folds == 0:
            left_out.append("cross-validation: no folds were asked for")
        elif "domains_left_out" not in metrics["pair"]:
            left_out.append("domains left out of training: there are fewer than two to leave out")
    judged = judge_pool(protocol.pool, expected, rows, config.seed)
    metrics["pool_test_split"] = {"source": protocol.pool_source, **judged.figures}
    metrics["left_out"] = [*protocol.left_out, *judged.left_out, *left_out]
    plain: Figures = plain_numbers(metrics)
    return Evaluation(plain, judged.drawing)


def expect(checkpoint: Checkpoint, rows: Rows) -> Expected:
    """Predict all ``rows`` in the columns of their outcomes; NaN for models it does not know."""
    said = predict(checkpoint.weights, rows.features)
    shape = rows.outcomes.scores.shape
    scores, tokens = np.full(shape, np.nan), np.full(shape, np.nan)
    for column, model in enumerate(checkpoint.record.models):
        if model in rows.outcomes.models:
            j = rows.outcomes.models.index(model)
            scores[:, j] = said.scores[:, column]
            tokens[:, j] = said.output_tokens[:, column]
    return Expected(scores, tokens)


def plain_numbers(figure: Any) -> Any:
    """Round numbers to SIGNIFICANT_DIGITS and turn NaN, which JSON lacks, into None."""
    if isinstance(figure, dict):
        return {name: plain_numbers(value) for name, value in figure.items()}
    if isinstance(figure, float):
        # Adding zero turns -0.0 into 0.0.
        rounded = round(figure, ROUNDING_NOISE_DIGITS) + 0.0
        return None if math.isnan(figure) else float(f"{rounded:.{SIGNIFICANT_DIGITS}g}")
    if isinstance(figure, list | tuple):
        return [plain_numbers(value) for value in figure]
    return figure
