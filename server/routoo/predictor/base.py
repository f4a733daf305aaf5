"""The one interface that every predictor backend fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from routoo.errors import PredictorError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Prediction:
    """What n prompts are expected to do on the m models of a predictor.

    Attributes:
        scores: float32 [n, m], calibrated, in [0, 1].
        output_tokens: float32 [n, m], >= 0.
        input_tokens: float64 [n], the prompts' lengths before any cut.
        truncated: bool [n], the middle of the prompt was not read.
        tokenize_ns: time spent tokenising.
        predict_ns: time spent in inference.
    """

    scores: NDArray[np.float32]
    output_tokens: NDArray[np.float32]
    input_tokens: NDArray[np.float64]
    truncated: NDArray[np.bool_]
    tokenize_ns: int
    predict_ns: int


def join(parts: Sequence[Prediction]) -> Prediction:
    """Puts the predictions of one or more parts of a batch under each other; times add up."""
    return Prediction(
        scores=np.concatenate([part.scores for part in parts]),
        output_tokens=np.concatenate([part.output_tokens for part in parts]),
        input_tokens=np.concatenate([part.input_tokens for part in parts]),
        truncated=np.concatenate([part.truncated for part in parts]),
        tokenize_ns=sum(part.tokenize_ns for part in parts),
        predict_ns=sum(part.predict_ns for part in parts),
    )


def checked(prediction: Prediction, n: int, m: int) -> Prediction:
    """The same prediction, when it is one of n prompts on m models.

    Raises:
        PredictorError: wrong shapes, figures that are not finite, or lengths below 0.
    """
    for name, expected in (
        ("scores", (n, m)),
        ("output_tokens", (n, m)),
        ("input_tokens", (n,)),
        ("truncated", (n,)),
    ):
        found = getattr(prediction, name).shape
        if found != expected:
            raise PredictorError(f"the predictor answered {name} {found}, expected {expected}")
    lengths = prediction.output_tokens
    if not (np.isfinite(prediction.scores).all() and np.isfinite(lengths).all()):
        raise PredictorError("the predictor answered NaN or an infinite number")
    if (lengths < 0.0).any():
        raise PredictorError("the predictor answered a length below 0")
    return prediction


class Predictor(Protocol):
    """Estimates scores and output lengths without running any LLM. Called from one thread."""

    @property
    def models(self) -> tuple[str, ...]:
        """The m models, in the order of the prediction's columns."""

    @property
    def version(self) -> str:
        """Which artifact predicts."""

    @property
    def backend(self) -> str:
        """What it runs on, e.g. ``onnx-cpu``."""

    @property
    def max_tokens(self) -> int:
        """Longest prompt that is read whole, in tokens."""

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Predicts n >= 1 prompts; row i belongs to prompt i, whatever the batch.

        Raises:
            PredictorError: inference failed; ``checked`` looks at what it answers.
        """

    def warm_up(self) -> None:
        """Runs every shape once, so that the first request does not pay for it."""
