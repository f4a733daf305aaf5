"""fp16 for GPUs: the transformer in half precision, its sums in single precision.

onnxruntime has a converter for this too. But it converts values between two nodes that stay in
single precision to half precision: the squares in a norm overflow, and the angles of position 200
lose their digits.
"""

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from routoo_export.graph.graph import INPUT_NAME
from routoo_export.graph.transformer import PREFIX

SINGLE_OPERATORS: Final = frozenset(
    {"LayerNormalization", "Softmax", "ReduceMean", "Pow", "Sqrt", "Cast"}
)
"""Norms and attention weights: sums over many terms, squares and exponentials overflow or cancel in
half precision. Casts have their own target type."""
_HALF: Final = ".half"
_SINGLE: Final = ".single"
_LARGEST: Final = float(np.finfo(np.float16).max)


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of ``model`` (from ``build_graph``) with the transformer in fp16.

    Pooling, heads and outputs are outside the transformer and stay float32. A model without a
    transformer is returned as it is.
    """
    halved = _half_nodes(model)
    if not halved:
        return model
    typed = shape_inference.infer_shapes(model)
    floats = {
        value.name
        for value in typed.graph.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    constants = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
    }
    converter = _Converter(floats, constants)
    for node in model.graph.node:
        converter.add(node, half=node.name in halved)
    read = {name for node in converter.nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    converted = onnx.ModelProto()
    converted.CopyFrom(model)
    del converted.graph.node[:], converted.graph.initializer[:], converted.graph.value_info[:]
    converted.graph.node.extend(converter.nodes)
    converted.graph.initializer.extend([*kept, *converter.constants.values()])
    onnx.checker.check_model(converted, full_check=True)
    return converted


def _half_nodes(model: onnx.ModelProto) -> set[str]:
    """Names of the nodes that compute in half precision.

    These are the nodes of the transformer that depend on the tokens. Nodes that depend on positions
    and masks alone stay in single precision, and so does the input of a softmax with its mask.
    """
    of_tokens: set[str] = set()
    summed = {name for node in model.graph.node if node.op_type == "Softmax" for name in node.input}
    halved = set()
    for node in model.graph.node:
        embeds = node.op_type == "Gather" and node.input[1] == INPUT_NAME
        if not node.name.startswith(PREFIX) or node.op_type == "Shape":
            continue
        if embeds or of_tokens.intersection(node.input):
            of_tokens.update(node.output)
            if node.op_type not in SINGLE_OPERATORS and not summed.intersection(node.output):
                halved.add(node.name)
    return halved


class _Converter:
    """Copies nodes in their order and adds casts between half and single precision."""

    def __init__(self, floats: set[str], constants: dict[str, onnx.TensorProto]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._floats, self._single_constants = floats, constants
        self._halves: set[str] = set()
        self._cast: set[str] = set()

    def add(self, node: onnx.NodeProto, *, half: bool) -> None:
        """Copy ``node``, in half or in single precision."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        convert = self._as_half if half else self._as_single
        copy.input[:] = [convert(name) for name in node.input]
        self.nodes.append(copy)
        if half:
            self._halves.update(name for name in node.output if name in self._floats)

    def _as_half(self, name: str) -> str:
        if name in self._single_constants:
            constant = f"{name}{_HALF}"
            if constant not in self.constants:
                single = numpy_helper.to_array(self._single_constants[name])
                self.constants[constant] = numpy_helper.from_array(
                    np.clip(single, -_LARGEST, _LARGEST).astype(np.float16), constant
                )
            return constant
        if name in self._halves or name not in self._floats:
            return name
        return self._through_cast(name, _HALF, TensorProto.FLOAT16)

    def _as_single(self, name: str) -> str:
        return (
            self._through_cast(name, _SINGLE, TensorProto.FLOAT) if name in self._halves else name
        )

    def _through_cast(self, name: str, suffix: str, kind: int) -> str:
        output = f"{name}{suffix}"
        if output not in self._cast:
            self._cast.add(output)
            self.nodes.append(helper.make_node("Cast", [name], [output], name=output, to=kind))
        return output
