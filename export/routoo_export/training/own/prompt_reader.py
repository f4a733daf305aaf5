"""Hidden units, tasks and traits of prompts, read off the graph of an artifact alone.

The graph hides them, but its inputs are free. Rows of models that are unit vectors make the
logarithms of the output tokens the prompt's traits. Rows of tasks that are 0 and multiples of unit
vectors make the logarithms of the ratios of the tasks' probabilities the hidden units.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from routoo.predictor.artifact import Artifact
from routoo.predictor.base import Bucket
from routoo.predictor.model_table import QUESTIONS, ModelTable
from routoo.predictor.ngram_encoder import NgramEncoder
from routoo.predictor.ngram_layout import NgramPrompts
from routoo.predictor.ngrams import Vocabulary
from routoo_export.errors import ExportError

FloatArray = NDArray[np.float64]

_HIDDEN_SCALE: Final = 1.0 / 16.0
"""Keeps the ratio of probabilities within the range of float32 for hidden units up to 1,000."""
_PROMPTS_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class SeenPrompts:
    """What the graph tells of n prompts, float64.

    Attributes:
        tasks: Probabilities of the t tasks, [n, t].
        traits: Centred traits, shrunk where the prompt is unusual, [n, r].
    """

    tasks: FloatArray
    traits: FloatArray


class PromptReader:
    """Reads prompts by the graph of an artifact.

    Args:
        artifact: An artifact whose graph is given its models' rows.

    Raises:
        ExportError: it is of format 1, whose graph holds its models.
    """

    def __init__(self, artifact: Artifact) -> None:
        if artifact.table is None:
            raise ExportError(
                f"{artifact.folder}: format {artifact.manifest.format_version} has no table of"
                " models; give --artifact a version folder of format 2"
            )
        self.table: ModelTable = artifact.table
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(str(artifact.model_path), options)
        self._encoder = NgramEncoder(Vocabulary.load(artifact.tokenizer_path))
        self._step = artifact.manifest.rows_step

    def encode(self, prompts: Sequence[str]) -> NgramPrompts:
        """Read the texts of n prompts, once for all questions that follow."""
        return self._encoder.encode(prompts)

    def hidden_units(self, read: NgramPrompts) -> FloatArray:
        """The hidden units, [n, u]."""
        units = self.table.task_rows.shape[1]
        rows = np.zeros((units + 1, units), np.float32)
        rows[1:] = _HIDDEN_SCALE * np.eye(units)
        models = np.zeros((QUESTIONS, units + 1 + 2 * len(self.table.traits)), np.float32)
        found = np.empty((len(read.input_tokens), units))
        for at, answers in self._answers(read, rows, models, ["tasks"]):
            logs = np.log(answers[0].astype(np.float64))
            found[at] = (logs[:, 1:] - logs[:, :1]) / _HIDDEN_SCALE
        return found

    def vectors(self, read: NgramPrompts, task_rows: FloatArray) -> SeenPrompts:
        """The tasks and traits of n prompts with the rows ``task_rows`` [t, u]."""
        t, r = len(task_rows), len(self.table.traits)
        models = np.zeros((QUESTIONS, r, t + 2 * r), np.float32)
        models[1, :, t : t + r] = np.eye(r)
        n = len(read.input_tokens)
        tasks, traits = np.empty((n, t)), np.empty((n, r))
        questions = self._answers(
            read,
            task_rows.astype(np.float32),
            models.reshape(QUESTIONS * r, -1),
            ["tasks", "output_tokens"],
        )
        for at, (said, logs) in questions:
            tasks[at] = said
            traits[at] = np.log(logs.astype(np.float64))
        return SeenPrompts(tasks, traits)

    def _answers(
        self,
        read: NgramPrompts,
        task_rows: NDArray[np.float32],
        models: NDArray[np.float32],
        outputs: list[str],
    ) -> Iterator[tuple[NDArray[np.intp], list[NDArray[np.float32]]]]:
        for bucket in self._encoder.buckets(read):
            for start in range(0, len(bucket.rows), _PROMPTS_AT_ONCE):
                at, feed, k = self._part(bucket, start)
                feed["told"] = np.zeros((len(feed["input_ids"]), len(task_rows)), np.float32)
                feed |= {"task_rows": np.ascontiguousarray(task_rows), "models": models}
                yield at, [values[:k] for values in self._session.run(outputs, feed)]

    def _part(self, bucket: Bucket, start: int) -> tuple[NDArray[np.intp], dict[str, Any], int]:
        at = bucket.rows[start : start + _PROMPTS_AT_ONCE]
        k = len(at)
        # As in serving, the last rows repeat the first, so that no figure depends on the batch.
        padded = start + np.arange(k + -k % self._step) % k if k % self._step else None
        whole = slice(start, start + k) if padded is None else padded
        return at, {name: values[whole] for name, values in bucket.feed.items()}, k
