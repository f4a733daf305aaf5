"""int8 for CPUs: matrix products of the traced transformer in integers, its embeddings in bytes.

Weights are quantised symmetrically with one scale per column. Activations are unsigned bytes with
one scale per tensor, which is fixed from calibration prompts ("static" quantisation). A prompt's
outputs then do not depend on its batch, as they would with scales computed from the batch
("dynamic" quantisation), and integer sums are exact in any order. Where a few channels of an
activation are large, their scale is moved into the weights if that lowers the error (SmoothQuant,
arXiv 2211.10438). Biases and scales around a product become part of it (``int8_folds``). A product
whose error is still too large stays in float, as do attention, norms and everything outside the
transformer.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from routoo_export.backbones.tokens import length_batches, pad_ids
from routoo_export.graph.builder import CONTRIB_DOMAIN, CONTRIB_VERSION
from routoo_export.graph.constant_folding import fold_constants
from routoo_export.graph.graph import INPUT_NAME
from routoo_export.graph.int8_folds import Folds, Surroundings, find_folds, values_product
from routoo_export.graph.transformer import PREFIX

FloatArray = NDArray[np.float32]

SAMPLE_TOKENS: Final = 2048
"""Tokens on which the error of an activation's scale is measured; its range is over all tokens."""
MIGRATIONS: Final = (0.0, 0.5, 0.7, 0.85)
"""Values of SmoothQuant's alpha that are tried, 0 = none; the one with the least error is taken."""
MOST_ERROR: Final = 0.08
"""Relative error (Frobenius norm) of a product above which it stays in float."""
_MOST_BYTE: Final = 255
_MOST_INT8: Final = 127
_TINY: Final = 1.0e-5
_BATCH_ROWS: Final = 16


@dataclass(frozen=True, slots=True)
class ActivationSample:
    """Values of one activation of k channels on the calibration prompts.

    Attributes:
        rows: The activation of t of the tokens, float32 [t, k].
        low: Least value of each channel over all tokens, [k].
        high: Largest value of each channel over all tokens, [k].
    """

    rows: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale of an activation: byte = activation / channels / step + zero.

    Attributes:
        channels: Scale of each channel, float32 [k]; None = all 1.
        step: Difference of two neighbouring bytes.
        zero: The byte that stands for 0.
        error: Relative error of the products that read the activation.
    """

    channels: FloatArray | None
    step: np.float32
    zero: np.uint8
    error: float


def to_int8(
    model: onnx.ModelProto, ids: Sequence[Sequence[int]], pad_token_id: int
) -> onnx.ModelProto:
    """A copy of ``model`` with the transformer's products in int8.

    A model without a transformer is returned as it is.

    Args:
        model: A model from ``build_graph``.
        ids: Token ids of the calibration prompts. The same prompts give the same scales.
        pad_token_id: The token that pads them.
    """
    model = fold_constants(model) if _products(model) else model
    products = _products(model)
    if not products:
        return model
    weights = _weights(model, products)
    readers: dict[str, list[str]] = {}
    for node in products:
        readers.setdefault(node.input[0], []).append(node.input[1])
    uses = Counter(name for names in readers.values() for name in set(names))
    scales = {
        activation: choose_scale(
            sample,
            np.concatenate([weights[name] for name in readers[activation]], axis=1),
            # A matrix that several layers share is stored once, so its channels are not rescaled.
            migrate=all(uses[name] == 1 for name in readers[activation]),
        )
        for activation, sample in _observe(model, list(readers), ids, pad_token_id).items()
    }
    bytewise = [node for node in products if scales[node.input[0]].error <= MOST_ERROR]
    around = Surroundings(model)
    folds = find_folds(around, bytewise, [weights[n.input[1]].shape[1] for n in bytewise])
    for activation in readers:
        channels = scales[activation].channels
        values = values_product(around, folds, activation)
        if channels is not None and values is not None:
            folds = folds.smoothed(activation, values, 1.0 / channels)
    return _rewritten(model, folds, weights, scales)


def choose_scale(sample: ActivationSample, weight: FloatArray, *, migrate: bool = True) -> Scale:
    """Choose the scale with the least error of the activation's product with ``weight`` [k, n]."""
    candidates = [_scale(sample, weight, alpha) for alpha in MIGRATIONS if migrate or not alpha]
    return min(candidates, key=lambda scale: scale.error)


