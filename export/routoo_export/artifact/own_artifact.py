"""The artifact of a team's own rows: the graph and vocabulary of another, and a new table."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from routoo.predictor.artifact import Artifact, load_artifact
from routoo.predictor.model_table import TABLE
from routoo_export.artifact.artifact import (
    CALIBRATION_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
)
from routoo_export.artifact.replace_folder import replace_folder, scratch_folder
from routoo_export.errors import ExportError
from routoo_export.training.own.train import OwnPredictor, OwnPrompts

MOST_SAMPLES: Final = 4000


def write_own_artifact(
    folder: Path,
    artifact: Artifact,
    trained: OwnPredictor,
    own: OwnPrompts,
    metrics: Mapping[str, Any],
) -> str:
    """Write a new version folder, whole or not at all.

    Args:
        folder: The version folder, which must not exist.
        artifact: The artifact whose graph and vocabulary it keeps.
        trained: What was learnt.
        own: The prompts that it was learnt from; some of them become the calibration sample.
        metrics: Figures for the manifest.

    Returns:
        The version of graph and table.

    Raises:
        ExportError: the folder exists, or a file cannot be written.
    """
    if folder.exists():
        raise ExportError(f"{folder}: exists already; name another version, or none for the next")
    table = trained.packed(own)
    rows = np.random.default_rng(0).permutation(len(own.outcomes.prompts))[:MOST_SAMPLES]
    sample = own.rows(np.sort(rows))
    shares = trained.scores.topics.row_shares(sample.features.hidden)
    told = np.zeros((len(shares), len(table.tasks) - shares.shape[1]))
    prompts = np.concatenate([shares, told, sample.features.traits], axis=1)
    manifest = artifact.manifest.model_dump(mode="json", exclude={"models", "prior"})
    with scratch_folder(folder) as build:
        for name in (MODEL_FILE, TOKENIZER_FILE):
            shutil.copyfile(artifact.folder / name, build / name)
        np.savez_compressed(
            build / CALIBRATION_FILE,
            prompts=prompts.astype(np.float16),
            input_tokens=sample.input_tokens.astype(np.float32),
        )
        table.save(build / TABLE)
        manifest["calibration"] = {
            "method": "rows are posterior means, judged by five folds",
            "in_graph": True,
            "sample": {"file": CALIBRATION_FILE, "rows": len(rows), "split": "own"},
        }
        manifest["training"] = {
            "sources": [asdict(source) for source in own.outcomes.sources],
            "prompts": len(own.outcomes.prompts),
            "topics": list(trained.scores.topics.names),
            "directions": len(trained.scores.topics.directions),
            "strength": asdict(trained.recipe.strength),
        }
        manifest["metrics"] = dict(metrics)
        manifest["files"] = {
            name: {
                "sha256": hashlib.sha256((build / name).read_bytes()).hexdigest(),
                "bytes": (build / name).stat().st_size,
            }
            for name in (MODEL_FILE, TOKENIZER_FILE, CALIBRATION_FILE)
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        (build / MANIFEST_FILE).write_text(text, encoding="utf-8")
        replace_folder(build, folder)
    return load_artifact(folder).version
