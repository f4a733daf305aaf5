"""Constant folding: results that are the same in each run of a traced graph are computed at export.

A trace reads all sizes from shapes, both those of the architecture (heads, channels) and those of
the batch. The sizes of the architecture are constants, and so are all results that depend on
constants alone.
"""

from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from routoo_export.graph.builder import needed_nodes

Array = NDArray[np.generic]

MOST_ELEMENTS: Final = 1 << 16
"""Most elements of a result that is stored; a larger one would cost more in size than it saves."""


_OF_BATCH: Final = -1
"""Stands for a size that depends on the batch."""


def fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of ``model`` in which constants replace the nodes with the same result in each run."""
    known: dict[str, Array] = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if np.prod(tensor.dims) <= MOST_ELEMENTS
    }
    shapes = _shapes(model)
    sizes: dict[str, Array] = {}
    nodes, constants = [], list(model.graph.initializer)
    for node in model.graph.node:
        if node.op_type == "Shape" and node.input[0] in shapes and not node.attribute:
            sizes[node.output[0]] = shapes[node.input[0]]
        value = _value(node, known, sizes)
        if value is None:
            nodes.append(node)
        else:
            known[node.output[0]] = value
            constants.append(numpy_helper.from_array(value, node.output[0]))
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    del folded.graph.node[:], folded.graph.initializer[:], folded.graph.value_info[:]
    folded.graph.node.extend(needed_nodes(nodes, {output.name for output in model.graph.output}))
    read = {name for node in folded.graph.node for name in node.input}
    folded.graph.initializer.extend(tensor for tensor in constants if tensor.name in read)
    onnx.checker.check_model(folded)
    return folded


def _shapes(model: onnx.ModelProto) -> dict[str, Array]:
    """Sizes, int64, of each value whose number of dimensions is known."""
    typed = shape_inference.infer_shapes(model, data_prop=True)
    return {
        value.name: np.array(
            [
                size.dim_value if size.HasField("dim_value") else _OF_BATCH
                for size in value.type.tensor_type.shape.dim
            ],
            dtype=np.int64,
        )
        for value in typed.graph.value_info
        if value.type.tensor_type.HasField("shape")
    }


def _value(node: onnx.NodeProto, known: dict[str, Array], sizes: dict[str, Array]) -> Array | None:
    """Compute the output of ``node``; None where it depends on the run or is large.

    Some of ``sizes`` depend on the run; nodes that pick only the others are computed too.
    """
    picks = node.op_type in ("Gather", "Slice") and node.input[0] in sizes
    values = {**sizes, **known} if picks else known
    if len(node.output) != 1 or not all(name in values for name in node.input if name):
        return None
    feeds = {name: values[name] for name in node.input if name}
    found = np.asarray(ReferenceEvaluator(node).run(None, feeds)[0])
    if found.size > MOST_ELEMENTS or (picks and (found == _OF_BATCH).any()):
        return None
    return found
