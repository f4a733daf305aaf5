"""The predictor as one ONNX graph: token ids in, calibrated scores and output tokens out.

Built node by node instead of with torch.onnx or optimum, which trace a transformers model: this
graph is thirty static nodes, and only here can the int8 rows be cast after the gather, their scales
ride on the pooling weights instead of on the gathered vectors, and names and opset stay the same
for every torch.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from routoo_export.backbone import PAD_TOKEN_ID
from routoo_export.features import TokenTable
from routoo_export.network import Weights

OPSET: Final = 17
IR_VERSION: Final = 8
INPUT_NAME: Final = "input_ids"
OUTPUT_NAMES: Final = ("scores", "output_tokens")
GRAPH_NAME: Final = "routoo_predictor"


@dataclass(slots=True)
class _Builder:
    """Nodes and constants in the order of their making; each node is named by its one output."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def constant(self, name: str, array: NDArray[np.generic]) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def split(self, source: str, outputs: tuple[str, ...], widths: tuple[int, ...]) -> None:
        sizes = self.constant("head_widths", np.array(widths, dtype=np.int64))
        self.nodes.append(
            helper.make_node("Split", [source, sizes], list(outputs), name="heads_split", axis=1)
        )


def build_graph(table: TokenTable, weights: Weights) -> onnx.ModelProto:
    """The checked model; computes what `PromptFeatures` and `Network` compute."""
    builder = _Builder()
    features = _features(builder, table)
    _heads(builder, features, weights)
    models = weights.topic_logits.shape[1]
    graph = helper.make_graph(
        builder.nodes,
        GRAPH_NAME,
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.INT64, ["batch", "length"])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", models])
            for name in OUTPUT_NAMES
        ],
        list(builder.constants.values()),
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="routoo-export",
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _features(builder: _Builder, table: TokenTable) -> str:
    node, constant = builder.node, builder.constant
    last = constant("last_axis", np.array([-1], dtype=np.int64))
    middle = constant("middle_axis", np.array([1], dtype=np.int64))
    third = constant("third_axis", np.array([2], dtype=np.int64))
    one = constant("one", np.array(1.0, dtype=np.float32))
    pad = constant("pad_id", np.array(PAD_TOKEN_ID, dtype=np.int64))
    tiny = constant("tiny", np.array(1.0e-6, dtype=np.float32))

    is_pad = node("Equal", [INPUT_NAME, pad], "is_pad")
    absent = node("Cast", [is_pad], "absent", to=TensorProto.FLOAT)
    present = node("Sub", [one, absent], "present")
    # Half the width for the one quadratic step.
    narrow = node("Cast", [INPUT_NAME], "narrow_ids", to=TensorProto.INT32)
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
    scale = node("Gather", [scales, INPUT_NAME], "row_scales", axis=0)
    scaled = node("Mul", [pooling, scale], "scaled_weights")
    scaled_row = node("Unsqueeze", [scaled, middle], "scaled_weights_row")
    codes = constant("token_codes", table.codes)
    vectors = node("Gather", [codes, INPUT_NAME], "row_codes", axis=0)
    floats = node("Cast", [vectors], "row_vectors", to=TensorProto.FLOAT)
    pooled = node("MatMul", [scaled_row, floats], "pooled_row")
    pooled_flat = node("Squeeze", [pooled, middle], "pooled_sum")
    mean = node("Div", [pooled_flat, total_safe], "pooled_mean")

    length = node("ReduceSum", [present, last], "length", keepdims=1)
    distinct = node("ReduceSum", [share, last], "distinct", keepdims=1)
    some = node("Max", [length, one], "length_at_least_one")
    classes = constant("token_classes", table.classes)
    class_rows = node("Gather", [classes, INPUT_NAME], "class_rows", axis=0)
    class_counts = node("ReduceSum", [class_rows, middle], "class_counts", keepdims=0)
    counted = node("Concat", [length, distinct, class_counts], "counted", axis=1)
    logs = node("Log", [node("Add", [counted, one], "counted_plus_one")], "log_counted")
    shares = node("Concat", [distinct, class_counts], "shared", axis=1)
    ratios = node("Div", [shares, some], "ratios")
    return node("Concat", [mean, logs, ratios], "features", axis=1)


def _heads(builder: _Builder, features: str, weights: Weights) -> None:
    node, constant = builder.node, builder.constant
    hidden_weight = constant("hidden_weight", weights.hidden)
    hidden_bias = constant("hidden_bias", weights.hidden_bias)
    dense = node("Gemm", [features, hidden_weight, hidden_bias], "hidden_linear")
    hidden = node("Relu", [dense], "hidden")
    topics, models, _ = weights.split
    residual = slice(topics, topics + models)
    # Platt's slope and intercept are linear in both terms of the logit: fold them in.
    heads = weights.heads.copy()
    heads[:, residual] *= weights.slope
    bias = weights.heads_bias.copy()
    bias[residual] = bias[residual] * weights.slope + weights.intercept
    heads_out = node(
        "Gemm", [hidden, constant("heads_weight", heads), constant("heads_bias", bias)], "heads"
    )
    builder.split(heads_out, ("topic_logits", "residual", "log_tokens"), weights.split)
    mixture = node("Softmax", ["topic_logits"], "topic_shares", axis=1)
    means = constant("topic_model_logits", weights.topic_logits * weights.slope)
    mixed = node("Gemm", [mixture, means, "residual"], "logits")
    node("Sigmoid", [mixed], OUTPUT_NAMES[0])
    node("Exp", ["log_tokens"], OUTPUT_NAMES[1])
