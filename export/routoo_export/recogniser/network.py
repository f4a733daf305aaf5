"""The recogniser: from pooled rows of n-grams to hidden units, task logits and traits.

With x [7 * w] and z [7, l] a prompt's pooled rows, region after region:

    hidden = [relu(x W + b), s z]          a network's units, and a linear classifier's logits
    tasks  = softmax(hidden T')            T: one row a task, which is an input of the graph
    traits = sigmoid(hidden V)             languages, difficulty, length, and free features

One of the network's units is always 1 and stands for the biases of what follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from routoo.predictor.ngram_encoder import NgramEncoder
from routoo.predictor.ngrams import REGIONS, Vocabulary
from routoo_export.errors import ExportError

FloatArray = NDArray[np.float32]

# fmt: off
LANGUAGES: Final = (
    "en", "zh", "ja", "ko", "vi", "th", "id", "hi", "bn", "ta", "ur", "tl", "ms", "es", "pt",
    "fr", "de", "it", "nl", "sv", "da", "no", "fi", "ro", "ru", "uk", "pl", "cs", "tr", "ar",
    "he", "fa", "el", "hu", "bg", "sr", "sw",
)
# fmt: on
DIFFICULTIES: Final = (2, 3, 4, 5)
"""A trait tells whether a prompt is at least as hard as each."""
LENGTHS: Final = (16, 32, 64, 128, 256, 512, 1024)
"""A trait tells whether an answer has at least so many tokens."""
FEATURES: Final = 24
TRAITS: Final = (
    *(f"language:{code}" for code in LANGUAGES),
    *(f"difficulty>={level}" for level in DIFFICULTIES),
    *(f"tokens>={tokens}" for tokens in LENGTHS),
    *(f"feature:{at}" for at in range(FEATURES)),
)
BATCH: Final = 128


@dataclass(frozen=True, slots=True)
class Recogniser:
    """Weights of the recogniser, float32.

    Attributes:
        table: Rows of n-grams: w columns for the network, then l for the classifier,
            [rows, w + l].
        hidden: [7 * w, v].
        hidden_bias: [v]; the last unit is always 1.
        scales: How much each region counts in the classifier, [7].
        tasks: [t, v + l].
        traits: [v + l, r].
    """

    table: FloatArray
    hidden: FloatArray
    hidden_bias: FloatArray
    scales: FloatArray
    tasks: FloatArray
    traits: FloatArray

    @property
    def width(self) -> int:
        """Columns of the table that the network reads."""
        return len(self.hidden) // len(REGIONS)

    def pooled(self, vocabulary: Vocabulary, texts: Sequence[str]) -> FloatArray:
        """The pooled rows of n prompts, [n, 7, w + l]."""
        encoder = NgramEncoder(vocabulary)
        pooled = np.empty((len(texts), len(REGIONS), self.table.shape[1]), np.float32)
        for start in range(0, len(texts), BATCH):
            for bucket in encoder.buckets(encoder.encode(texts[start : start + BATCH])):
                rows = self.table[bucket.feed["input_ids"]]
                pooled[bucket.rows + start] = bucket.feed["weights"] @ rows
        return pooled

    def hidden_units(self, pooled: FloatArray) -> FloatArray:
        """The hidden units, [n, v + l], of pooled rows [n, 7, w + l]."""
        read = pooled[:, :, : self.width].reshape(len(pooled), -1)
        network = np.maximum(read @ self.hidden + self.hidden_bias, 0.0)
        linear = self.scales @ pooled[:, :, self.width :]
        hidden: FloatArray = np.concatenate([network, linear], axis=1)
        return hidden

    def recognise(self, hidden: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Probabilities of the tasks [n, t] and traits [n, r] of hidden units [n, u]."""
        logits = hidden @ self.tasks.T
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        # The sigmoid by another function, which has no number that is too large for it.
        traits = 0.5 + 0.5 * np.tanh(0.5 * (hidden @ self.traits))
        return shares / shares.sum(axis=1, keepdims=True), traits

    def save(self, path: Path) -> None:
        """Write the weights as an npz file."""
        with path.open("wb") as file:
            np.savez(file, **{one.name: getattr(self, one.name) for one in fields(self)})

    @classmethod
    def load(cls, path: Path) -> "Recogniser":
        """Read weights.

        Raises:
            ExportError: the file holds none.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return cls(**{one.name: arrays[one.name] for one in fields(cls)})
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise ExportError(f"{path}: not a recogniser: {error}; train one first") from error
