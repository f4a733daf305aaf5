"""Nodes around a product of the transformer that become part of its constants.

A vector that is added to a product becomes its bias. A factor that scales it, also after a change
of layout, moves into the steps of its columns, and so does the smoothing of attention's output,
which is linear in the values. Each saves a pass over the activations, which takes up to a third of
the time of the product.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

FloatArray = NDArray[np.float32]

_LAYOUT: Final = ("Reshape", "Transpose")
_FROM_ATTENTION: Final = ("Reshape", "Transpose", "MatMul", "Transpose", "Reshape")
"""The operators from attention's output back to the values."""
_HEADS_FIRST: Final = [0, 2, 1, 3]
"""The permutation of both transposes: heads stay whole, so output channels are value channels."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The nodes after a product that become part of it.

    Attributes:
        output: Name of the result.
        bias: Bias that is added to the product, float32 [n], or None.
        factor: Factor of product and bias, float32 [] or [n].
    """

    output: str
    bias: FloatArray | None
    factor: FloatArray


@dataclass(frozen=True, slots=True)
class Folds:
    """The folds of all products.

    Attributes:
        tails: The tail of each product, by the name of its node.
        absorbed: Names of the nodes that are no longer needed.
        same: For outputs of absorbed nodes, the name of the value that replaces them.
        smooth: Activations that attention already outputs smoothed.
    """

    tails: dict[str, Tail]
    absorbed: frozenset[str]
    same: dict[str, str]
    smooth: frozenset[str] = frozenset()

    def smoothed(self, activation: str, product: str, factor: FloatArray) -> "Folds":
        """Multiply ``product`` by ``factor`` [n], and so the ``activation`` that it leads to."""
        tail = self.tails[product]
        changed = replace(tail, factor=tail.factor * factor)
        return replace(
            self,
            tails={**self.tails, product: changed},
            smooth=self.smooth | {activation},
        )


class Surroundings:
    """The node that makes each value of a graph, and the nodes that read it."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.maker = {name: node for node in model.graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for name in node.input:
                self.readers[name].append(node)
        self.outputs = {output.name for output in model.graph.output}

    def sole_reader(self, value: str) -> onnx.NodeProto | None:
        """The one node that reads ``value``, once; None if there are more, or it is an output."""
        readers = self.readers[value]
        return readers[0] if len(readers) == 1 and value not in self.outputs else None

    def constant(self, node: onnx.NodeProto, value: str) -> FloatArray | None:
        """The other input of ``node`` beside ``value``, if it is a float32 constant; else None."""
        others = [name for name in node.input if name != value]
        if len(others) != 1 or others[0] not in self.constants:
            return None
        array = numpy_helper.to_array(self.constants[others[0]])
        return array if array.dtype == np.float32 else None


def find_folds(around: Surroundings, products: list[onnx.NodeProto], widths: list[int]) -> Folds:
    """Find the nodes that can become part of ``products``, whose results are ``widths`` wide."""
    tails, absorbed, same = {}, set(), {}
    for product, width in zip(products, widths, strict=True):
        output = product.output[0]
        bias = None
        if len(product.input) > 2:
            bias = numpy_helper.to_array(around.constants[product.input[2]])
        reader = around.sole_reader(output)
        if bias is None and reader is not None and reader.op_type == "Add":
            added = around.constant(reader, output)
            if added is not None and added.shape == (width,):
                bias, output = added, reader.output[0]
                absorbed.add(reader.name)
        factor, scaled = _factor_after(around, output)
        if scaled is not None:
            absorbed.add(scaled.name)
            same[scaled.output[0]] = next(n for n in scaled.input if n not in around.constants)
        tails[product.name] = Tail(output, bias, factor)
    return Folds(tails, frozenset(absorbed), same)


def _factor_after(around: Surroundings, value: str) -> tuple[FloatArray, onnx.NodeProto | None]:
    """The scalar that multiplies ``value`` after changes of layout, and the node that does it."""
    reader = around.sole_reader(value)
    while reader is not None and reader.op_type in _LAYOUT and reader.input[0] == value:
        value = reader.output[0]
        reader = around.sole_reader(value)
    if reader is not None and reader.op_type == "Mul":
        factor = around.constant(reader, value)
        if factor is not None and factor.size == 1:
            return factor.reshape(()), reader
    return np.ones((), dtype=np.float32), None


def values_product(around: Surroundings, folds: Folds, activation: str) -> str | None:
    """The product that makes the values of the attention whose output is ``activation``.

    Returns None where ``activation`` is something else, where its channels are not those of the
    values, or where a node other than an integer product reads it.
    """
    if any(reader.name not in folds.tails for reader in around.readers[activation]):
        return None
    value = activation
    for operator in _FROM_ATTENTION:
        node = around.maker.get(value)
        if node is None or node.op_type != operator:
            return None
        if operator == "Transpose" and _permutation(node) != _HEADS_FIRST:
            return None
        if value != activation and around.sole_reader(value) is None:
            return None
        value = node.input[1] if operator == "MatMul" else node.input[0]
    if around.sole_reader(value) is None:
        return None
    return next((name for name, tail in folds.tails.items() if tail.output == value), None)


def _permutation(node: onnx.NodeProto) -> list[int]:
    return [axis for a in node.attribute if a.name == "perm" for axis in a.ints]
