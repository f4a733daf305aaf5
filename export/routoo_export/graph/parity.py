"""The gate of every export: the ONNX graph must compute what the torch model computes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from routoo_export.backbones.base import Backbone
from routoo_export.backbones.tokens import length_batches, pad_ids
from routoo_export.errors import ParityError
from routoo_export.graph.graph import INPUT_NAME
from routoo_export.graph.heads import OUTPUT_NAMES
from routoo_export.graph.precision import Precision
from routoo_export.network.network import Network, NetworkPrediction, Weights

PARITY_PROMPTS: Final = 512
_BATCH_ROWS: Final = 64


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The differences that pass.

    Attributes:
        most: Largest difference of any output: absolute, but relative for output tokens.
        mean: Mean absolute difference of the scores.
    """

    most: float
    mean: float


TOLERANCES: Final[dict[Precision, Tolerance]] = {
    "fp32": Tolerance(most=1.0e-4, mean=1.0e-5),
    "fp16": Tolerance(most=2.0e-2, mean=2.0e-3),
    "int8": Tolerance(most=2.0e-1, mean=2.0e-2),
}


@dataclass(frozen=True, slots=True)
class Parity:
    """The differences that were found, and the tolerances.

    Attributes:
        prompts: Number of prompts that were compared.
        max_abs_diff: Largest difference of any output.
        mean_abs_diff: Mean absolute difference of the scores.
        tolerance: Largest difference that passes.
        mean_tolerance: Mean difference that passes.
    """

    prompts: int
    max_abs_diff: float
    mean_abs_diff: float
    tolerance: float
    mean_tolerance: float


def open_session(model: onnx.ModelProto | bytes) -> onnxruntime.InferenceSession:
    """Open a single-threaded CPU session, as the server does."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run_session(
    session: onnxruntime.InferenceSession, ids: Sequence[Sequence[int]], pad_token_id: int
) -> tuple[NDArray[np.float32], ...]:
    """Run ``ids`` in batches of similar length; the outputs are in the order of OUTPUT_NAMES."""
    columns = {output.name: output.shape[1:] for output in session.get_outputs()}
    names = [name for name in OUTPUT_NAMES if name in columns]
    outputs = tuple(np.empty((len(ids), *columns[name]), dtype=np.float32) for name in names)
    for index in length_batches(ids, _BATCH_ROWS):
        batch = pad_ids([ids[i] for i in index], pad_token_id)
        found = session.run(names, {INPUT_NAME: batch})
        for output, values in zip(outputs, found, strict=True):
            output[index] = values
    return outputs


def run_torch(
    backbone: Backbone, weights: Weights, ids: Sequence[Sequence[int]]
) -> NetworkPrediction:
    """Predict ``ids`` with the trained model in torch, the reference of every graph."""
    features, network = backbone.module(), Network(weights)
    pad, parts, order = backbone.spec.pad_token_id, [], []
    with torch.inference_mode():
        for index in length_batches(ids, _BATCH_ROWS):
            batch = torch.from_numpy(pad_ids([ids[i] for i in index], pad))
            parts.append(network(features(batch)))
            order.append(index)
    rows = np.argsort(np.concatenate(order))
    joined = (torch.cat(values).numpy()[rows] for values in zip(*parts, strict=True))
    return NetworkPrediction(*joined)


def check_parity(
    model: onnx.ModelProto,
    backbone: Backbone,
    weights: Weights,
    ids: Sequence[Sequence[int]],
    precision: Precision = "fp32",
) -> Parity:
    """Compare the graph with the torch model on ``ids``.

    Raises:
        ParityError: an output is not finite, or a difference is above the precision's tolerance.
    """
    tolerance = TOLERANCES[precision]
    found = NetworkPrediction(*run_session(open_session(model), ids, backbone.spec.pad_token_id))
    wanted = run_torch(backbone, weights, ids)
    # numpy's max and mean keep a NaN; Python's max may drop it.
    largest = [
        np.abs(found.scores - wanted.scores).max(),
        np.abs(found.output_tokens / wanted.output_tokens - 1.0).max(),
        np.abs(found.score_std - wanted.score_std).max(),
        np.abs(found.ood - wanted.ood).max(),
    ]
    parity = Parity(
        prompts=len(ids),
        max_abs_diff=float(np.max(largest)),
        mean_abs_diff=float(np.abs(found.scores - wanted.scores).mean()),
        tolerance=tolerance.most,
        mean_tolerance=tolerance.mean,
    )
    if not (parity.max_abs_diff <= tolerance.most and parity.mean_abs_diff <= tolerance.mean):
        raise ParityError(
            f"ONNX at {precision} and torch differ by {parity.max_abs_diff:.3g} at most and"
            f" {parity.mean_abs_diff:.3g} on average, above {tolerance.most:g} or"
            f" {tolerance.mean:g}; export with --precision fp32"
        )
    return parity
