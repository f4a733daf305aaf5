"""The steps around a graph that all backends share: tokenise, pad to few shapes, restore order."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from routoo.errors import PredictorError
from routoo.predictor.artifact import STATIC
from routoo.predictor.base import NONSENSE, Prediction
from routoo.predictor.tokenizer import PromptEncoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from routoo.predictor.artifact import Artifact
    from routoo.predictor.tokenizer import EncodedPrompts

    Ids: TypeAlias = NDArray[np.int64]
    Figures: TypeAlias = Sequence[NDArray[np.float32]]
    Infer: TypeAlias = Callable[[Sequence[Ids]], Iterable[Figures]]

OUTPUTS = ("scores", "output_tokens", "score_std", "ood")
WARM_UP_ROWS = (1, 8)


@dataclass(frozen=True, slots=True)
class Questions:
    """Prompts as a graph is asked about them.

    Attributes:
        encoded: their token ids and lengths.
        rows: positions of the prompts of each matrix, [k] each.
        inputs: matrices of padded ids, int64 [k', length] each, k' >= k.
        tokenize_ns: time spent tokenising.
        tokenized_ns: when that was done, ``perf_counter_ns``.
    """

    encoded: EncodedPrompts
    rows: Sequence[NDArray[np.intp]]
    inputs: Sequence[Ids]
    tokenize_ns: int
    tokenized_ns: int


class PaddedGraph:
    """Turns prompts into padded token ids, and a graph's answers to them into a prediction.

    A backend asks ``questions``, runs the graph on their matrices, and hands each one's outputs, in
    the order of ``outputs``, to ``prediction``.

    Attributes:
        outputs: names of the outputs that the artifact has.
        encoder: tokenises; not thread-safe.
        models: the m models, in the order of the columns.
        rows_step: every inference gets a multiple of so many rows.
    """

    def __init__(self, artifact: Artifact) -> None:
        """Reads the tokenizer.

        Raises:
            ArtifactError: the file is no tokenizer.
        """
        manifest = artifact.manifest
        self.encoder = PromptEncoder(
            artifact.tokenizer_path,
            max_tokens=manifest.max_tokens,
            pad_token_id=manifest.pad_token_id,
            add_special_tokens=manifest.add_special_tokens,
            fine_buckets=manifest.backbone != STATIC,
        )
        self.outputs = tuple(name for name in OUTPUTS if name in manifest.output_names)
        self.models = manifest.models
        # The library multiplies a single row, and the last rows of a matrix, in another order than
        # the others. Without this the last bits of a prompt's figures, and sometimes its rounded
        # score, would depend on the batch that it came in.
        self.rows_step = manifest.rows_step

    def questions(self, prompts: Sequence[str]) -> Questions:
        """Tokenises n >= 1 prompts, and pads them to few shapes."""
        started_ns = perf_counter_ns()
        encoded = self.encoder.encode(prompts)
        tokenized_ns = perf_counter_ns()
        buckets = list(self.encoder.buckets(encoded.ids))
        return Questions(
            encoded=encoded,
            rows=[bucket.rows for bucket in buckets],
            inputs=[self.filled(bucket.input_ids) for bucket in buckets],
            tokenize_ns=tokenized_ns - started_ns,
            tokenized_ns=tokenized_ns,
        )

    def prediction(
        self, asked: Questions, answers: Sequence[Figures], served_by: str, version: str
    ) -> Prediction:
        """Sorts a graph's answers back to the order of the prompts, and checks them.

        Args:
            asked: the questions.
            answers: the graph's outputs for each of their matrices.
            served_by: the backend that has answered.
            version: the artifact that it runs.

        Raises:
            PredictorError: an answer does not have the shape of its question; as ``checked``.
        """
        for ids, answer in zip(asked.inputs, answers, strict=True):
            self._check(answer, len(ids))
        n = len(asked.encoded.ids)
        if len(answers) == 1:  # most batches, and every single prompt: nothing to sort
            figures = {
                name: values[:n] for name, values in zip(self.outputs, answers[0], strict=True)
            }
        else:
            figures = {name: np.empty(self.shape(name, n), np.float32) for name in self.outputs}
            for rows, answer in zip(asked.rows, answers, strict=True):
                for name, values in zip(self.outputs, answer, strict=True):
                    figures[name][rows] = values[: len(rows)]
        prediction = Prediction(
            scores=figures["scores"],
            output_tokens=figures["output_tokens"],
            input_tokens=asked.encoded.input_tokens,
            truncated=asked.encoded.truncated,
            tokenize_ns=asked.tokenize_ns,
            predict_ns=perf_counter_ns() - asked.tokenized_ns,
            score_std=figures.get("score_std"),
            ood=figures.get("ood"),
            served_by=served_by,
            version=version,
        )
        return checked(prediction, n, len(self.models))

    def warm_up(self, infer: Infer) -> None:
        """Tokenises, and runs every bucket length once with one row and with several."""
        self.run(self.questions(["warm up"]).inputs, infer)
        for length in self.encoder.bucket_lengths.tolist():
            for rows in WARM_UP_ROWS:
                self.run([self.filled(np.ones((rows, length), np.int64))], infer)

    def run(self, filled: Sequence[Ids], infer: Infer) -> list[Figures]:
        """Returns the graph's answers to matrices of ids.

        Raises:
            PredictorError: an answer does not have the shape of its question.
        """
        answers = list(infer(filled))
        for ids, answer in zip(filled, answers, strict=True):
            self._check(answer, len(ids))
        return answers

    def _check(self, answer: Figures, rows: int) -> None:
        for name, values in zip(self.outputs, answer, strict=True):
            if values.shape != self.shape(name, rows):
                raise _misshapen(name, values, self.shape(name, rows))

    def filled(self, input_ids: Ids) -> Ids:
        """Repeats rows of ids, [k, length], until their number is a multiple of ``rows_step``."""
        rows = len(input_ids)
        missing = -rows % self.rows_step
        return input_ids.take(np.arange(rows + missing) % rows, axis=0) if missing else input_ids

    def shape(self, output: str, rows: int) -> tuple[int, ...]:
        """Returns the shape of an output for so many rows."""
        return (rows,) if output == "ood" else (rows, len(self.models))


def checked(prediction: Prediction, n: int, m: int) -> Prediction:
    """Returns the prediction, if it is one of n prompts on m models.

    Every backend hands its predictions through here, and nobody checks them again.

    Raises:
        PredictorError: wrong shapes, figures that are not finite, or lengths below 0.
    """
    if prediction.truncated.shape != (n,):
        raise _misshapen("truncated", prediction.truncated, (n,))
    for name, figures, expected in (
        ("scores", prediction.scores, (n, m)),
        ("output_tokens", prediction.output_tokens, (n, m)),
        ("input_tokens", prediction.input_tokens, (n,)),
        ("score_std", prediction.score_std, (n, m)),
        ("ood", prediction.ood, (n,)),
    ):
        if figures is None:
            continue
        if figures.shape != expected:
            raise _misshapen(name, figures, expected)
        # The least and the greatest tell of any NaN or infinity, and take no array of flags.
        least = np.minimum.reduce(figures, axis=None)
        if not (isfinite(least) and isfinite(np.maximum.reduce(figures, axis=None))):
            raise PredictorError(
                f"the predictor answered NaN or an infinite number in {name}", kind=NONSENSE
            )
        if name == "output_tokens" and least < 0.0:
            raise PredictorError("the predictor answered a length below 0", kind=NONSENSE)
    return prediction


def _misshapen(name: str, figures: NDArray[Any], expected: tuple[int, ...]) -> PredictorError:
    return PredictorError(
        f"the predictor answered {name} {figures.shape}, expected {expected}", kind=NONSENSE
    )
