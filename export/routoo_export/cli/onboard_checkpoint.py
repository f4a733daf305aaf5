"""``routoo-export onboard-checkpoint``: one model more for a checkpoint of format 1."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from routoo_export.artifact.add_model import check_base, checked_prompts, publish_newcomer
from routoo_export.artifact.onboarding import (
    Graded,
    Known,
    NewcomerPrior,
    add_newcomer,
    check_graded,
    held_out,
    rank_among,
)
from routoo_export.cli.common import (
    DEFAULT_CHECKPOINT,
    DEFAULT_REPOSITORY,
    AsJson,
    CheckpointFolder,
    Repository,
    print_result,
    use_threads,
)
from routoo_export.errors import OutcomeError
from routoo_export.network.network import predict
from routoo_export.outcomes.outcomes import Outcomes, read_outcomes
from routoo_export.outcomes.sources import read_training_outcomes
from routoo_export.outcomes.splits import VALIDATION_BUCKETS, in_buckets
from routoo_export.training.checkpoint import (
    METRICS_FILE,
    Checkpoint,
    load_checkpoint,
    read_metrics,
    save_checkpoint,
)

Model = Annotated[str, typer.Option(help="Name of the new model, as in the outcomes.")]
GradedFile = Annotated[Path, typer.Option(help="Parquet file with its graded prompts.")]
StoredData = Annotated[
    Path | None,
    typer.Option(
        envvar="ROUTOO_DATA",
        help="Folder with the outcomes trained on: the new version's calibration sample is made of"
        " them. Default: of the graded prompts.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder of the new checkpoint. Default: <checkpoint>-<version>."),
]


def onboard_checkpoint(
    model: Model,
    outcomes: GradedFile,
    data: StoredData = None,
    checkpoint: CheckpointFolder = DEFAULT_CHECKPOINT,
    repository: Repository = DEFAULT_REPOSITORY,
    out: Out = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Add a model to a checkpoint of format 1; the other models' predictions stay as they are."""
    use_threads(1)
    trained = load_checkpoint(checkpoint)
    metrics = read_metrics(checkpoint)
    check_base(trained, repository)
    graded = read_graded(outcomes, model, trained)
    stored = _as_sample(graded) if data is None else read_training_outcomes(data)
    grown, report = _grow(trained, graded, stored)
    metrics = {**metrics, "onboarded": {**metrics.get("onboarded", {}), model: report}}
    written = publish_newcomer(grown, stored, metrics, repository)
    folder = out or checkpoint.with_name(f"{checkpoint.name}-{written.folder.name}")
    save_checkpoint(grown, folder)
    text = json.dumps(metrics, indent=2) + "\n"
    (folder / METRICS_FILE).write_text(text, encoding="utf-8")
    print_result(
        {
            "model": model,
            **report,
            "untouched": {
                "models": len(trained.record.models),
                "prompts": len(checked_prompts(stored)),
            },
            "checkpoint": str(folder),
            "folder": str(written.folder),
            "predictor_version": written.predictor_version,
        },
        as_json=as_json,
    )


def read_graded(path: Path, model: str, trained: Checkpoint) -> Outcomes:
    """Read the outcomes of ``model`` alone, on the prompts of ``path`` on which it has a score.

    Raises:
        OutcomeError: the predictor has the model already, or the file lacks it.
    """
    if model in trained.record.models:
        raise OutcomeError(f"the predictor has {model!r} already; train again to renew it")
    outcomes = read_outcomes(path)
    if model not in outcomes.models:
        named = ", ".join(outcomes.models)
        raise OutcomeError(f"{path}: no outcomes of {model!r}; the file has {named}")
    column = outcomes.models.index(model)
    rows = outcomes.rows(~np.isnan(outcomes.scores[:, column]))
    return replace(
        rows,
        models=(model,),
        scores=rows.scores[:, [column]],
        output_tokens=rows.output_tokens[:, [column]],
        cost_usd=rows.cost_usd[:, [column]],
        input_tokens=None if rows.input_tokens is None else rows.input_tokens[:, [column]],
        latency_ms=None if rows.latency_ms is None else rows.latency_ms[:, [column]],
    )


def _as_sample(graded: Outcomes) -> Outcomes:
    """The prompts as validation rows, of which the artifact's calibration sample is made."""
    bucket = VALIDATION_BUCKETS[0]
    return replace(graded, buckets=np.full(len(graded.prompts), bucket, dtype=np.int64))


def _grow(
    trained: Checkpoint, outcomes: Outcomes, stored: Outcomes
) -> tuple[Checkpoint, dict[str, Any]]:
    """Add the model of ``outcomes`` to the checkpoint; the report has the figures of that model."""
    graded = Graded(outcomes.scores[:, 0], outcomes.output_tokens[:, 0])
    check_graded(graded)
    backbone, record, prior = trained.backbone, trained.record, NewcomerPrior()
    known = Known.of(trained.weights, backbone.features(backbone.encode(outcomes.prompts)))
    weights, newcomer = add_newcomer(trained.weights, known, graded, prior)
    sample = stored.rows(in_buckets(stored.buckets, VALIDATION_BUCKETS))
    features = backbone.features(backbone.encode(sample.prompts))
    mean, se = newcomer.mean_score(Known.of(trained.weights, features))
    predicted = predict(replace(weights, shrink=np.zeros(1, dtype=np.float32)), features)
    others = predicted.scores[:, :-1].mean(axis=0).tolist()
    count = len(graded.scores)
    lengths = int((~np.isnan(graded.output_tokens)).sum())
    record = replace(
        record,
        models=(*record.models, outcomes.models[0]),
        sources=(*record.sources, *outcomes.sources),
        prior_scores=(*record.prior_scores, round(mean, 4)),
        prior_output_tokens=(
            *record.prior_output_tokens,
            round(float(predicted.output_tokens[:, -1].mean()), 1),
        ),
        mean_rule_models=record.mean_rule_models
        if lengths
        else (*record.mean_rule_models, outcomes.models[0]),
    )
    report = {
        "graded_prompts": count,
        "graded_lengths": lengths,
        "graded_mean": {
            "value": float(graded.scores.mean()),
            "se": float(graded.scores.std(ddof=1) / np.sqrt(count)),
        },
        "score": {"value": mean, "se": se},
        "mean_score_std": float(predicted.score_std[:, -1].mean()),
        "cross_validated": asdict(held_out(known, graded.scores, prior, record.config.seed)),
        "rank": asdict(rank_among(mean, se, others)),
    }
    return replace(trained, weights=weights, record=record), report
