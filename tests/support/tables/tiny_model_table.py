"""A tiny table of models, and a version folder of format 2 around it whose graph is never run."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from routoo.predictor.artifact import INPUT, TABLE_INPUTS, TABLE_OUTPUTS
from routoo.predictor.model_table import TABLE, ModelTable

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("lab/small", "lab/large-2026-05-01@high", "lab/guessed")
ALIASES = {"large@high": "lab/large-2026-05-01@high"}
TASKS = ("explanation", "code_generate")
SCORES = np.array([[0.25, 0.75], [0.75, 1.0 - 2**-10], [0.5, 0.5]], np.float32)
EVIDENCE = np.array([[100.0, 20.5], [0.0, 0.0], [0.0, 0.0]], np.float32)
BENCHMARKS = np.array([[0.0, 0.0], [3.0, 1.0], [0.0, 0.0]], np.float32)


def tiny_model_table(graph_sha256: str = "0" * 64, **changes: Any) -> ModelTable:
    """The table: a model with graded prompts, one with published averages, one with nothing."""
    none = np.zeros((3, 1), np.float32)
    figures: dict[str, Any] = {
        "graph_sha256": graph_sha256,
        "names": NAMES,
        "aliases": ALIASES,
        "tasks": TASKS,
        "traits": ("hard",),
        "task_rows": np.zeros((2, 4), np.float32),
        "score_mean": SCORES,
        "score_var": np.full((3, 2), 0.0625, np.float32),
        "weights": none,
        "weights_var": none,
        "log_tokens": np.log(np.array([[100, 300], [1000, 3000], [10, 30]], np.float32)),
        "token_weights": none,
        "reasoning_share": np.zeros((3, 2), np.float32),
        "evidence": EVIDENCE,
        "benchmarks": BENCHMARKS,
    }
    return ModelTable(**{**figures, **changes})


def write_table_folder(folder: Path) -> Path:
    """Writes the version folder and returns it."""
    folder.mkdir(parents=True)
    files = {}
    for name in ("model.onnx", "tokenizer.json", "calibration.npz"):
        (folder / name).write_bytes(name.encode())
        digest = hashlib.sha256(name.encode()).hexdigest()
        files[name] = {"sha256": digest, "bytes": len(name)}
    tiny_model_table(files["model.onnx"]["sha256"]).save(folder / TABLE)
    tensors = {
        key: [
            {"name": name, "dtype": "int64" if name == INPUT else "float32", "shape": [-1, -1]}
            for name in sorted(names)
        ]
        for key, names in (("inputs", TABLE_INPUTS), ("outputs", TABLE_OUTPUTS))
    }
    sample = {"file": "calibration.npz", "rows": 1, "split": "corpus"}
    manifest = {
        **tensors,
        "format_version": 2,
        "predictor_version": "tiny-2",
        "backbone": "ngrams",
        "max_tokens": 32,
        "pad_token_id": 0,
        "add_special_tokens": False,
        "calibration": {"method": "none", "in_graph": True, "sample": sample},
        "training": {},
        "output_tokens_source": {},
        "metrics": {},
        "parity": {},
        "files": files,
    }
    (folder / "manifest.json").write_bytes(orjson.dumps(manifest))
    return folder
