"""The gate of every export: the ONNX graph must compute what the torch model computes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from routoo_export.errors import ParityError
from routoo_export.features import PromptFeatures, TokenTable
from routoo_export.graph import INPUT_NAME, OUTPUT_NAMES
from routoo_export.network import Network, Weights
from routoo_export.tokens import length_batches, pad_ids

PARITY_PROMPTS: Final = 512
TOLERANCE: Final = 1.0e-5
_BATCH_ROWS: Final = 64


@dataclass(frozen=True, slots=True)
class Parity:
    """max_abs_diff: the largest difference: absolute for scores, relative for output tokens."""

    prompts: int
    max_abs_diff: float
    tolerance: float


def open_session(model: onnx.ModelProto | bytes) -> onnxruntime.InferenceSession:
    """A single-threaded CPU session, as the server opens it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run_session(
    session: onnxruntime.InferenceSession, ids: Sequence[Sequence[int]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scores and output tokens float32 [n, m] of `ids`, in batches of like length."""
    models = session.get_outputs()[0].shape[1]
    outputs = tuple(np.empty((len(ids), models), dtype=np.float32) for _ in OUTPUT_NAMES)
    for index in length_batches(ids, _BATCH_ROWS):
        batch = pad_ids([ids[i] for i in index])
        for output, values in zip(
            outputs, session.run(list(OUTPUT_NAMES), {INPUT_NAME: batch}), strict=True
        ):
            output[index] = values
    return outputs[0], outputs[1]


def check_parity(
    model: onnx.ModelProto, table: TokenTable, weights: Weights, ids: Sequence[Sequence[int]]
) -> Parity:
    """Run `ids` through both.

    Raises:
        ParityError: an output is not finite, or the difference is above TOLERANCE.
    """
    scores, tokens = run_session(open_session(model), ids)
    features, network = PromptFeatures(table), Network(weights)
    worst = 0.0
    with torch.inference_mode():
        for index in length_batches(ids, _BATCH_ROWS):
            batch = torch.from_numpy(pad_ids([ids[i] for i in index]))
            want_scores, want_tokens = (t.numpy() for t in network(features(batch)))
            score_diff = np.abs(scores[index] - want_scores).max()
            token_diff = np.abs(tokens[index] / want_tokens - 1.0).max()
            # Not max(): that drops a NaN when it comes second.
            worst = float(np.maximum(worst, np.maximum(score_diff, token_diff)))
    if not worst <= TOLERANCE:
        raise ParityError(f"ONNX and torch differ by {worst:.3g}, above {TOLERANCE:g}")
    return Parity(prompts=len(ids), max_abs_diff=worst, tolerance=TOLERANCE)
