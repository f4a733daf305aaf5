"""``routoo-export evaluate``: evaluating a checkpoint."""

import json
from pathlib import Path
from typing import Annotated

import typer

from routoo_export.backbones.compute import Device, choose_compute
from routoo_export.cli.common import (
    DEFAULT_CHECKPOINT,
    AsJson,
    CheckpointFolder,
    Threads,
    print_result,
    progress_bar,
    use_threads,
)
from routoo_export.cli.own.own_numbers import OwnQuestion, own_numbers
from routoo_export.errors import ExportError, OutcomeError
from routoo_export.evaluation.evaluate import Evaluation, evaluate, evaluation_epochs
from routoo_export.evaluation.own.numbers import DRAWS
from routoo_export.evaluation.pool import fitted_prices, input_tokens
from routoo_export.evaluation.protocol import EvaluationProtocol, own_protocol, standard_protocol
from routoo_export.evaluation.summary import Figures
from routoo_export.outcomes.outcomes import merge_outcomes, read_outcomes
from routoo_export.outcomes.sources import PROTOCOL, read_prices, read_training_outcomes
from routoo_export.outcomes.splits import FOLDS, TRAIN_BUCKETS, in_buckets
from routoo_export.training.checkpoint import METRICS_FILE, Checkpoint, load_checkpoint
from routoo_export.training.pipeline import Workplace, fold_rows

Folds = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=FOLDS,
        help="Of five folds, how many to train. Default: all, or none of a fine-tuned backbone."
        " --own: 0 leaves them out.",
    ),
]
Report = Annotated[Path | None, typer.Option(help="Folder for report.html, its plots and JSON.")]
OwnOutcomes = Annotated[
    list[Path] | None,
    typer.Option(help="Your own outcomes, instead of the standard sources; repeatable."),
]


