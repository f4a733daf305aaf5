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
from routoo_export.graph_builder import GraphBuilder
from routoo_export.heads_graph import OUTPUT_NAMES, add_heads
from routoo_export.network import Weights
from routoo_export.static_graph import add_static
from routoo_export.transformer_graph import add_transformer

INPUT_NAME: Final = INPUT
EXTRA_ROWS: Final = 3
"""Rows of zeros below the features. A library multiplies a lone row, and the last rows of a matrix
when they are no full four, in another order than the others: a prompt's last bits would depend on
the batch that it came in. Three more rows, and no prompt is among those last."""


def build_graph(backbone: Backbone, weights: Weights) -> onnx.ModelProto:
    """The checked model; computes what `backbone.module()` and `Network` compute, in float32.

    Raises:
        ExportError: the backbone cannot be exported.
    """
    builder = GraphBuilder()
    if isinstance(backbone, StaticBackbone):
        features = add_static(builder, backbone.table, INPUT_NAME)
    elif isinstance(backbone, TransformerBackbone):
        features = add_transformer(builder, backbone, INPUT_NAME)
    else:
        raise ExportError(f"a {backbone.spec.kind} backbone of another make cannot be exported")
    zeros = np.zeros((EXTRA_ROWS, backbone.spec.width), dtype=np.float32)
    rows = [features, builder.constant("extra_rows", zeros)]
    add_heads(builder, builder.node("Concat", rows, "all_rows", axis=0), weights)
    first = builder.constant("first_row", np.array([0], dtype=np.int64))
    end = builder.constant("extra_rows_start", np.array([-EXTRA_ROWS], dtype=np.int64))
    for name in OUTPUT_NAMES:
        of_all = builder.rename(name, f"{name}_of_all_rows")
        builder.node("Slice", [of_all, first, end], name)
    return builder.model(
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.INT64, ["batch", "length"])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in output_shapes(weights.models).items()
        ],
    )


def output_shapes(models: int) -> dict[str, tuple[str | int, ...]]:
    """The shape of each output; `batch` is the number of prompts."""
    of_models = ("batch", models)
    return {name: ("batch",) if name == "ood" else of_models for name in OUTPUT_NAMES}
