"""The predictor artifact: the graph, its tokenizer, a calibration sample, and their manifest."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from routoo_export.artifact.replace_folder import replace_folder, scratch_folder
from routoo_export.errors import ExportError
from routoo_export.graph.graph import INPUT_NAME, build_graph, output_shapes, rows_step
from routoo_export.graph.parity import (
    PARITY_PROMPTS,
    Parity,
    check_parity,
    open_session,
    run_session,
)
from routoo_export.graph.precision import Precision, at_precision
from routoo_export.outcomes.outcomes import CHARS_PER_TOKEN, Outcomes
from routoo_export.outcomes.splits import VALIDATION_BUCKETS, in_buckets
from routoo_export.training.checkpoint import Checkpoint
from routoo_export.training.heads.calibration import describe_calibration

FORMAT_VERSION: Final = 1
QUANTISATION_PROMPTS: Final = 256
MODEL_FILE: Final = "model.onnx"
TOKENIZER_FILE: Final = "tokenizer.json"
CALIBRATION_FILE: Final = "calibration.npz"
MANIFEST_FILE: Final = "manifest.json"
SCORE_STEPS: Final = 10_000
"""The calibration sample stores scores in steps of 1 / SCORE_STEPS, as the selector rounds."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """The result of an export.

    Attributes:
        predictor_version: Version of the predictor in the manifest.
        folder: The version folder.
        bytes_by_file: Sizes of the files by name.
        parity: The differences between ONNX and torch.
    """

    predictor_version: str
    folder: Path
    bytes_by_file: dict[str, int]
    parity: Parity


def write_artifact(
    checkpoint: Checkpoint,
    outcomes: Outcomes,
    metrics: dict[str, Any],
    folder: Path,
    *,
    precision: Precision = "fp32",
    most_bytes: int | None = None,
) -> ExportReport:
    """Build, check and write the artifact into ``folder`` (a Triton version folder).

    An older artifact in ``folder`` is not changed until every check has passed and every file is
    written; then the new folder replaces it.

    Args:
        checkpoint: The trained predictor.
        outcomes: The outcomes trained on. The calibration sample is their validation rows; the
            parity prompts are spread over all rows; the scales of int8 are chosen on prompts
            spread over the training and test rows.
        metrics: Metrics for the manifest.
        folder: The version folder.
        precision: Precision of the graph.
        most_bytes: Largest size of the artifact; None = any.

    Raises:
        ParityError: ONNX and torch disagree.
        ExportError: the artifact is larger than ``most_bytes``, there are no validation rows, the
            backbone cannot be exported, or the files cannot be written.
    """
    backbone, weights = checkpoint.backbone, checkpoint.weights
    held_back = in_buckets(outcomes.buckets, VALIDATION_BUCKETS)
    validation = outcomes.rows(held_back)
    if not validation.prompts:
        raise ExportError("no prompt falls into the validation split; export needs more outcomes")
    pad = backbone.spec.pad_token_id
    scaled_on = backbone.encode(_spread(outcomes.rows(~held_back).prompts, QUANTISATION_PROMPTS))
    model = at_precision(build_graph(backbone, weights), precision, scaled_on, pad)
    stored = backbone.encode(_spread(outcomes.prompts, PARITY_PROMPTS))
    parity = check_parity(model, backbone, weights, stored, precision)
    ids = backbone.encode(validation.prompts)
    scores, tokens, *_ = run_session(open_session(model), ids, pad)
    limit = np.iinfo(np.uint16).max
    with scratch_folder(folder) as build:
        (build / MODEL_FILE).write_bytes(serialized(model))
        (build / TOKENIZER_FILE).write_text(backbone.tokenizer_json, encoding="utf-8")
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
        manifest = {
            **_manifest(checkpoint, parity, metrics, files, len(ids)),
            "precision": precision,
            "rows_step": rows_step(backbone),
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        (build / MANIFEST_FILE).write_text(text, encoding="utf-8")
        sizes = {path.name: path.stat().st_size for path in sorted(build.iterdir())}
        total = sum(sizes.values())
        if most_bytes is not None and total > most_bytes:
            raise ExportError(
                f"the artifact has {total} bytes, above {most_bytes}; take fewer layers, a smaller"
                " width or fewer members, or raise --max-mb"
            )
        replace_folder(build, folder)
    return ExportReport(manifest["predictor_version"], folder, sizes, parity)


def serialized(model: onnx.ModelProto) -> bytes:
    """Serialise ``model`` as the bytes of ``model.onnx``, the same for the same model.

    Raises:
        ExportError: the model is beyond what protobuf holds in one file.
    """
    try:
        data: bytes = model.SerializeToString(deterministic=True)
    except ValueError as error:
        raise ExportError(
            "the graph is above protobuf's 2 GiB; take fewer layers, or --precision fp16 or int8"
        ) from error
    return data


def _spread(prompts: Sequence[str], most: int) -> list[str]:
    """At most ``most`` of ``prompts``, evenly spaced."""
    chosen = np.unique(np.linspace(0, len(prompts) - 1, min(most, len(prompts))).astype(np.int64))
    return [prompts[i] for i in chosen]


def _manifest(
    checkpoint: Checkpoint,
    parity: Parity,
    metrics: dict[str, Any],
    files: dict[str, dict[str, Any]],
    sample_rows: int,
) -> dict[str, Any]:
    record, spec = checkpoint.record, checkpoint.backbone.spec
    sources = [asdict(source) for source in record.sources]
    data_hash = hashlib.sha256("".join(source.sha256 for source in record.sources).encode())
    hyperparameters = {**asdict(record.config), **asdict(record.backbone)}
    seed = hyperparameters.pop("seed")
    width = len(record.models)
    return {
        "format_version": FORMAT_VERSION,
        "predictor_version": f"{spec.kind}-{files[MODEL_FILE]['sha256'][:12]}",
        "backbone": spec.kind,
        "models": list(record.models),
        "inputs": [{"name": INPUT_NAME, "dtype": "int64", "shape": [-1, -1]}],
        "outputs": [
            {"name": name, "dtype": "float32", "shape": [-1, *shape[1:]]}
            for name, shape in output_shapes(width).items()
        ],
        "max_tokens": spec.max_tokens,
        "pad_token_id": spec.pad_token_id,
        "add_special_tokens": spec.add_special_tokens,
        "calibration": {
            "method": describe_calibration(checkpoint.weights),
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
