"""The artifact of the recogniser: graph, vocabulary, table of models, sample, and manifest."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from routoo.predictor.model_table import TABLE, ModelTable
from routoo.predictor.ngram_encoder import NgramEncoder
from routoo.predictor.ngram_layout import MOST_ROWS
from routoo.predictor.ngrams import Vocabulary
from routoo_export.artifact.artifact import (
    CALIBRATION_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    ExportReport,
    serialized,
)
from routoo_export.artifact.replace_folder import replace_folder, scratch_folder
from routoo_export.catalogue.table import Catalogue, write_catalogue
from routoo_export.errors import ParityError
from routoo_export.graph.parity import Parity, open_session
from routoo_export.graph.table_graph import TableGraph, build_table_graph, shrunk_traits
from routoo_export.graph.turned_table import turned
from routoo_export.recogniser.lengths import LengthModel
from routoo_export.recogniser.network import TRAITS
from routoo_export.recogniser.train import TrainedRecogniser

FloatArray = NDArray[np.float32]

FORMAT_VERSION: Final = 2
ROWS_STEP: Final = 1
"""The graph itself sees to it that a prompt's figures do not depend on its batch."""
SAMPLE_FILE: Final = CALIBRATION_FILE
CATALOGUE_FILE: Final = "catalogue.npz"
"""The estimates with their covariances and the tests behind them, for placing further models."""
PARITY_PROMPTS: Final = 512
TOLERANCE: Final = 0.05
"""Largest difference of a score between the graph, whose table is in int8, and the weights."""
MEAN_TOLERANCE: Final = 2e-3
TIE: Final = 1e-3
"""Difference of two tasks' probabilities below which either counts as the likeliest."""
SAME_TASKS: Final = 0.98
"""Least share of prompts whose likeliest task is the same."""


@dataclass(frozen=True, slots=True)
class PromptVectors:
    """What the graph tells of n prompts, for fitting rows to.

    Attributes:
        tasks: Probabilities of the tasks, [n, t].
        traits: Centred traits, shrunk where the prompt is unusual, [n, r].
        ood: [n].
    """

    tasks: FloatArray
    traits: FloatArray
    ood: FloatArray


def prompt_vectors(
    parts: TableGraph, vocabulary: Vocabulary, texts: Sequence[str]
) -> PromptVectors:
    """What the graph of these parts tells of n prompts, computed by numpy."""
    recogniser = parts.recogniser
    pooled = recogniser.pooled(vocabulary, texts)
    hidden = recogniser.hidden_units(pooled)
    tasks, traits = recogniser.recognise(hidden)
    ood = parts.ood.ranks(parts.ood.measures(pooled, hidden @ recogniser.tasks.T))
    return PromptVectors(tasks, shrunk_traits(traits - parts.trait_means, ood), ood)


def make_table(
    catalogue: Catalogue,
    parts: TableGraph,
    lengths: LengthModel,
    aliases: Mapping[str, str],
    graph_sha256: str,
) -> ModelTable:
    """The catalogue as rows for the graph.

    Args:
        catalogue: Estimates of each model on each task.
        parts: The graph's parts.
        lengths: The prompt's part of the expected length.
        aliases: Other names of the catalogue's models.
        graph_sha256: Checksum of the graph.
    """
    log_tokens, reasoning_share = token_columns(
        catalogue.log_tokens, catalogue.log_reasoning_tokens
    )
    models = len(catalogue.names)
    none = np.zeros((models, len(TRAITS)), np.float32)

    def floats(values: NDArray[Any]) -> FloatArray:
        return np.ascontiguousarray(values, np.float32)

    return ModelTable(
        graph_sha256=graph_sha256,
        names=tuple(catalogue.names),
        aliases=dict(aliases),
        tasks=tuple(catalogue.tasks),
        traits=TRAITS,
        task_rows=floats(parts.recogniser.tasks),
        score_mean=floats(catalogue.score_mean),
        score_var=floats(catalogue.score_var),
        weights=none,
        weights_var=none,
        log_tokens=floats(log_tokens),
        token_weights=none + lengths.by_trait,
        reasoning_share=floats(reasoning_share),
        evidence=floats(catalogue.prompts),
        benchmarks=floats(catalogue.benchmarks),
    )


