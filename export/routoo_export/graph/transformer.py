"""A Hugging Face transformer as ONNX nodes: traced by optimum, pooled from the hidden states.

Optimum knows for each architecture what has to be patched for the trace (masks, attention,
positions). The steps of ``PooledTransformer`` around the transformer are added here node by node,
so that the predictor has one input.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import TensorProto

from routoo_export.backbones.transformer import RMS_EPSILON, TransformerBackbone
from routoo_export.errors import ExportError
from routoo_export.graph.builder import OPSET, GraphBuilder

if TYPE_CHECKING:
    from optimum.exporters.onnx import OnnxConfig
    from transformers import PreTrainedModel

PREFIX: Final = "backbone/"
"""Prefix of the name of each node and constant that comes from the trace."""
_HIDDEN_STATES: Final = "hidden_states"
_TO_THE_END: Final = np.iinfo(np.int64).max


def add_transformer(builder: GraphBuilder, backbone: TransformerBackbone, input_ids: str) -> str:
    """Add nodes that compute what ``backbone.module()`` computes; return the name of their output.

    Raises:
        ExportError: optimum cannot export this architecture.
    """
    reading = backbone.reading
    traced = trace(backbone.model)
    present = _present(builder, input_ids, reading.pad_token_id)
    feeds = {"input_ids": input_ids}
    for tensor in traced.graph.input:
        if tensor.name not in feeds:
            feeds[tensor.name] = _feed(builder, tensor.name, present, backbone)
    builder.merge(traced, PREFIX, feeds)
    states = [f"{PREFIX}{_HIDDEN_STATES}.{layer}" for layer in reading.layers]
    if reading.state_scale == "rms":
        states = _by_root_mean_square(builder, states)
    if reading.pooling == "last":
        pooled = _last(builder, states, present)
    else:
        pooled = _mean(builder, states, present, reading.unpooled)
    return builder.node("Concat", pooled, "features", axis=1)


def trace(model: "PreTrainedModel") -> onnx.ModelProto:
    """The transformer with all its hidden states as outputs, without a key-value cache.

    Raises:
        ExportError: optimum has no rules for the architecture, or they fail.
    """
    from optimum.exporters.onnx import export  # noqa: PLC0415 - slow, and rarely needed

    config = _onnx_config(model)
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        path = Path(scratch) / "model.onnx"
        try:
            export(
                model,
                config,
                path,
                opset=OPSET,
                disable_dynamic_axes_fix=True,
                model_kwargs={"output_hidden_states": True},
            )
            return onnx.load(path)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ExportError(
                f"optimum cannot export {model.config.model_type}: {reason}; take another backbone"
            ) from error


def _onnx_config(model: "PreTrainedModel") -> "OnnxConfig":
    """Optimum's rules for the architecture, with the hidden states as outputs."""
    from optimum.exporters.tasks import TasksManager  # noqa: PLC0415 - slow, and rarely needed

    kind = model.config.model_type
    try:
        constructor: Any = TasksManager.get_exporter_config_constructor(
            "onnx", model=model, task="feature-extraction", library_name="transformers"
        )
    except (KeyError, ValueError) as error:
        raise ExportError(
            f"optimum has no ONNX rules for {kind}; take a backbone of another architecture"
        ) from error
    rules = constructor.func
    names = [f"{_HIDDEN_STATES}.{i}" for i in range(model.config.num_hidden_layers + 1)]
    axes = {0: "batch_size", 1: "sequence_length"}
    with_states = type(
        f"{rules.__name__}WithHiddenStates",
        (rules,),
        {"outputs": property(lambda _: dict.fromkeys(names, axes))},
    )
    config: OnnxConfig = with_states(model.config, task="feature-extraction")
    return config


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warnings of the trace about branches on a shape.

    The parity gate shows whether such a branch mattered.
    """
    loggers = [logging.getLogger(name) for name in ("optimum", "transformers")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _present(builder: GraphBuilder, input_ids: str, pad_token_id: int) -> str:
    """Add a mask int64 [n, length]: 1 at the first token and at all others except padding."""
    node, constant = builder.node, builder.constant
    pad = constant("pad_id", np.array(pad_token_id, dtype=np.int64))
    zero = constant("zero_id", np.array(0, dtype=np.int64))
    one = constant("one_id", np.array(1, dtype=np.int64))
    is_token = node("Not", [node("Equal", [input_ids, pad], "is_pad")], "is_token")
    length = node("Shape", [input_ids], "padded_length", start=1, end=2)
    scalar = node("Squeeze", [length], "padded_length_scalar")
    positions = node("Range", [zero, scalar, one], "positions")
    is_first = node("Equal", [positions, zero], "is_first")
    is_present = node("Or", [is_token, is_first], "is_present")
    return node("Cast", [is_present], "present", to=TensorProto.INT64)


def _feed(builder: GraphBuilder, name: str, present: str, backbone: TransformerBackbone) -> str:
    """The name of the value that feeds the input ``name`` of the trace."""
    node, constant = builder.node, builder.constant
    if name == "attention_mask":
        return present
    if name == "token_type_ids":
        zero = constant("zero_id", np.array(0, dtype=np.int64))
        return node("Mul", [present, zero], "token_type_ids")
    if name == "position_ids":
        # Padding, which no token attends to, gets the position of the last token.
        so_far = node(
            "CumSum", [present, constant("one_id", np.array(1, dtype=np.int64))], "tokens_so_far"
        )
        return node("Sub", [so_far, "one_id"], "position_ids")
    kind = backbone.model.config.model_type
    raise ExportError(f"{kind} takes {name} beside token ids; take a backbone that reads text only")


def _by_root_mean_square(builder: GraphBuilder, states: list[str]) -> list[str]:
    """Divide each token's state by its root mean square."""
    node = builder.node
    two = builder.constant("two", np.array(2.0, dtype=np.float32))
    epsilon = builder.constant("rms_epsilon", np.array(RMS_EPSILON, dtype=np.float32))
    scaled = []
    for i, state in enumerate(states):
        square = node("Pow", [state, two], f"state_square_{i}")
        mean = node("ReduceMean", [square], f"state_mean_square_{i}", axes=[-1], keepdims=1)
        root = node("Sqrt", [node("Add", [mean, epsilon], f"state_safe_{i}")], f"state_rms_{i}")
        scaled.append(node("Div", [state, root], f"state_scaled_{i}"))
    return scaled


