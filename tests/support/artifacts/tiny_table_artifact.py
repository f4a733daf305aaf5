"""A complete, tiny predictor artifact of format 2: a graph that is given its models' rows.

Single words decide: ``code`` and ``math`` in the last turn tell the task (otherwise it is chat),
``hard`` lowers every score, ``long`` makes answers ten times as long, and ``strange``, in the last
turn or among the tools, is far from all training prompts. So tests know the answers.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import orjson
from onnx import TensorProto, helper, numpy_helper

from routoo.predictor.artifact import TABLE_OUTPUTS
from routoo.predictor.model_table import QUESTIONS, TABLE, ModelTable
from routoo.predictor.ngrams import BODY, REGIONS, TOOLS, Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

TASKS = ("chat", "code", "math")
MODELS = ("small", "medium", "large", "extra")
TRAITS = ("hard", "long")
# Rows: models; columns: tasks.
SCORES = np.array(
    [[0.8, 0.2, 0.1], [0.7, 0.6, 0.3], [0.75, 0.9, 0.5], [0.6, 0.5, 0.95]], np.float32
)
TOKENS = np.array([[100.0, 200.0, 400.0]] * len(MODELS), np.float32)
EVIDENCE = np.array(
    [[1000.0, 100.0, 10.0], [500.0, 50.0, 5.0], [2000.0, 200.0, 20.0], [8.0, 4.0, 2.0]], np.float32
)
BENCHMARKS = np.array(
    [[3.0, 2.0, 0.0], [0.0, 1.0, 0.0], [8.0, 4.0, 2.0], [0.0, 0.0, 0.0]], np.float32
)
SCORE_VAR = 0.01
HARD = np.array([-0.1, -0.05, -0.02, -0.05], np.float32)
VOCABULARY = Vocabulary(
    words=("code", "math", "hard", "long", "strange"),
    marks=("role:user", "role:tool", "role:assistant", "endword"),
    pairs=8,
    pieces=8,
    punctuation=0,
)
# The units: a word each, and one that is always 1. A region's rows are divided by the root of their
# number, so that a word's value has to be large to reach 1, where all units are cut.
_UNITS = ("code", "math", "", "hard", "long", "strange")
_HIDDEN = 3
_LOUD = 1024.0
_SURE = 12.0  # told tasks have to win, and they get 40


def tiny_table(graph_sha256: str, models: Sequence[str] = MODELS) -> ModelTable:
    """Makes the table of some of the models."""
    at = [MODELS.index(name) for name in models]
    token_weights = np.tile(np.array([0.0, np.log(10.0)], np.float32), (len(at), 1))
    weights = np.stack([HARD[at], np.zeros(len(at), np.float32)], axis=1)
    shape = (len(at), len(TASKS))
    return ModelTable(
        graph_sha256=graph_sha256,
        names=tuple(models),
        aliases={f"tiny/{name}": name for name in models},
        tasks=TASKS,
        traits=TRAITS,
        task_rows=np.array(
            [[0.0, 0.0, 0.0], [2 * _SURE, 0.0, -_SURE], [0.0, 2 * _SURE, -_SURE]], np.float32
        ),
        score_mean=SCORES[at],
        score_var=np.full(shape, SCORE_VAR, np.float32),
        weights=weights,
        weights_var=np.full((len(at), len(TRAITS)), 0.04, np.float32),
        log_tokens=np.log(TOKENS[at]),
        token_weights=token_weights,
        reasoning_share=np.zeros(shape, np.float32),
        evidence=EVIDENCE[at],
        benchmarks=BENCHMARKS[at],
    )


def write_tiny_table_artifact(
    folder: Path, *, models: Sequence[str] = MODELS, rows: int = 400
) -> Path:
    """Writes the artifact into ``folder`` (made if needed) and returns it.

    Args:
        folder: the artifact's folder.
        models: those that have a row.
        rows: the number of rows of the calibration sample.
    """
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_graph(), folder / "model.onnx")
    VOCABULARY.save(folder / "tokenizer.json")
    random = np.random.default_rng(0)
    tasks = np.eye(len(TASKS), dtype=np.float32)[random.integers(0, len(TASKS), rows)]
    traits = random.integers(0, 2, (rows, len(TRAITS))).astype(np.float32)
    np.savez_compressed(
        folder / "calibration.npz",
        prompts=np.concatenate([tasks, traits], axis=1),
        input_tokens=np.full(rows, 50, np.uint16),
    )
    tiny_table(_sha256(folder / "model.onnx"), models).save(folder / TABLE)
    (folder / "manifest.json").write_bytes(orjson.dumps(_manifest(folder, rows)))
    return folder


def change_table(folder: Path, **changes: Any) -> None:
    """Replaces attributes of the table."""
    table = replace(tiny_table(_sha256(folder / "model.onnx")), **changes)
    table.save(folder / TABLE)


def _manifest(folder: Path, rows: int) -> dict[str, object]:
    t, m, r = len(TASKS), -1, len(TRAITS)
    inputs = {
        "input_ids": ("int64", [-1, -1]),
        "weights": ("float32", [-1, len(REGIONS), -1]),
        "told": ("float32", [-1, t]),
        "task_rows": ("float32", [t, _HIDDEN]),
        "models": ("float32", [-1, t + 2 * r]),
    }
    shapes = {name: [-1, m] for name in TABLE_OUTPUTS} | {"ood": [-1], "tasks": [-1, t]}
    return {
        "format_version": 2,
        "predictor_version": "tiny-table-1",
        "backbone": "ngrams",
        "inputs": [
            {"name": name, "dtype": dtype, "shape": shape}
            for name, (dtype, shape) in inputs.items()
        ],
        "outputs": [
            {"name": name, "dtype": "float32", "shape": shape} for name, shape in shapes.items()
        ],
        "max_tokens": 2048,
        "pad_token_id": 0,
        "add_special_tokens": False,
        "calibration": {
            "method": "none",
            "in_graph": True,
            "sample": {"file": "calibration.npz", "rows": rows, "split": "validation"},
        },
        "training": {},
        "output_tokens_source": {},
        "metrics": {},
        "parity": {"prompts": 0, "max_abs_diff": 0.0, "tolerance": 0.0},
        "files": _files(folder),
    }


def _files(folder: Path) -> dict[str, dict[str, object]]:
    # Not the table: it is replaced when a model comes, and names the graph that it belongs to.
    names = ("model.onnx", "tokenizer.json", "calibration.npz")
    return {
        name: {"sha256": _sha256(folder / name), "bytes": (folder / name).stat().st_size}
        for name in names
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _word_values() -> NDArray[np.float32]:
    """Returns the units that each row of the vocabulary moves, [rows, units]."""
    values = np.zeros((VOCABULARY.rows, len(_UNITS)), np.float32)
    for row, word in enumerate(VOCABULARY.words, 1):
        values[row, _UNITS.index(word)] = _LOUD
    return values


def _heard() -> NDArray[np.float32]:
    """Returns the regions in which each unit is heard, [regions, units]."""
    heard = np.zeros((len(REGIONS), len(_UNITS)), np.float32)
    heard[BODY] = 1.0
    heard[TOOLS, _UNITS.index("strange")] = 1.0
    return heard


def _graph() -> onnx.ModelProto:
    # Products of matrices are sums of products here: their order does not depend on the shape.
    n, m3, t, q = "n", "m3", "t", "q"
    node = helper.make_node
    nodes = [
        node("Gather", ["words", "input_ids"], ["rows"]),
        node("MatMul", ["weights", "rows"], ["by_region"]),
        node("Mul", ["by_region", "heard"], ["heard_rows"]),
        node("ReduceSum", ["heard_rows", "axis_1"], ["summed"], keepdims=0),
        node("Clip", ["summed", "zero", "one"], ["cut"]),
        node("Add", ["cut", "always"], ["units"]),
        node("Split", ["units", "parts"], ["hidden", "traits", "strange"], axis=1),
        node("Squeeze", ["strange", "axis_1"], ["ood"]),
        *_product("hidden", "task_rows", "recognised"),
        node("Add", ["recognised", "told"], ["logits"]),
        node("Mul", ["logits", "certain"], ["certain_logits"]),
        node("Softmax", ["certain_logits"], ["tasks"], axis=1),
        node("Mul", ["traits", "traits"], ["squares"]),
        node("Concat", ["tasks", "traits", "squares"], ["prompt"], axis=1),
        *_product("prompt", "models", "flat"),
        node("Reshape", ["flat", "answers_shape"], ["answers"]),
        *(
            node("Gather", ["answers", f"number_{at}"], [f"a{at}"], axis=1)
            for at in range(QUESTIONS)
        ),
        node("Clip", ["a0", "zero", "one"], ["scores"]),
        *_exponential("a1", "output_tokens"),
        node("Sqrt", ["a2"], ["score_std"]),
    ]
    always = np.array([[0, 0, 1, 0, 0, 0]], np.float32)
    constants = {
        "words": _word_values(),
        "heard": _heard(),
        "always": always,
        "zero": np.array(0.0, np.float32),
        "one": np.array(1.0, np.float32),
        # Probabilities are exactly 1, 0, or equal parts.
        "certain": np.array(100.0, np.float32),
        "lanes": np.ones(16, np.float32),
        "axis_0": np.array([0], np.int64),
        "axis_1": np.array([1], np.int64),
        "axis_2": np.array([2], np.int64),
        "parts": np.array([_HIDDEN, len(TRAITS), 1], np.int64),
        "answers_shape": np.array([0, QUESTIONS, -1], np.int64),
        **{f"number_{at}": np.array(at, np.int64) for at in range(QUESTIONS)},
    }
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "tiny_table",
        [
            info("input_ids", TensorProto.INT64, [n, "length"]),
            info("weights", TensorProto.FLOAT, [n, len(REGIONS), "length"]),
            info("told", TensorProto.FLOAT, [n, t]),
            info("task_rows", TensorProto.FLOAT, [t, _HIDDEN]),
            info("models", TensorProto.FLOAT, [m3, q]),
        ],
        [
            info("scores", TensorProto.FLOAT, [n, "m"]),
            info("output_tokens", TensorProto.FLOAT, [n, "m"]),
            info("score_std", TensorProto.FLOAT, [n, "m"]),
            info("ood", TensorProto.FLOAT, [n]),
            info("tasks", TensorProto.FLOAT, [n, t]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return model


def _product(left: str, right: str, product: str) -> list[onnx.NodeProto]:
    """Makes the nodes of left [n, k] times the transpose of right [j, k]."""
    node = helper.make_node
    return [
        node("Unsqueeze", [left, "axis_1"], [f"{left}_rows"]),
        node("Unsqueeze", [right, "axis_0"], [f"{right}_columns"]),
        node("Mul", [f"{left}_rows", f"{right}_columns"], [f"{product}_cells"]),
        node("ReduceSum", [f"{product}_cells", "axis_2"], [product], keepdims=0),
    ]


def _exponential(exponent: str, result: str) -> list[onnx.NodeProto]:
    """Makes the nodes of an exponential [n, m] whose bits do not depend on its neighbours.

    The library computes the last elements of an array in another way than those that fill a vector
    of the processor; here each element fills one.
    """
    node = helper.make_node
    return [
        node("Unsqueeze", [exponent, "axis_2"], [f"{exponent}_alone"]),
        node("Mul", [f"{exponent}_alone", "lanes"], [f"{exponent}_lanes"]),
        node("Exp", [f"{exponent}_lanes"], [f"{result}_lanes"]),
        node("Gather", [f"{result}_lanes", "number_0"], [result], axis=2),
    ]