def token_columns(
    log_visible: NDArray[np.float64], log_reasoning: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The log of all output tokens, and the share of reasoning in them.

    Args:
        log_visible: Log of the visible tokens, float64 of any shape.
        log_reasoning: Log of the reasoning tokens; 0 = none, of the same shape.
    """
    visible = np.exp(log_visible)
    reasoning = np.where(log_reasoning > 0.0, np.exp(log_reasoning), 0.0)
    return np.log(visible + reasoning), reasoning / (visible + reasoning)


def write_table_artifact(
    folder: Path,
    trained: TrainedRecogniser,
    catalogue: Catalogue,
    sample: Sequence[str],
    *,
    aliases: Mapping[str, str],
    training: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> ExportReport:
    """Build, check and write the artifact into ``folder``, a version folder of a Triton model.

    Args:
        folder: The version folder; what lies there stays until all is checked.
        trained: The recogniser.
        catalogue: Estimates of the models.
        sample: Prompts as they are to be expected: parity and calibration are judged on them.
        aliases: Other names of models.
        training: What it was trained on, for the manifest.
        metrics: Figures for the manifest.

    Raises:
        ParityError: the graph's answers are not those of the weights.
        ExportError: a file cannot be written.
    """
    parts = turned(TableGraph(trained.recogniser, trained.ood, trained.trait_means))
    vocabulary, lengths = trained.vocabulary, trained.lengths
    content = serialized(build_table_graph(parts))
    sha256 = hashlib.sha256(content).hexdigest()
    table = make_table(catalogue, parts, lengths, aliases, sha256)
    vectors = prompt_vectors(parts, vocabulary, sample)
    parity = _check_parity(content, vocabulary, table, vectors, sample)
    encoder = NgramEncoder(vocabulary)
    input_tokens = encoder.encode(sample).input_tokens
    with scratch_folder(folder) as build:
        (build / MODEL_FILE).write_bytes(content)
        vocabulary.save(build / TOKENIZER_FILE)
        np.savez_compressed(
            build / SAMPLE_FILE,
            prompts=np.concatenate([vectors.tasks, vectors.traits], axis=1).astype(np.float16),
            input_tokens=input_tokens.astype(np.float32),
        )
        write_catalogue(build / CATALOGUE_FILE, catalogue, compact=True)
        files = {
            name: {
                "sha256": hashlib.sha256((build / name).read_bytes()).hexdigest(),
                "bytes": (build / name).stat().st_size,
            }
            for name in (MODEL_FILE, TOKENIZER_FILE, SAMPLE_FILE, CATALOGUE_FILE)
        }
        table.save(build / TABLE)
        manifest = {
            "format_version": FORMAT_VERSION,
            "predictor_version": f"ngrams-{sha256[:12]}",
            "backbone": "ngrams",
            "inputs": tensor_specs(onnx.load_from_string(content).graph.input),
            "outputs": tensor_specs(onnx.load_from_string(content).graph.output),
            "max_tokens": MOST_ROWS,
            "pad_token_id": 0,
            "add_special_tokens": False,
            "precision": "fp32",
            "rows_step": ROWS_STEP,
            "calibration": {
                "method": "rows are posterior means; task probabilities are scaled on held-out"
                " prompts",
                "in_graph": True,
                "sample": {"file": SAMPLE_FILE, "rows": len(sample), "split": "corpus"},
            },
            "training": dict(training),
            "output_tokens_source": {
                "unit": "tokens",
                "rule": "median by task and traits of the prompt, times each model's deviation,"
                " and its reasoning tokens",
            },
            "metrics": dict(metrics),
            "parity": {
                "prompts": parity.prompts,
                "max_abs_diff": parity.max_abs_diff,
                "tolerance": parity.tolerance,
            },
            "files": files,
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        (build / MANIFEST_FILE).write_text(text, encoding="utf-8")
        sizes = {path.name: path.stat().st_size for path in sorted(build.iterdir())}
        replace_folder(build, folder)
    return ExportReport(str(manifest["predictor_version"]), folder, sizes, parity)


def tensor_specs(values: Sequence[onnx.ValueInfoProto]) -> list[dict[str, Any]]:
    """Inputs or outputs of a graph as a manifest lists them."""
    kinds = {onnx.TensorProto.INT64: "int64", onnx.TensorProto.FLOAT: "float32"}
    return [
        {
            "name": value.name,
            "dtype": kinds[value.type.tensor_type.elem_type],
            "shape": [dim.dim_value or -1 for dim in value.type.tensor_type.shape.dim],
        }
        for value in values
    ]


def _check_parity(
    content: bytes,
    vocabulary: Vocabulary,
    table: ModelTable,
    vectors: PromptVectors,
    sample: Sequence[str],
) -> Parity:
    """Compare the graph's answers to the first prompts of the sample with those of the weights."""
    texts = sample[:PARITY_PROMPTS]
    session = open_session(onnx.load_from_string(content))
    encoder = NgramEncoder(vocabulary)
    rows = table.rows(np.arange(len(table.names)))
    found = np.empty((len(texts), len(table.names)), np.float32)
    tasks = np.empty((len(texts), len(table.tasks)), np.float32)
    for bucket in encoder.buckets(encoder.encode(texts)):
        constants = {
            "told": np.zeros((len(bucket.rows), len(table.tasks)), np.float32),
            "task_rows": table.task_rows,
            "models": rows,
        }
        answers = session.run(["scores", "tasks"], bucket.feed | constants)
        found[bucket.rows], tasks[bucket.rows] = answers
    both = np.concatenate([vectors.tasks, vectors.traits], axis=1)[: len(texts)]
    wanted, _ = table.answers(both)
    apart = np.abs(found - wanted)
    parity = Parity(
        prompts=len(texts),
        max_abs_diff=float(apart.max()),
        mean_abs_diff=float(apart.mean()),
        tolerance=TOLERANCE,
        mean_tolerance=MEAN_TOLERANCE,
    )
    # Of equal probabilities the last bits decide, and any task of them is right.
    likely = vectors.tasks[: len(texts)]
    served = np.take_along_axis(likely, tasks.argmax(axis=1)[:, None], axis=1)[:, 0]
    same = float((likely.max(axis=1) - served <= TIE).mean())
    if (
        not np.isfinite(found).all()
        or parity.max_abs_diff > TOLERANCE
        or parity.mean_abs_diff > MEAN_TOLERANCE
        or same < SAME_TASKS
    ):
        raise ParityError(
            f"the graph's scores are {parity.max_abs_diff:.2g} off the weights' at most,"
            f" {parity.mean_abs_diff:.2g} on average, and {1 - same:.2%} of the prompts get another"
            " task; widen the table"
        )
    return parity