def evaluate_checkpoint(  # noqa: PLR0913 - one parameter per option
    data: Annotated[
        Path | None,
        typer.Option(envvar="ROUTOO_DATA", help="Folder with the standard outcome sources."),
    ] = None,
    checkpoint: CheckpointFolder = DEFAULT_CHECKPOINT,
    outcomes: OwnOutcomes = None,
    pair: Annotated[
        tuple[str, str] | None, typer.Option(help="The weak and the strong model of a pair.")
    ] = None,
    report: Report = None,
    folds: Folds = None,
    device: Annotated[Device, typer.Option(help="Where a transformer runs.")] = "auto",
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps a transformer's features.")
    ] = None,
    *,
    own: Annotated[
        bool, typer.Option("--own", help="Judge training on own outcomes, by label counts.")
    ] = False,
    artifact: Annotated[
        Path | None,
        typer.Option(help="--own, --traffic, --arms: version folder; default: the shipped one."),
    ] = None,
    traffic: Annotated[
        bool, typer.Option("--traffic", help="Judge the artifact over a mix of traffic.")
    ] = False,
    arms: Annotated[
        bool, typer.Option("--arms", help="Judge the choice of efforts with the models.")
    ] = False,
    pool: Annotated[
        Path | None, typer.Option(help="--arms: pool file with arms; default: the one inside.")
    ] = None,
    mix: Annotated[
        Path | None, typer.Option(help="--traffic: file of shares; default: the shipped one.")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(help="--own, --traffic, --arms: a source, instead of all; repeatable."),
    ] = None,
    labels: Annotated[
        list[int] | None,
        typer.Option(
            min=40, help="--own: a number of labels; repeatable. Default: 150, 500, 1500."
        ),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=0, help="--own: random draws of each; 0: five folds only.")
    ] = DRAWS,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Judge a checkpoint: cross-validation, domains left out, test split, baselines."""
    use_threads(threads)
    if own:
        if data is None:
            raise OutcomeError("--own judges on the standard sources; give --data (ROUTOO_DATA)")
        asked = OwnQuestion(
            data, artifact, tuple(source or ()), tuple(labels or ()), draws, folds != 0
        )
        print_result(own_numbers(asked), as_json=as_json)
        return
    if traffic:
        if data is None:
            raise OutcomeError("--traffic judges on the sources; give --data (ROUTOO_DATA)")
        # It brings the catalogue's estimation along.
        from routoo_export.cli.evaluation.traffic import (  # noqa: PLC0415
            TrafficQuestion,
            traffic_numbers,
        )

        question = TrafficQuestion(data, artifact, mix, tuple(source or ()), report)
        print_result(traffic_numbers(question), as_json=as_json)
        return
    if arms:
        if data is None:
            raise OutcomeError("--arms judges on graded efforts; give --data (ROUTOO_DATA)")
        # It brings the server's runtime along.
        from routoo_export.cli.evaluation.arms import ArmsQuestion, arms_numbers  # noqa: PLC0415

        efforts = ArmsQuestion(data, artifact, pool, tuple(source or ()))
        print_result(arms_numbers(efforts), as_json=as_json)
        return
    trained = load_checkpoint(checkpoint)
    if outcomes:
        protocol = _own_protocol(trained, outcomes, pair)
    elif data is None:
        raise OutcomeError("nothing to judge on; give --outcomes FILE, or --data (ROUTOO_DATA)")
    else:
        protocol = _standard_protocol(data)
    workplace = Workplace(choose_compute(device), cache, stages=progress_bar)
    found = _judge(trained, protocol, checkpoint, workplace, folds)
    if report is not None:
        # matplotlib takes a second to import.
        from routoo_export.evaluation.report.write import write_report  # noqa: PLC0415

        write_report(found, report)
    print_result(found.metrics, as_json=as_json)


def judge_checkpoint(data: Path, folder: Path, workplace: Workplace | None = None) -> Figures:
    """Judge the checkpoint in ``folder`` on the standard sources; write its metrics beside it."""
    return _judge(load_checkpoint(folder), _standard_protocol(data), folder, workplace).metrics


def judge_on_own(folder: Path, outcomes: list[Path], workplace: Workplace | None = None) -> Figures:
    """Judge the checkpoint in ``folder`` on a team's own outcomes; write its metrics beside it."""
    trained = load_checkpoint(folder)
    return _judge(trained, _own_protocol(trained, outcomes, None), folder, workplace).metrics


def _judge(
    trained: Checkpoint,
    protocol: EvaluationProtocol,
    folder: Path,
    workplace: Workplace | None,
    folds: int | None = None,
) -> Evaluation:
    if folds is None:
        # Each fold would be fine-tuned again, which takes hours.
        folds = FOLDS if trained.record.finetune is None else 0
    rows_of = fold_rows(trained, protocol.pool.outcomes, workplace or Workplace())
    epochs = evaluation_epochs(trained.record.config, protocol, folds)
    with progress_bar("evaluating", epochs) as advance:
        found = evaluate(trained, rows_of, protocol, folds, advance)
    text = json.dumps(found.metrics, indent=2) + "\n"
    try:
        (folder / METRICS_FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ExportError(f"{folder}: the figures cannot be written ({error})") from error
    return found


def _standard_protocol(data: Path) -> EvaluationProtocol:
    outcomes = read_training_outcomes(data)
    return standard_protocol(PROTOCOL, outcomes, read_prices(data, outcomes.models))


def _own_protocol(
    trained: Checkpoint, files: list[Path], pair: tuple[str, str] | None
) -> EvaluationProtocol:
    parts = [read_outcomes(file, name=file.stem, licence="unstated") for file in files]
    outcomes = merge_outcomes(parts)
    train = in_buckets(outcomes.buckets, TRAIN_BUCKETS)
    prices = fitted_prices(outcomes, train, input_tokens(outcomes.prompts))
    return own_protocol(outcomes, trained.record.models, prices, pair)