def _mean(builder: GraphBuilder, states: list[str], present: str, unpooled: int) -> list[str]:
    node, constant = builder.node, builder.constant
    row_axis = constant("row_axis", np.array([1], dtype=np.int64))
    last_axis = constant("last_axis", np.array([-1], dtype=np.int64))
    one = constant("one", np.array(1.0, dtype=np.float32))
    marks = node("Cast", [present], "present_float", to=TensorProto.FLOAT)
    if unpooled:
        start = constant("unpooled", np.array([unpooled], dtype=np.int64))
        end = constant("to_the_end", np.array([_TO_THE_END], dtype=np.int64))
        marks = node("Slice", [marks, start, end, row_axis], "pooled_marks")
        states = [
            node("Slice", [state, start, end, row_axis], f"read_states_{i}")
            for i, state in enumerate(states)
        ]
    count = node("ReduceSum", [marks, last_axis], "pooled_count", keepdims=1)
    share = node("Div", [marks, node("Max", [count, one], "pooled_count_safe")], "shares")
    row = node("Unsqueeze", [share, row_axis], "shares_row")
    return [
        node("Squeeze", [node("MatMul", [row, state], f"pooled_row_{i}"), row_axis], f"pooled_{i}")
        for i, state in enumerate(states)
    ]


def _last(builder: GraphBuilder, states: list[str], present: str) -> list[str]:
    node, constant = builder.node, builder.constant
    last_axis = constant("last_axis", np.array([-1], dtype=np.int64))
    count = node("ReduceSum", [present, last_axis], "read_count", keepdims=1)
    last = node("Sub", [count, "one_id"], "last_position")
    return [
        node("GatherND", [state, last], f"pooled_{i}", batch_dims=1)
        for i, state in enumerate(states)
    ]
