"""Hidden units, tasks and traits of prompts, read off the graph of an artifact alone.

The graph hides them, but its inputs are free. Rows of models that are unit vectors make the
logarithms of the output tokens the prompt's traits. Rows of tasks that are 0 and multiples of unit
vectors make the logarithms of the ratios of the tasks' probabilities the hidden units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnxruntime as ort

from routoo.errors import ConfigError
from routoo.predictor.model_table import QUESTIONS
from routoo.predictor.ngram_encoder import NgramEncoder
from routoo.predictor.ngrams import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from routoo.predictor.artifact import Artifact
    from routoo.predictor.base import Bucket
    from routoo.predictor.model_table import ModelTable
    from routoo.predictor.ngram_layout import NgramPrompts

    FloatArray = NDArray[np.float64]

_HIDDEN_SCALE: Final = 1.0 / 16.0
"""Keeps the ratio of probabilities within the range of float32 for hidden units up to 1,000."""
_PROMPTS_AT_ONCE: Final = 256
LIFT: Final = 60.0
"""Added to the logits of all tasks alike, so that the graph takes no prompt for one of no task."""
_LIKE_AND_UNLIKE: Final = ("a", "Write a function.", "What is 2 + 2?", "bonjour", "1999", "...")
_STEADY, _NEAR_ONE = 1e-3, 1e-2


@dataclass(frozen=True, slots=True)
class SeenPrompts:
    """What the graph tells of n prompts, float64.

    Attributes:
        tasks: probabilities of the t tasks, [n, t].
        traits: centred traits, shrunk where the prompt is unusual, [n, r].
    """

    tasks: FloatArray
    traits: FloatArray


class GraphReader:
    """Reads prompts by the graph of an artifact. Not thread-safe.

    Args:
        artifact: an artifact whose graph is given its models' rows.

    Attributes:
        table: the artifact's table of models.

    Raises:
        ConfigError: it is of format 1, whose graph holds its models, or its number of tasks is
            fixed.
    """

    def __init__(self, artifact: Artifact) -> None:
        if artifact.table is None:
            raise ConfigError(
                f"{artifact.folder}: format {artifact.manifest.format_version} has no table of"
                " models; name a version folder of format 2"
            )
        self.table: ModelTable = artifact.table
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(str(artifact.model_path), options)
        shapes = {one.name: one.shape for one in self._session.get_inputs()}
        if isinstance(shapes["task_rows"][0], int):
            raise ConfigError(
                f"{artifact.folder}: the graph has a fixed number of tasks, so that no features can"
                " be read off it; name another version folder"
            )
        self._encoder = NgramEncoder(Vocabulary.load(artifact.tokenizer_path))
        self._step = artifact.manifest.rows_step
        seen = self.hidden_units(self.encode(_LIKE_AND_UNLIKE))
        steady = (seen.std(axis=0) < _STEADY) & (np.abs(seen.mean(axis=0) - 1.0) < _NEAR_ONE)
        # The unit that carries the biases; a graph without one is read without a lift.
        self._biases = np.flatnonzero(steady)[-1:]

    def encode(self, prompts: Sequence[str]) -> NgramPrompts:
        """Reads the texts of n prompts, once for all questions that follow."""
        return self._encoder.encode(prompts)

    def hidden_units(self, read: NgramPrompts) -> FloatArray:
        """Returns the hidden units, [n, u]."""
        rows = self._unit_rows()
        models = np.zeros((QUESTIONS, len(rows) + 2 * len(self.table.traits)), np.float32)
        found = np.empty((len(read.input_tokens), rows.shape[1]))
        for at, answers in self._answers(read, rows, models, ["tasks"]):
            found[at] = _hidden(answers[0])
        return found

    def vectors(self, read: NgramPrompts, task_rows: FloatArray) -> SeenPrompts:
        """Returns the tasks and traits of n prompts with the rows ``task_rows`` [t, u]."""
        t, r = len(task_rows), len(self.table.traits)
        n = len(read.input_tokens)
        tasks, traits = np.empty((n, t)), np.empty((n, r))
        questions = self._answers(
            read, task_rows.astype(np.float32), self._trait_rows(t), ["tasks", "output_tokens"]
        )
        for at, (said, logs) in questions:
            tasks[at] = said
            traits[at] = np.log(logs.astype(np.float64))
        return SeenPrompts(tasks, traits)

    def features(self, read: NgramPrompts) -> tuple[FloatArray, FloatArray]:
        """Returns the hidden units, [n, u], and the traits, [n, r], by one run of the graph.

        The traits are those of tasks whose logits are lifted, as training reads them.
        """
        rows, r = self._unit_rows(), len(self.table.traits)
        rows[:, self._biases] += LIFT
        n = len(read.input_tokens)
        hidden, traits = np.empty((n, rows.shape[1])), np.empty((n, r))
        models = self._trait_rows(len(rows))
        for at, (said, logs) in self._answers(read, rows, models, ["tasks", "output_tokens"]):
            hidden[at] = _hidden(said)
            traits[at] = np.log(logs.astype(np.float64))
        return hidden, traits

    def _unit_rows(self) -> NDArray[np.float32]:
        units = self.table.task_rows.shape[1]
        rows = np.zeros((units + 1, units), np.float32)
        rows[1:] = _HIDDEN_SCALE * np.eye(units)
        return rows

    def _trait_rows(self, tasks: int) -> NDArray[np.float32]:
        r = len(self.table.traits)
        models = np.zeros((QUESTIONS, r, tasks + 2 * r), np.float32)
        models[1, :, tasks : tasks + r] = np.eye(r)
        return models.reshape(QUESTIONS * r, -1)

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


def _hidden(said: NDArray[np.float32]) -> FloatArray:
    logs = np.log(said.astype(np.float64))
    found: FloatArray = (logs[:, 1:] - logs[:, :1]) / _HIDDEN_SCALE
    return found