def _scale(sample: ActivationSample, weight: FloatArray, alpha: float) -> Scale:
    """The scale that covers the whole range after a migration of strength ``alpha``."""
    channels, moved, rows, low, high = None, weight, sample.rows, sample.low, sample.high
    if alpha:
        of_activation = np.maximum(np.maximum(np.abs(low), np.abs(high)), _TINY) ** alpha
        of_weight = np.maximum(np.abs(weight).max(axis=1), _TINY) ** (1.0 - alpha)
        channels = (of_activation / of_weight).astype(np.float32)
        moved, rows = weight * channels[:, None], rows / channels
        low, high = low / channels, high / channels
    bottom, top = min(float(low.min()), 0.0), max(float(high.max()), _TINY)
    step = np.float32((top - bottom) / _MOST_BYTE)
    zero = np.uint8(np.clip(np.rint(-bottom / step), 0, _MOST_BYTE))
    codes = np.clip(np.rint(rows / step) + zero, 0, _MOST_BYTE)
    weight_codes, weight_steps = byte_columns(moved)
    wanted = sample.rows @ weight
    off = ((codes - zero) * step) @ (weight_codes * weight_steps) - wanted
    error = float(np.linalg.norm(off) / max(float(np.linalg.norm(wanted)), _TINY))
    return Scale(channels, step, zero, error)


