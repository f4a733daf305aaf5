"""The whole way from outcomes to a checkpoint."""

import numpy as np

from routoo_export.backbone import load_backbone
from routoo_export.checkpoint import Checkpoint, Record
from routoo_export.errors import OutcomeError
from routoo_export.features import project_table
from routoo_export.outcomes import Outcomes
from routoo_export.rows import make_rows
from routoo_export.splits import TRAIN_BUCKETS, VALIDATION_BUCKETS, in_buckets
from routoo_export.tokens import encode_prompts
from routoo_export.train import Progress, TrainConfig, fit, token_targets


def train_predictor(
    outcomes: Outcomes, config: TrainConfig, progress: Progress | None = None
) -> Checkpoint:
    """Train on buckets 0-6, calibrate on bucket 7; buckets 8-9 are not looked at.

    Raises:
        OutcomeError: no prompt falls into one of the two splits.
    """
    train = in_buckets(outcomes.buckets, TRAIN_BUCKETS)
    validation = in_buckets(outcomes.buckets, VALIDATION_BUCKETS)
    if not train.any() or not validation.any():
        raise OutcomeError("the training or the validation split is empty; bring more prompts")
    backbone = load_backbone()
    tokenizer = backbone.tokenizer()
    known = [outcomes.prompts[i] for i in np.flatnonzero(train)]
    table = project_table(
        backbone, encode_prompts(tokenizer, known, config.max_tokens), config.width
    )
    rows = make_rows(outcomes, table, tokenizer, config.max_tokens, config.seed)
    weights = fit(rows.where(train), rows.where(validation), config, progress)
    trained = outcomes.rows(train)
    return Checkpoint(
        table=table,
        weights=weights,
        record=Record(
            models=outcomes.models,
            config=config,
            sources=outcomes.sources,
            prior_scores=_means(trained.scores, digits=4),
            prior_output_tokens=_means(token_targets(trained), digits=1),
            mean_rule_models=tuple(
                model
                for model, lengths in zip(outcomes.models, outcomes.output_tokens.T, strict=True)
                if np.isnan(lengths).all()
            ),
        ),
    )


def _means(
    values: np.ndarray[tuple[int, int], np.dtype[np.float64]], digits: int
) -> tuple[float, ...]:
    """Mean per column over its known cells, rounded."""
    return tuple(round(float(mean), digits) for mean in np.nanmean(values, axis=0))
