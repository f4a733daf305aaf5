"""A complete, tiny artifact of format 2: a random recogniser, its graph, and a table of models."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import onnx

from routoo.predictor.model_table import ModelTable
from routoo.predictor.ngrams import REGIONS
from routoo_export.artifact.artifact import serialized
from routoo_export.artifact.table_artifact import tensor_specs
from routoo_export.graph.table_graph import TableGraph, build_table_graph, quantised
from routoo_export.recogniser import network
from routoo_export.recogniser.network import Recogniser
from routoo_export.recogniser.ood import OodRanks
from routoo_export.recogniser.vocabulary import make_vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from routoo.predictor.ngrams import Vocabulary

WIDTH, UNITS, LINEAR, TRAITS = 12, 40, 3, len(network.TRAITS)
TASKS = ("math_easy", "chat_smalltalk", "code_generate")


def tiny_recogniser(vocabulary: Vocabulary) -> Recogniser:
    """A random recogniser; the last unit of its network is 1 for every prompt."""
    random = np.random.default_rng(0)

    def draw(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (scale * random.standard_normal(shape)).astype(np.float32)

    hidden = draw(len(REGIONS) * WIDTH, UNITS, scale=0.5)
    bias = draw(UNITS, scale=0.1)
    hidden[:, -1], bias[-1] = 0.0, 1.0
    # The graph keeps the table in int8: weights that int8 holds exactly make both the same.
    values, scale = quantised(draw(vocabulary.rows, WIDTH + LINEAR))
    tasks = draw(len(TASKS), UNITS + LINEAR, scale=0.3)
    traits = draw(UNITS + LINEAR, TRAITS, scale=0.3)
    scales = draw(len(REGIONS), scale=0.5)
    return Recogniser(values * scale, hidden, bias, scales, tasks, traits)


def tiny_parts(prompts: Sequence[str]) -> tuple[TableGraph, Vocabulary]:
    """The graph's parts, made for these prompts."""
    vocabulary = make_vocabulary(prompts, pairs=64, pieces=256)
    recogniser = tiny_recogniser(vocabulary)
    pooled = recogniser.pooled(vocabulary, prompts)
    hidden = recogniser.hidden_units(pooled)
    origins = [prompt[:1] for prompt in prompts]
    fitted = OodRanks.fit(pooled, origins, directions=6, centres=8)
    ood = fitted.ranked_among(pooled, hidden @ recogniser.tasks.T)
    means = recogniser.recognise(hidden)[1].mean(axis=0)
    return TableGraph(recogniser, ood, means), vocabulary


def write_tiny_table_artifact(
    folder: Path, prompts: Sequence[str], models: Sequence[str] = ("small", "large")
) -> Path:
    """Writes the artifact, whose vocabulary is that of ``prompts``, and returns its folder."""
    folder.mkdir(parents=True)
    parts, vocabulary = tiny_parts(prompts)
    content = serialized(build_table_graph(parts))
    (folder / "model.onnx").write_bytes(content)
    vocabulary.save(folder / "tokenizer.json")
    m, t = len(models), len(TASKS)
    by_task, by_trait = np.zeros((m, t), np.float32), np.zeros((m, TRAITS), np.float32)
    ModelTable(
        graph_sha256=hashlib.sha256(content).hexdigest(),
        names=tuple(models),
        aliases={},
        tasks=TASKS,
        traits=tuple(f"trait:{at}" for at in range(TRAITS)),
        task_rows=parts.recogniser.tasks,
        score_mean=by_task + np.linspace(0.3, 0.8, m, dtype=np.float32)[:, None],
        score_var=by_task + 0.01,
        weights=by_trait,
        weights_var=by_trait,
        log_tokens=by_task + np.log(np.array([50.0, 100.0, 400.0], np.float32)),
        token_weights=by_trait + 0.1,
        reasoning_share=by_task,
        evidence=by_task,
        benchmarks=by_task,
    ).save(folder / "models.npz")
    sample = np.zeros((2, t + TRAITS), np.float16)
    sample[:, 0] = 1.0
    np.savez(folder / "calibration.npz", prompts=sample, input_tokens=np.ones(2, np.float32))
    graph = onnx.load_from_string(content).graph
    files = {
        name: {
            "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
            "bytes": (folder / name).stat().st_size,
        }
        for name in ("model.onnx", "tokenizer.json", "calibration.npz")
    }
    manifest = {
        "format_version": 2,
        "predictor_version": "tiny",
        "backbone": "ngrams",
        "inputs": tensor_specs(graph.input),
        "outputs": tensor_specs(graph.output),
        "max_tokens": 2048,
        "pad_token_id": 0,
        "add_special_tokens": False,
        "precision": "int8",
        "rows_step": 1,
        "calibration": {
            "method": "none",
            "in_graph": True,
            "sample": {"file": "calibration.npz", "rows": 2, "split": "none"},
        },
        "training": {},
        "output_tokens_source": {},
        "metrics": {},
        "parity": {},
        "files": files,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
