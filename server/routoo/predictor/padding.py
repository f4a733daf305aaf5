"""The steps around a graph that all backends share: tokenise, pad to few shapes, restore order."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np

from routoo.errors import PredictorError
from routoo.predictor.artifact import STATIC
from routoo.predictor.base import NONSENSE, Prediction
from routoo.predictor.tokenizer import PromptEncoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from routoo.predictor.artifact import Artifact
    from routoo.predictor.tokenizer import Bucket

    Ids: TypeAlias = NDArray[np.int64]
    Figures: TypeAlias = Sequence[NDArray[np.float32]]
    Infer: TypeAlias = Callable[[Sequence[Ids]], Iterable[Figures]]

OUTPUTS = ("scores", "output_tokens", "score_std", "ood")
WARM_UP_ROWS = (1, 8)


class PaddedGraph:
    """Turns prompts into padded token ids, and a graph's answers to them into a prediction.

    A backend passes ``infer``: it takes matrices of ids, int64 [k, length] each, and yields for
    each in turn the graph's outputs, in the order of ``outputs``, k rows each.

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

    def predict(self, prompts: Sequence[str], infer: Infer) -> Prediction:
        """Predicts n >= 1 prompts, see ``Predictor.predict``."""
        started = perf_counter_ns()
        encoded = self.encoder.encode(prompts)
        tokenized = perf_counter_ns()
        figures = self._figures(list(self.encoder.buckets(encoded.ids)), len(prompts), infer)
        return Prediction(
            scores=figures["scores"],
            output_tokens=figures["output_tokens"],
            input_tokens=encoded.input_tokens,
            truncated=encoded.truncated,
            tokenize_ns=tokenized - started,
            predict_ns=perf_counter_ns() - tokenized,
            score_std=figures.get("score_std"),
            ood=figures.get("ood"),
        )

    def _figures(
        self, buckets: Sequence[Bucket], n: int, infer: Infer
    ) -> dict[str, NDArray[np.float32]]:
        """Returns each output by its name, rows in the order of the prompts."""
        answers = self.run([self.filled(bucket.input_ids) for bucket in buckets], infer)
        if len(buckets) == 1:  # most batches, and every single prompt: nothing to sort
            (answer,) = answers
            return {name: values[:n] for name, values in zip(self.outputs, answer, strict=True)}
        figures = {name: np.empty(self.shape(name, n), np.float32) for name in self.outputs}
        for bucket, answer in zip(buckets, answers, strict=True):
            for name, values in zip(self.outputs, answer, strict=True):
                figures[name][bucket.rows] = values[: len(bucket.rows)]
        return figures

    def warm_up(self, infer: Infer) -> None:
        """Tokenises, and runs every bucket length once with one row and with several."""
        self.predict(["warm up"], infer)
        for length in self.encoder.bucket_lengths.tolist():
            for rows in WARM_UP_ROWS:
                list(self.run([self.filled(np.ones((rows, length), np.int64))], infer))

    def run(self, filled: Sequence[Ids], infer: Infer) -> Iterator[Figures]:
        """Yields the graph's answers to matrices of ids.

        Raises:
            PredictorError: an answer does not have the shape that belongs to its ids.
        """
        for ids, answer in zip(filled, infer(filled), strict=True):
            for name, values in zip(self.outputs, answer, strict=True):
                if values.shape != self.shape(name, len(ids)):
                    raise PredictorError(
                        f"the predictor answered {name} {values.shape}, expected"
                        f" {self.shape(name, len(ids))}",
                        kind=NONSENSE,
                    )
            yield answer

    def filled(self, input_ids: Ids) -> Ids:
        """Repeats rows of ids, [k, length], until their number is a multiple of ``rows_step``."""
        rows = len(input_ids)
        missing = -rows % self.rows_step
        return input_ids.take(np.arange(rows + missing) % rows, axis=0) if missing else input_ids

    def shape(self, output: str, rows: int) -> tuple[int, ...]:
        """Returns the shape of an output for so many rows."""
        return (rows,) if output == "ood" else (rows, len(self.models))
