"""`routoo-export train`: outcomes -> checkpoint."""

from dataclasses import asdict, replace
from typing import Annotated

import typer

from routoo_export.checkpoint import save_checkpoint
from routoo_export.commands.common import (
    DEFAULT_CHECKPOINT,
    AsJson,
    CheckpointFolder,
    Data,
    Threads,
    print_result,
    progress_bar,
    use_threads,
)
from routoo_export.commands.evaluate import judge_checkpoint
from routoo_export.pipeline import train_predictor
from routoo_export.sources import read_training_outcomes
from routoo_export.train import TrainConfig

Quick = Annotated[bool, typer.Option(help="A much smaller model, for trying things out.")]


def train(
    data: Data,
    out: CheckpointFolder = DEFAULT_CHECKPOINT,
    *,
    seed: Annotated[int, typer.Option(help="Same seed, same predictor.")] = TrainConfig().seed,
    judge: Annotated[bool, typer.Option(help="Evaluate afterwards, as export requires.")] = True,
    quick: Quick = False,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Train and calibrate the predictor, then evaluate it."""
    use_threads(threads)
    config = replace(TrainConfig().quick() if quick else TrainConfig(), seed=seed)
    outcomes = read_training_outcomes(data)
    with progress_bar("training", config.members * config.epochs) as advance:
        checkpoint = train_predictor(outcomes, config, advance)
    save_checkpoint(checkpoint, out)
    metrics = judge_checkpoint(data, out) if judge else {}
    result = {"checkpoint": str(out), "config": asdict(config), "metrics": metrics}
    print_result(result, as_json=as_json)
