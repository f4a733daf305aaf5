"""`routoo-export evaluate`: how good a checkpoint is."""

import json
from pathlib import Path
from typing import Any

from routoo_export.checkpoint import METRICS_FILE, load_checkpoint
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
from routoo_export.evaluate import evaluate, evaluation_epochs
from routoo_export.sources import PROTOCOL, read_prices, read_training_outcomes


def evaluate_checkpoint(
    data: Data,
    checkpoint: CheckpointFolder = DEFAULT_CHECKPOINT,
    *,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Judge a checkpoint: cross-validation, domains left out, test split, baselines."""
    use_threads(threads)
    print_result(judge_checkpoint(data, checkpoint), as_json=as_json)


def judge_checkpoint(data: Path, folder: Path) -> dict[str, Any]:
    """Evaluate the checkpoint in `folder` and leave the figures beside it."""
    checkpoint = load_checkpoint(folder)
    outcomes = read_training_outcomes(data)
    prices = read_prices(data, outcomes.models)
    with progress_bar("evaluating", evaluation_epochs(checkpoint.record.config)) as advance:
        metrics = evaluate(checkpoint, outcomes, prices, PROTOCOL, advance)
    text = json.dumps(metrics, indent=2) + "\n"
    (folder / METRICS_FILE).write_text(text, encoding="utf-8")
    return metrics
