"""The predictor as one ONNX graph: token ids in, scores, lengths and what is known of them out."""

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper

from routoo.predictor.artifact import INPUT
from routoo_export.backbones.base import Backbone
from routoo_export.backbones.static import StaticBackbone
from routoo_export.backbones.transformer import TransformerBackbone
from routoo_export.errors import ExportError
from routoo_export.graph.builder import GraphBuilder
from routoo_export.graph.heads import OUTPUT_NAMES, add_heads
from routoo_export.graph.static import add_static
from routoo_export.graph.transformer import add_transformer
from routoo_export.network.network import Weights

INPUT_NAME: Final = INPUT
FULL_ROWS: Final = 4
"""A library multiplies a lone row, and the last rows of a matrix when they are no full four, in
another order than the others: a prompt's last bits would depend on the batch that it came in."""
EXTRA_ROWS: Final = FULL_ROWS - 1
"""Rows of zeros below a transformer's features: with them, no prompt is among those last rows."""


def build_graph(backbone: Backbone, weights: Weights) -> onnx.ModelProto:
    """The checked model; computes what ``backbone.module()`` and ``Network`` compute, in float32.

    Raises:
        ExportError: the backbone cannot be exported.
    """
    builder = GraphBuilder()
    if isinstance(backbone, StaticBackbone):
        add_heads(builder, add_static(builder, backbone.table, INPUT_NAME), weights)
    elif isinstance(backbone, TransformerBackbone):
        features = add_transformer(builder, backbone, INPUT_NAME)
        _add_heads_below_full_rows(builder, features, backbone.spec.width, weights)
    else:
        raise ExportError(f"a {backbone.spec.kind} backbone of another make cannot be exported")
    return builder.model(
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.INT64, ["batch", "length"])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in output_shapes(weights.models).items()
        ],
    )


def rows_step(backbone: Backbone) -> int:
    """Callers fill the rows up to a multiple of this; then no prompt's bits depend on the batch.

    1: the graph sees to it itself, by extra rows of features. The static graph, which answers in
    a tenth of a millisecond, would lose a third of its speed by them.
    """
    return FULL_ROWS if isinstance(backbone, StaticBackbone) else 1


def _add_heads_below_full_rows(
    builder: GraphBuilder, features: str, width: int, weights: Weights
) -> None:
    """The heads on ``features`` [n, width] and EXTRA_ROWS more, which are cut off the outputs."""
    zeros = np.zeros((EXTRA_ROWS, width), dtype=np.float32)
    rows = [features, builder.constant("extra_rows", zeros)]
    add_heads(builder, builder.node("Concat", rows, "all_rows", axis=0), weights)
    first = builder.constant("first_row", np.array([0], dtype=np.int64))
    end = builder.constant("extra_rows_start", np.array([-EXTRA_ROWS], dtype=np.int64))
    for name in OUTPUT_NAMES:
        of_all = builder.rename(name, f"{name}_of_all_rows")
        builder.node("Slice", [of_all, first, end], name)


def output_shapes(models: int) -> dict[str, tuple[str | int, ...]]:
    """The shape of each output; ``batch`` is the number of prompts."""
    of_models = ("batch", models)
    return {name: ("batch",) if name == "ood" else of_models for name in OUTPUT_NAMES}