def byte_columns(weight: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
    """Quantise symmetrically: codes int8 [k, n] and steps float32 [n], weight = codes * steps."""
    steps = np.maximum(np.abs(weight).max(axis=0), _TINY**2).astype(np.float32) / _MOST_INT8
    return np.rint(weight / steps).astype(np.int8), steps


def _products(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The transformer's multiplications by a constant matrix."""
    matrices = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2}
    return [
        node
        for node in model.graph.node
        if node.name.startswith(PREFIX) and node.op_type in ("MatMul", "Gemm")
        if node.input[1] in matrices and node.input[0] not in matrices
    ]


def _weights(model: onnx.ModelProto, products: list[onnx.NodeProto]) -> dict[str, FloatArray]:
    """The constant matrices [k, n] by name."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    weights = {}
    for node in products:
        matrix = numpy_helper.to_array(constants[node.input[1]])
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        weights[node.input[1]] = matrix.T if transposed else matrix
    return weights


def _observe(
    model: onnx.ModelProto, names: list[str], ids: Sequence[Sequence[int]], pad_token_id: int
) -> dict[str, ActivationSample]:
    """Run the prompts ``ids`` and sample the activations ``names``."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    batches = length_batches(ids, _BATCH_ROWS)
    per_batch = -(-SAMPLE_TOKENS // len(batches))
    rows: dict[str, list[FloatArray]] = {name: [] for name in names}
    low: dict[str, FloatArray] = {}
    high: dict[str, FloatArray] = {}
    for index in batches:
        batch = pad_ids([ids[i] for i in index], pad_token_id)
        tokens = np.flatnonzero(batch.ravel() != pad_token_id)
        chosen = tokens[:: max(len(tokens) // per_batch, 1)]
        for name, values in zip(names, session.run(names, {INPUT_NAME: batch}), strict=True):
            flat = values.reshape(-1, values.shape[-1])
            known = flat[tokens]
            rows[name].append(flat[chosen])
            low[name] = np.minimum(low.get(name, np.inf), known.min(axis=0)).astype(np.float32)
            high[name] = np.maximum(high.get(name, -np.inf), known.max(axis=0)).astype(np.float32)
    return {
        name: ActivationSample(np.concatenate(rows[name]), low[name], high[name]) for name in names
    }


def _rewritten(
    model: onnx.ModelProto,
    folds: Folds,
    weights: dict[str, FloatArray],
    scales: dict[str, Scale],
) -> onnx.ModelProto:
    """Replace the float nodes of the graph by quantised ones."""
    new = _Rewriter(weights, scales, folds)
    vocabularies = {
        tensor.name: tensor for tensor in model.graph.initializer if tensor.name.startswith(PREFIX)
    }
    for node in model.graph.node:
        if node.name in folds.tails:
            new.product(node)
        elif node.name in folds.absorbed:
            continue
        elif node.op_type == "Gather" and node.input[1] == INPUT_NAME:
            new.embedding(node, vocabularies)
        else:
            new.other(node)
    read = {name for node in new.nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    quantised = onnx.ModelProto()
    quantised.CopyFrom(model)
    del quantised.graph.node[:], quantised.graph.initializer[:], quantised.graph.value_info[:]
    quantised.graph.node.extend(new.nodes)
    quantised.graph.initializer.extend([*kept, *new.constants.values()])
    quantised.opset_import.append(helper.make_opsetid(CONTRIB_DOMAIN, CONTRIB_VERSION))
    onnx.checker.check_model(quantised)
    return quantised


class _Rewriter:
    """Nodes and constants of the quantised graph, in order."""

    def __init__(
        self, weights: dict[str, FloatArray], scales: dict[str, Scale], folds: Folds
    ) -> None:
        self.weights, self.scales, self.folds = weights, scales, folds
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._bytes: dict[str, str] = {}
        self._steps: dict[str, FloatArray] = {}

    def product(self, node: onnx.NodeProto) -> None:
        """Add a product of bytes, converted back to float, with its bias."""
        activation, weight = node.input[:2]
        scale, tail = self.scales[activation], self.folds.tails[node.name]
        codes = f"{weight}.codes"
        if codes not in self.constants:
            matrix = self.weights[weight]
            moved = matrix if scale.channels is None else matrix * scale.channels[:, None]
            weight_codes, self._steps[weight] = byte_columns(moved)
            self._constant(codes, weight_codes)
        if activation not in self._bytes:
            self._bytes[activation] = self._quantised(activation, scale)
        steps = self._constant(f"{tail.output}.steps", self._steps[weight] * tail.factor)
        of_activation = (f"{activation}.step", f"{activation}.zero")
        inputs = [self._bytes[activation], codes, of_activation[0], steps, of_activation[1]]
        if tail.bias is not None:
            # The input before it is the weights' zero point, which they do not have.
            bias = self._constant(f"{tail.output}.bias", tail.bias * tail.factor)
            inputs += ["", bias]
        self._add("MatMulIntegerToFloat", inputs, tail.output, domain=CONTRIB_DOMAIN)

    def other(self, node: onnx.NodeProto) -> None:
        """Add a node that stays in float."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [self.folds.same.get(name, name) for name in node.input]
        self.nodes.append(copy)

    def embedding(self, node: onnx.NodeProto, vocabularies: dict[str, onnx.TensorProto]) -> None:
        """Add an embedding table of bytes, with a scale for each row."""
        table, output = node.input[0], node.output[0]
        codes, steps = byte_columns(numpy_helper.to_array(vocabularies[table]).T)
        rows = self._add(
            "Gather", [self._constant(f"{table}.codes", codes.T), INPUT_NAME], f"{output}.codes"
        )
        floats = self._add("Cast", [rows], f"{output}.floats", to=TensorProto.FLOAT)
        scale = self._add(
            "Gather",
            [self._constant(f"{table}.steps", steps[:, None]), INPUT_NAME],
            f"{output}.steps",
        )
        self._add("Mul", [floats, scale], output)

    def _quantised(self, activation: str, scale: Scale) -> str:
        source = activation
        if scale.channels is not None and activation not in self.folds.smooth:
            inverse = self._constant(f"{activation}.per_channel", 1.0 / scale.channels)
            source = self._add("Mul", [activation, inverse], f"{activation}.moved")
        step = self._constant(f"{activation}.step", np.array(scale.step))
        zero = self._constant(f"{activation}.zero", np.array(scale.zero))
        return self._add("QuantizeLinear", [source, step, zero], f"{activation}.bytes")

    def _constant(self, name: str, array: NDArray[np.generic]) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output
