"""Building an ONNX model from nodes and constants."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

OPSET: Final = 17
IR_VERSION: Final = 8
CONTRIB_DOMAIN: Final = "com.microsoft"
CONTRIB_VERSION: Final = 1
"""onnxruntime's own operators, which only quantised graphs use."""
GRAPH_NAME: Final = "routoo_predictor"
PRODUCER_NAME: Final = "routoo-export"


@dataclass(slots=True)
class GraphBuilder:
    """A graph under construction.

    Attributes:
        nodes: Nodes in the order in which they were added; each has the name of its one output.
        constants: Constants by name.
    """

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def constant(self, name: str, array: NDArray[np.generic]) -> str:
        """Add an initializer; it replaces one of the same name. Returns the name."""
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        """Add a node with one output; return the name of the output."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def split(
        self,
        source: str,
        outputs: tuple[str, ...],
        widths: tuple[int, ...],
        name: str = "heads",
        *,
        axis: int = 1,
    ) -> None:
        """Split ``source`` along ``axis`` into ``outputs`` of the sizes ``widths``."""
        sizes = self.constant(f"{name}_widths", np.array(widths, dtype=np.int64))
        self.nodes.append(
            helper.make_node(
                "Split", [source, sizes], list(outputs), name=f"{name}_split", axis=axis
            )
        )

    def rename(self, old: str, new: str) -> str:
        """Rename the output ``old`` of a node, and the node, to ``new``; return ``new``."""
        for node in self.nodes:
            node.name = new if node.name == old else node.name
            for names in (node.input, node.output):
                names[:] = [new if name == old else name for name in names]
        return new

    def merge(self, model: onnx.ModelProto, prefix: str, inputs: dict[str, str]) -> None:
        """Add the nodes and constants of another model.

        Args:
            model: The other model.
            prefix: Prefix of each of its names.
            inputs: For each input of ``model``, the name in this graph that feeds it.
        """
        renamed = dict(inputs)

        def name_of(old: str) -> str:
            return renamed.setdefault(old, f"{prefix}{old}") if old else ""

        for tensor in model.graph.initializer:
            self.constant(name_of(tensor.name), numpy_helper.to_array(tensor))
        for node in model.graph.node:
            if node.op_type == "Identity" and name_of(node.input[0]) in self.constants:
                # A constant that is used twice needs only one name.
                renamed[node.output[0]] = name_of(node.input[0])
                continue
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = f"{prefix}{node.name}"
            copy.input[:] = [name_of(name) for name in node.input]
            copy.output[:] = [name_of(name) for name in node.output]
            self.nodes.append(copy)

    def model(
        self,
        inputs: list[onnx.ValueInfoProto],
        outputs: list[onnx.ValueInfoProto],
    ) -> onnx.ModelProto:
        """Build and check the model of all nodes on which ``outputs`` depend."""
        nodes = needed_nodes(self.nodes, {output.name for output in outputs})
        read = {name for node in nodes for name in node.input}
        constants = [tensor for name, tensor in self.constants.items() if name in read]
        graph = helper.make_graph(nodes, GRAPH_NAME, inputs, outputs, constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name=PRODUCER_NAME,
            ir_version=IR_VERSION,
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def needed_nodes(nodes: list[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """Filter ``nodes``, which are in topological order, to those that ``outputs`` depend on."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]
