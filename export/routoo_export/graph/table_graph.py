"""The recogniser as an ONNX graph that is given the rows of its tasks and models.

From rows of n-grams and their weights to scores, output tokens, uncertainty, tasks and ood; see
``routoo.predictor.model_table`` for what the models' rows are multiplied with.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from routoo.predictor.artifact import TABLE_OUTPUTS
from routoo.predictor.model_table import QUESTIONS
from routoo.predictor.ngrams import REGIONS
from routoo_export.graph.builder import GraphBuilder
from routoo_export.graph.graph import EXTRA_ROWS
from routoo_export.recogniser.network import TRAITS, Recogniser
from routoo_export.recogniser.ood import OodRanks

FloatArray = NDArray[np.float32]

INT8_MOST: Final = 127
CERTAINTY_POWER: Final = 8.0
"""Traits are shrunk by 1 - ood ** 8: wholly for the most unusual prompts, hardly for others."""
SHRUNK_TRAITS: Final = np.array(
    [not name.startswith("tokens>=") for name in TRAITS], dtype=np.float32
)
"""1 for the traits that are shrunk: those of the length are not, as an answer has some length."""


@dataclass(frozen=True, slots=True)
class TableGraph:
    """What the graph is made of.

    Attributes:
        recogniser: The weights; its task rows are an input of the graph and not part of it.
        ood: The measure of unusual prompts.
        trait_means: Each trait's mean over ordinary prompts, [r], which is subtracted.
    """

    recogniser: Recogniser
    ood: OodRanks
    trait_means: FloatArray


def quantised(table: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
    """A table [rows, h] in int8, and each column's scale [h].

    No figure is clipped, though the largest ones make the steps of their column coarser: rounding
    errors of many rows cancel out in a prompt's sum, while a clipped row, which is one of those
    that tell most, is wrong by the same amount wherever it stands.
    """
    most = np.abs(table).max(axis=0)
    scale = (np.maximum(most, 1e-12) / INT8_MOST).astype(np.float32)
    values = np.clip(np.rint(table / scale), -INT8_MOST, INT8_MOST)
    return values.astype(np.int8), scale


def shrunk_traits(traits: FloatArray, ood: FloatArray) -> FloatArray:
    """Centred traits [n, r] as the graph shrinks them for prompts as unusual as ``ood`` [n]."""
    return traits * (1.0 - (ood**CERTAINTY_POWER)[:, None] * SHRUNK_TRAITS)


def build_table_graph(parts: TableGraph) -> onnx.ModelProto:
    """Build and check the graph."""
    weights = parts.recogniser
    builder = GraphBuilder()
    node, constant = builder.node, builder.constant
    hidden = _hidden(builder, weights)
    told = _with_extra_rows(builder, "told")
    logits = node("Gemm", [hidden, "task_rows", told], "task_logits", transB=1)
    tasks = node("Softmax", [logits], "tasks_of_all_rows", axis=1)
    _ood(builder, parts, logits)
    traits = node("MatMul", [hidden, constant("trait_weight", weights.traits)], "trait_logits")
    centred = node(
        "Sub",
        [node("Sigmoid", [traits], "raw_traits"), constant("trait_means", parts.trait_means)],
        "centred_traits",
    )
    shrunk = constant("shrunk_traits", SHRUNK_TRAITS[None, :])
    lost = node("Mul", ["doubt", shrunk], "lost_share")
    kept = node("Sub", [_scalar(builder, "unit", 1.0), lost], "kept_share")
    known = node("Mul", [centred, kept], "traits")
    squares = node("Mul", [known, known], "trait_squares")
    prompt = node("Concat", [tasks, known, squares], "prompt", axis=1)
    every = node("Gemm", [prompt, "models"], "answers_of_all_rows", transB=1)
    _without_extra_rows(builder, every, "answers")
    _without_extra_rows(builder, tasks, "tasks")
    thirds = ("raw_scores", "log_tokens", "score_variance")
    builder.nodes.append(
        helper.make_node("Split", ["answers"], list(thirds), name="answers_split", axis=1)
    )
    zero, one = _scalar(builder, "zero", 0.0), _scalar(builder, "unit", 1.0)
    node("Clip", ["raw_scores", zero, one], "scores")
    node("Exp", ["log_tokens"], "output_tokens")
    node("Sqrt", ["score_variance"], "score_std")
    return builder.model(_inputs(weights), _outputs())


def _hidden(builder: GraphBuilder, weights: Recogniser) -> str:
    """Add hidden [n + EXTRA_ROWS, v + l]."""
    node, constant = builder.node, builder.constant
    table, scale = quantised(weights.table)
    regions, width, linear = len(REGIONS), weights.width, table.shape[1] - weights.width
    rows = node("Gather", [constant("table", table), "input_ids"], "rows", axis=0)
    floats = node("Cast", [rows], "rows_float", to=TensorProto.FLOAT)
    node("MatMul", ["weights", floats], "pooled")
    parts = ("pooled_for_network", "pooled_for_classifier")
    builder.split("pooled", parts, (width, linear), name="pooled", axis=2)
    shape = constant("network_shape", np.array([-1, regions * width], dtype=np.int64))
    read = _with_extra_rows(builder, node("Reshape", [parts[0], shape], "network_input"))
    # The columns' scales go into what reads them.
    layer = weights.hidden.reshape(regions, width, -1) * scale[:width, None]
    weight = constant("hidden_weight", layer.reshape(regions * width, -1))
    bias = constant("hidden_bias", weights.hidden_bias)
    network = node("Relu", [node("Gemm", [read, weight, bias], "network_linear")], "network")
    summed = node("MatMul", [constant("scales", weights.scales[None, :]), parts[1]], "summed")
    scaled = node("Mul", [summed, constant("classifier_scale", scale[width:])], "scaled")
    flat = constant("classifier_shape", np.array([-1, linear], dtype=np.int64))
    logits = _with_extra_rows(builder, node("Reshape", [scaled, flat], "classifier"))
    return node("Concat", [network, logits], "hidden", axis=1)


def _with_extra_rows(builder: GraphBuilder, values: str) -> str:
    """Add rows of zeros after the prompts', so that no prompt is among a product's last rows."""
    pads = builder.constant("extra_rows", np.array([0, 0, EXTRA_ROWS, 0], dtype=np.int64))
    return builder.node("Pad", [values, pads], f"{values}_and_extra_rows")


def _without_extra_rows(builder: GraphBuilder, values: str, output: str) -> None:
    first = builder.constant("first_row", np.array([0], dtype=np.int64))
    end = builder.constant("extra_rows_start", np.array([-EXTRA_ROWS], dtype=np.int64))
    builder.node("Slice", [values, first, end], output)


def _ood(builder: GraphBuilder, parts: TableGraph, logits: str) -> None:
    """Add the outputs ood [n], and doubt [n, 1]."""
    node, constant, ood = builder.node, builder.constant, parts.ood
    energy = node("ReduceLogSumExp", [logits], "energy", axes=[1], keepdims=1)
    table = parts.recogniser.table
    columns = table.shape[1]
    # The table's columns are in int8, and their scales go into what reads them.
    scales = np.tile(quantised(table)[1], len(ood.directions) // columns)
    flat = constant("pooled_shape", np.array([-1, len(ood.directions)], dtype=np.int64))
    pooled = _with_extra_rows(builder, node("Reshape", ["pooled", flat], "pooled_figures"))
    directions = constant("directions", ood.directions * scales[:, None])
    at = node("Gemm", [pooled, directions, constant("directions_offset", -ood.offset)], "placed")
    # The squared distances to the centres, less what is the same for all of them.
    apart = node(
        "Gemm",
        [
            at,
            constant("centres", -2.0 * ood.centres),
            constant("centre_squares", (ood.centres**2).sum(axis=0)),
        ],
        "apart",
    )
    nearest = node("ReduceMin", [apart], "nearest", axes=[1], keepdims=1)
    squares = node("ReduceSumSquare", [at], "placed_squares", axes=[1], keepdims=1)
    both = node("Concat", [nearest, squares, energy], "likeness", axis=1)
    # One product adds the distance up, changes the sign of the energy, and lays each measure beside
    # all of its knots, in units of its steps.
    low, gaps = ood.knots[:, :-1], np.diff(ood.knots, axis=1)
    steps = low.shape[1]
    spread = np.zeros((3, 2 * steps), np.float32)
    spread[:2, :steps] = 1.0 / gaps[0]
    spread[2, steps:] = -1.0 / gaps[1]
    offset = -(low / gaps).reshape(-1)
    passed = node(
        "Gemm",
        [both, constant("ood_spread", spread), constant("ood_offset", offset)],
        "ood_passed",
    )
    zero, one = _scalar(builder, "zero", 0.0), _scalar(builder, "unit", 1.0)
    clipped = node("Clip", [passed, zero, one], "ood_clipped")
    share = np.zeros((2 * steps, 2), np.float32)
    share[:steps, 0], share[steps:, 1] = ood.steps
    ranks = node("MatMul", [clipped, constant("ood_share", share)], "ood_ranks")
    column = node("ReduceMax", [ranks], "ood_column", axes=[1], keepdims=1)
    node("Pow", [column, _scalar(builder, "certainty_power", CERTAINTY_POWER)], "doubt")
    row_axis = constant("row_axis", np.array([1], dtype=np.int64))
    _without_extra_rows(builder, node("Squeeze", [column, row_axis], "ood_of_all_rows"), "ood")


def _scalar(builder: GraphBuilder, name: str, value: float) -> str:
    return builder.constant(name, np.array(value, dtype=np.float32))


def _inputs(weights: Recogniser) -> list[onnx.ValueInfoProto]:
    units, traits = weights.traits.shape
    del traits
    return [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"]),
        helper.make_tensor_value_info(
            "weights", TensorProto.FLOAT, ["batch", len(REGIONS), "length"]
        ),
        helper.make_tensor_value_info("told", TensorProto.FLOAT, ["batch", "tasks_of_all"]),
        helper.make_tensor_value_info("task_rows", TensorProto.FLOAT, ["tasks_of_all", units]),
        helper.make_tensor_value_info("models", TensorProto.FLOAT, [None, None]),
    ]


def _outputs() -> list[onnx.ValueInfoProto]:
    shapes = {"ood": ["batch"], "tasks": ["batch", "tasks_of_all"]}
    return [
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT, shapes.get(name, ["batch", "models_of_pool"])
        )
        for name in TABLE_OUTPUTS
    ]


assert QUESTIONS == 3, "the graph's last product is split into three"  # noqa: S101 - it holds the code together
