"""The predictor artifact: the graph, its tokenizer, a calibration sample, and their manifest."""

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from routoo_export import calibrate
from routoo_export.backbone import BACKBONE_NAME, PAD_TOKEN_ID, load_backbone
from routoo_export.checkpoint import Checkpoint
from routoo_export.errors import ExportError
from routoo_export.graph import INPUT_NAME, OUTPUT_NAMES, build_graph
from routoo_export.outcomes import CHARS_PER_TOKEN, Outcomes
from routoo_export.parity import (
    PARITY_PROMPTS,
    Parity,
    check_parity,
    open_session,
    run_session,
)
from routoo_export.splits import VALIDATION_BUCKETS, in_buckets
from routoo_export.tokens import encode_prompts

FORMAT_VERSION: Final = 1
MAX_ARTIFACT_BYTES: Final = 13_000_000
MODEL_FILE: Final = "model.onnx"
TOKENIZER_FILE: Final = "tokenizer.json"
CALIBRATION_FILE: Final = "calibration.npz"
MANIFEST_FILE: Final = "manifest.json"
SCORE_STEPS: Final = 10_000
"""The calibration sample stores scores in the steps that the selector rounds to."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote: file sizes in bytes by name, and the parity found."""

    predictor_version: str
    folder: Path
    bytes_by_file: dict[str, int]
    parity: Parity


def write_artifact(
    checkpoint: Checkpoint, outcomes: Outcomes, metrics: dict[str, Any], folder: Path
) -> ExportReport:
    """Build, check and write the artifact into `folder` (a Triton version folder).

    `outcomes` are those trained on; the calibration sample is its validation rows, the parity
    prompts are spread over all rows. Files appear only after every check has passed.

    Raises:
        ParityError: ONNX and torch disagree.
        ExportError: the artifact is too large, or there are no validation rows.
    """
    backbone = load_backbone()
    tokenizer, max_tokens = backbone.tokenizer(), checkpoint.record.config.max_tokens
    model = build_graph(checkpoint.table, checkpoint.weights)
    stored = np.unique(np.linspace(0, len(outcomes.prompts) - 1, PARITY_PROMPTS).astype(np.int64))
    parity = check_parity(
        model,
        checkpoint.table,
        checkpoint.weights,
        encode_prompts(tokenizer, [outcomes.prompts[i] for i in stored], max_tokens),
    )
    validation = outcomes.rows(in_buckets(outcomes.buckets, VALIDATION_BUCKETS))
    if not validation.prompts:
        raise ExportError("no prompt falls into the validation split; export needs more outcomes")
    ids = encode_prompts(tokenizer, validation.prompts, max_tokens)
    scores, tokens = run_session(open_session(model), ids)
    with tempfile.TemporaryDirectory(dir=_existing_parent(folder)) as scratch:
        build = Path(scratch)
        (build / MODEL_FILE).write_bytes(model.SerializeToString(deterministic=True))
        (build / TOKENIZER_FILE).write_text(backbone.tokenizer_json, encoding="utf-8")
        limit = np.iinfo(np.uint16).max
        np.savez_compressed(
            build / CALIBRATION_FILE,
            scores=np.rint(scores * SCORE_STEPS).astype(np.uint16),
            output_tokens=np.clip(np.rint(tokens), 1, limit).astype(np.uint16),
            input_tokens=np.array([min(len(row), limit) for row in ids], dtype=np.uint16),
        )
        files = {
            name: {"sha256": _sha256(build / name), "bytes": (build / name).stat().st_size}
            for name in (MODEL_FILE, TOKENIZER_FILE, CALIBRATION_FILE)
        }
        manifest = _manifest(checkpoint, parity, metrics, files, len(ids))
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        (build / MANIFEST_FILE).write_text(text, encoding="utf-8")
        sizes = {path.name: path.stat().st_size for path in sorted(build.iterdir())}
        if sum(sizes.values()) > MAX_ARTIFACT_BYTES:
            raise ExportError(
                f"the artifact has {sum(sizes.values())} bytes, above {MAX_ARTIFACT_BYTES}; "
                "use a smaller width or fewer members"
            )
        folder.mkdir(parents=True, exist_ok=True)
        # The manifest last: a reader that checks sha256s never accepts a half-moved artifact.
        for name in (*files, MANIFEST_FILE):
            shutil.move(build / name, folder / name)
    return ExportReport(manifest["predictor_version"], folder, sizes, parity)


def _manifest(
    checkpoint: Checkpoint,
    parity: Parity,
    metrics: dict[str, Any],
    files: dict[str, dict[str, Any]],
    sample_rows: int,
) -> dict[str, Any]:
    record = checkpoint.record
    sources = [asdict(source) for source in record.sources]
    data_hash = hashlib.sha256("".join(source.sha256 for source in record.sources).encode())
    hyperparameters = asdict(record.config)
    seed = hyperparameters.pop("seed")
    width = len(record.models)
    return {
        "format_version": FORMAT_VERSION,
        "predictor_version": f"{BACKBONE_NAME}-{files[MODEL_FILE]['sha256'][:12]}",
        "backbone": BACKBONE_NAME,
        "models": list(record.models),
        "inputs": [{"name": INPUT_NAME, "dtype": "int64", "shape": [-1, -1]}],
        "outputs": [
            {"name": name, "dtype": "float32", "shape": [-1, width]} for name in OUTPUT_NAMES
        ],
        "max_tokens": record.config.max_tokens,
        "pad_token_id": PAD_TOKEN_ID,
        "add_special_tokens": False,
        "calibration": {
            "method": calibrate.METHOD,
            "in_graph": True,
            "sample": {"file": CALIBRATION_FILE, "rows": sample_rows, "split": "validation"},
        },
        "training": {
            "sources": sources,
            "data_sha256": data_hash.hexdigest(),
            "seed": seed,
            "hyperparameters": hyperparameters,
        },
        "output_tokens_source": {
            "unit": "tokens",
            "rule": f"response characters / {CHARS_PER_TOKEN:g}",
            "mean_of_other_models": list(record.mean_rule_models),
        },
        "prior": {
            "scores": list(record.prior_scores),
            "output_tokens": list(record.prior_output_tokens),
        },
        "metrics": metrics,
        "parity": asdict(parity),
        "files": files,
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _existing_parent(folder: Path) -> Path:
    """The nearest existing folder above `folder`: same file system, so that moves are renames."""
    return next(parent for parent in folder.absolute().parents if parent.is_dir())
