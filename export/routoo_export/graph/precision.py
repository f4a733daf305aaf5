"""The precision of an exported graph: fp32, fp16 or int8."""

from collections.abc import Sequence
from typing import Literal

import onnx

from routoo_export.graph.fp16 import to_fp16
from routoo_export.graph.int8 import to_int8

Precision = Literal["fp32", "fp16", "int8"]
"""fp16: for GPUs. int8: for CPUs with VNNI."""


def at_precision(
    model: onnx.ModelProto,
    precision: Precision,
    ids: Sequence[Sequence[int]],
    pad_token_id: int,
) -> onnx.ModelProto:
    """Convert ``model``, which is in fp32, to ``precision``.

    The static backbone has its table in bytes at every precision and is returned as it is.

    Args:
        model: The graph from ``build_graph``.
        precision: The precision to convert to.
        ids: Token ids of the prompts on which the scales of int8 are chosen.
        pad_token_id: The token that pads these prompts.
    """
    if precision == "fp16":
        return to_fp16(model)
    if precision == "int8":
        return to_int8(model, ids, pad_token_id)
    return model
