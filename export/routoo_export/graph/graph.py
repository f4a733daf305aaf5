"""The predictor as one ONNX graph: from token ids to scores, output tokens and uncertainty."""

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
"""Matrix libraries multiply the last rows beyond a multiple of four in another order than the rows
before them: the last bits of a prompt's outputs would depend on its batch."""
EXTRA_ROWS: Final = FULL_ROWS - 1
"""Rows of zeros after a transformer's features: with them, no prompt is among those last rows."""


def build_graph(backbone: Backbone, weights: Weights) -> onnx.ModelProto:
    """Build and check the model that computes ``backbone.module()`` and ``Network`` in float32.

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
    """The multiple to which callers fill up the rows, so that outputs do not depend on the batch.

    It is 1 where the graph itself adds rows to the features. The static graph, which takes a tenth
    of a millisecond, would lose a third of its speed by such rows.
    """
    return FULL_ROWS if isinstance(backbone, StaticBackbone) else 1


def _add_heads_below_full_rows(
    builder: GraphBuilder, features: str, width: int, weights: Weights
) -> None:
    """Add the heads on ``features`` [n, width] and EXTRA_ROWS more; cut those off the outputs."""
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
