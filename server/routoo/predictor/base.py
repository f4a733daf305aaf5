"""The interface that every predictor backend implements, and the plain values that it handles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, TypeAlias

    from numpy.typing import NDArray

    Feed: TypeAlias = dict[str, NDArray[Any]]

SHORTEST_BUCKET = 16
NONSENSE = "nonsense"
"""The ``kind`` of a PredictorError for an answer that is no prediction."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted figures of n prompts on the m models of a predictor.

    Attributes:
        scores: float32 [n, m], calibrated, in [0, 1].
        output_tokens: float32 [n, m], >= 0.
        input_tokens: float64 [n], the prompts' lengths before any cut.
        truncated: bool [n], the middle of the prompt was not read.
        tokenize_ns: time spent tokenising.
        predict_ns: time spent in inference.
        score_std: float32 [n, m], standard deviation of a score over predictors trained on other
            prompts; None when the artifact does not give it.
        ood: float32 [n], in [0, 1], distance from the training prompts; None when the artifact
            does not give it.
        tasks: float32 [n, t], probabilities of the kinds of task; None when the artifact tells none
            apart.
        task_names: the t kinds of task.
        evidence: float32 [n, m], graded prompts behind a score; None when the artifact does not
            give it.
        averages: float32 [n, m], published averages behind a score; None when the artifact does not
            give it.
        served_by: the backend that answered.
        version: the artifact that answered.
        degraded: whether a fallback answered in place of the configured backend.
    """

    scores: NDArray[np.float32]
    output_tokens: NDArray[np.float32]
    input_tokens: NDArray[np.float64]
    truncated: NDArray[np.bool_]
    tokenize_ns: int
    predict_ns: int
    served_by: str
    version: str
    score_std: NDArray[np.float32] | None = None
    ood: NDArray[np.float32] | None = None
    tasks: NDArray[np.float32] | None = None
    task_names: tuple[str, ...] = ()
    evidence: NDArray[np.float32] | None = None
    averages: NDArray[np.float32] | None = None
    degraded: bool = False


def join(parts: Sequence[Prediction]) -> Prediction:
    """Joins the predictions of one or more parts of a batch, in order; times are summed."""
    return Prediction(
        scores=np.concatenate([part.scores for part in parts]),
        output_tokens=np.concatenate([part.output_tokens for part in parts]),
        input_tokens=np.concatenate([part.input_tokens for part in parts]),
        truncated=np.concatenate([part.truncated for part in parts]),
        tokenize_ns=sum(part.tokenize_ns for part in parts),
        predict_ns=sum(part.predict_ns for part in parts),
        score_std=_join_known([part.score_std for part in parts]),
        ood=_join_known([part.ood for part in parts]),
        tasks=_join_known([part.tasks for part in parts]),
        task_names=parts[0].task_names,
        evidence=_join_known([part.evidence for part in parts]),
        averages=_join_known([part.averages for part in parts]),
        served_by=_each_once([part.served_by for part in parts]),
        version=_each_once([part.version for part in parts]),
        degraded=any(part.degraded for part in parts),
    )


def _each_once(names: Sequence[str]) -> str:
    return ",".join(dict.fromkeys(names))


def _join_known(parts: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
    """Joins arrays; returns None if any part has none."""
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


@dataclass(frozen=True, slots=True)
class EncodedPrompts:
    """Token ids of n prompts.

    Attributes:
        ids: n lists of at most ``max_tokens`` ids.
        input_tokens: float64 [n], lengths before the cut; estimated where not all was read.
        truncated: bool [n], the middle of the prompt was cut out.
    """

    ids: list[list[int]]
    input_tokens: NDArray[np.float64]
    truncated: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bucket:
    """Prompts of similar length, padded to one shape.

    Attributes:
        rows: positions of the prompts in the batch, [k].
        feed: the graph's inputs by name, with k rows each.
    """

    rows: NDArray[np.intp]
    feed: Feed


def bucket_lengths(max_tokens: int, *, fine: bool) -> Iterator[int]:
    """Yields the lengths to which prompts are padded, rising; the last is ``max_tokens``.

    Args:
        max_tokens: longest length.
        fine: four lengths to each doubling, at least ``SHORTEST_BUCKET`` apart, for graphs that
            spend time on every token of the padding; else each length is twice the one before.
    """
    length = SHORTEST_BUCKET
    while length < max_tokens:
        yield length
        doubling = 1 << (length.bit_length() - 1)
        length += max(doubling // 4, SHORTEST_BUCKET) if fine else length
    yield max_tokens


@dataclass(frozen=True, slots=True)
class Questions:
    """Prompts as the inputs of a graph.

    Attributes:
        input_tokens: float64 [n], their lengths.
        truncated: bool [n], not all of it was read.
        rows: positions of the prompts of each inference, [k] each.
        inputs: the inputs of each inference, with k' >= k rows.
        tokenize_ns: time spent tokenising.
        tokenized_ns: when that was done, ``perf_counter_ns``.
    """

    input_tokens: NDArray[np.float64]
    truncated: NDArray[np.bool_]
    rows: Sequence[NDArray[np.intp]]
    inputs: Sequence[Feed]
    tokenize_ns: int
    tokenized_ns: int


class Wait(Protocol):
    """Tells a predictor whether a caller still waits for its answer. Thread-safe.

    Attributes:
        deadline_s: the last deadline, on ``time.monotonic``'s clock; None: there is no deadline.
    """

    deadline_s: float | None

    @property
    def abandoned(self) -> bool:
        """Returns whether no caller waits any more."""

    def on_abandoned(self, give_up: Callable[[], object]) -> None:
        """Calls ``give_up`` when no caller waits any more; at once, if none waits now."""


class Predictor(Protocol):
    """Estimates scores and output lengths without running any LLM. Called from one thread."""

    @property
    def models(self) -> tuple[str, ...]:
        """The m models, in the order of the prediction's columns."""

    @property
    def version(self) -> str:
        """The version of the artifact that predicts."""

    @property
    def backend(self) -> str:
        """The backend that it runs on, e.g. ``onnx-cpu``."""

    @property
    def max_tokens(self) -> int:
        """Longest prompt that is read whole, in tokens."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The kinds of task that are told apart; empty: none are."""

    @property
    def degraded(self) -> bool:
        """Returns whether a fallback answers in place of the configured backend."""

    @property
    def waits(self) -> bool:
        """Returns whether a prediction may wait for another machine or device than the CPU."""

    def predict(
        self,
        prompts: Sequence[str],
        wait: Wait | None = None,
        told: Sequence[str] | None = None,
    ) -> Prediction:
        """Predicts n >= 1 prompts; row i belongs to prompt i and does not depend on the batch.

        Args:
            prompts: the n prompts, each a text or a conversation, see ``conversation``.
            wait: tells whether a caller still waits for the answer; None: one always does.
            told: the task of each prompt as its caller names it, empty: not named; None: none is.

        Raises:
            PredictorError: inference failed, or its answer is no prediction of n prompts.
        """

    def warm_up(self) -> None:
        """Runs every shape once, so that the first request is not slower than others."""


class PredictorSource(Protocol):
    """Holds the predictor that serves now; a reload of the artifact alone exchanges it.

    Attributes:
        predictor: the predictor to call; read it again for each batch.
    """

    predictor: Predictor

    def warm_up(self) -> None:
        """Prepares the predictor for its first prompts, on the thread that will call it."""


@dataclass(slots=True)
class LonePredictor:
    """A source whose predictor is never exchanged."""

    predictor: Predictor

    def warm_up(self) -> None:
        """Warms the predictor up."""
        self.predictor.warm_up()
