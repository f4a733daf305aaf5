"""The static backbone as ONNX nodes.

It is built node by node instead of with torch.onnx or optimum. In this way the int8 rows are cast
after the gather, their scales are applied to the pooling weights instead of to the gathered
vectors, and names do not depend on the version of torch.
"""

import numpy as np
from onnx import TensorProto

from routoo_export.backbones.token_table import TokenTable
from routoo_export.backbones.token_vectors import PAD_TOKEN_ID
from routoo_export.graph.builder import GraphBuilder


def add_static(builder: GraphBuilder, table: TokenTable, input_ids: str) -> str:
    """Add nodes that compute what ``PromptFeatures`` computes; return the name of their output."""
    node, constant = builder.node, builder.constant
    last = constant("last_axis", np.array([-1], dtype=np.int64))
    middle = constant("middle_axis", np.array([1], dtype=np.int64))
    third = constant("third_axis", np.array([2], dtype=np.int64))
    one = constant("one", np.array(1.0, dtype=np.float32))
    pad = constant("pad_id", np.array(PAD_TOKEN_ID, dtype=np.int64))
    tiny = constant("tiny", np.array(1.0e-6, dtype=np.float32))

    is_pad = node("Equal", [input_ids, pad], "is_pad")
    absent = node("Cast", [is_pad], "absent", to=TensorProto.FLOAT)
    present = node("Sub", [one, absent], "present")
    # int32 halves the memory of the one step that is quadratic in the length.
    narrow = node("Cast", [input_ids], "narrow_ids", to=TensorProto.INT32)
    ids_column = node("Unsqueeze", [narrow, third], "ids_column")
    ids_row = node("Unsqueeze", [narrow, middle], "ids_row")
    same = node("Equal", [ids_column, ids_row], "same_token")
    same_float = node("Cast", [same], "same_token_float", to=TensorProto.FLOAT)
    counts = node("ReduceSum", [same_float, third], "counts", keepdims=0)
    share = node("Div", [present, counts], "share_of_distinct")
    log_counts = node("Log", [node("Add", [counts, one], "counts_plus_one")], "log_counts")
    pooling = node("Mul", [share, log_counts], "pooling_weights")
    total = node("ReduceSum", [pooling, last], "pooling_total", keepdims=1)
    total_safe = node("Max", [total, tiny], "pooling_total_safe")

    scales = constant("token_scales", table.scales)
    scale = node("Gather", [scales, input_ids], "row_scales", axis=0)
    scaled = node("Mul", [pooling, scale], "scaled_weights")
    scaled_row = node("Unsqueeze", [scaled, middle], "scaled_weights_row")
    codes = constant("token_codes", table.codes)
    vectors = node("Gather", [codes, input_ids], "row_codes", axis=0)
    floats = node("Cast", [vectors], "row_vectors", to=TensorProto.FLOAT)
    pooled = node("MatMul", [scaled_row, floats], "pooled_row")
    pooled_flat = node("Squeeze", [pooled, middle], "pooled_sum")
    mean = node("Div", [pooled_flat, total_safe], "pooled_mean")

    length = node("ReduceSum", [present, last], "length", keepdims=1)
    distinct = node("ReduceSum", [share, last], "distinct", keepdims=1)
    some = node("Max", [length, one], "length_at_least_one")
    classes = constant("token_classes", table.classes)
    class_rows = node("Gather", [classes, input_ids], "class_rows", axis=0)
    class_counts = node("ReduceSum", [class_rows, middle], "class_counts", keepdims=0)
    counted = node("Concat", [length, distinct, class_counts], "counted", axis=1)
    logs = node("Log", [node("Add", [counted, one], "counted_plus_one")], "log_counted")
    shares = node("Concat", [distinct, class_counts], "shared", axis=1)
    ratios = node("Div", [shares, some], "ratios")
    return node("Concat", [mean, logs, ratios], "features", axis=1)
