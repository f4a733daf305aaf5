"""The shipped artifact: a trained recogniser, and the catalogue of models as its table."""

import hashlib
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from routoo_export.artifact.artifact import ExportReport
from routoo_export.artifact.table_artifact import write_table_artifact
from routoo_export.catalogue.build import build_catalogue
from routoo_export.outcomes.kinds import TASK_KINDS
from routoo_export.outcomes.registry import registry
from routoo_export.recogniser.examples import (
    OTHER_PROMPTS,
    read_examples,
    read_other_prompts,
)
from routoo_export.recogniser.train import RecogniserSettings, TrainedRecogniser

SAMPLE: Final = 2400
"""Prompts of the calibration sample, drawn from those written for this project."""


def export_recogniser(folder: Path, trained: TrainedRecogniser, data: Path) -> ExportReport:
    """Write the artifact into ``folder``, a version folder of a Triton model.

    Args:
        folder: The version folder.
        trained: The recogniser.
        data: The folder of the outcomes and public averages, of which the catalogue is estimated.

    Raises:
        ExportError: a source is missing, a file cannot be written, or the graph's answers are not
            those of the weights.
    """
    typical = dict(zip(TASK_KINDS, np.exp(trained.lengths.by_task).tolist(), strict=True))
    catalogue = build_catalogue(data, typical)
    examples = read_examples()
    drawn = np.random.default_rng(0).permutation(len(examples))[:SAMPLE]
    return write_table_artifact(
        folder,
        trained,
        catalogue,
        [examples[at].text for at in drawn.tolist()],
        aliases={},
        training=_training(data),
        metrics={},
    )


def _training(data: Path) -> dict[str, Any]:
    """Sources with their licences, and the hash of the prompts."""
    examples, others = read_examples(), read_other_prompts(data)
    found = hashlib.sha256("".join(one.text for one in (*examples, *others)).encode())
    written = Counter(one.source for one in examples)
    other = Counter(one.source for one in others)
    return {
        "prompts": [
            {"name": name, "rows": rows, "licence": "Apache-2.0"}
            for name, rows in sorted(written.items())
        ],
        "other_prompts": [
            {"name": name.removeprefix(f"{Path(OTHER_PROMPTS).stem}:"), "rows": rows}
            for name, rows in sorted(other.items())
        ],
        "other_prompts_licences": ["Apache-2.0", "MIT", "CC0", "CC-BY-4.0"],
        "outcomes": [
            {"name": entry.name, "licence": entry.licence} for entry in registry().shipping()
        ],
        "public_averages": [{"name": "LiveBench", "licence": "Apache-2.0"}],
        "prompts_sha256": found.hexdigest(),
        "hyperparameters": asdict(RecogniserSettings()),
    }
