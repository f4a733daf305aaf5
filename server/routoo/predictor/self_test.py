"""Prompts that a predictor is tried on before it serves, and what the artifact answers to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from routoo.errors import PredictorError
from routoo.predictor.base import NONSENSE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from routoo.predictor.padding import Figures, Ids, Infer, PaddedGraph

_SUBJECTS = (
    "What is the capital of Australia?",
    "Prove that the square root of 2 is irrational.",
    "A ball is thrown upwards at 12 m/s. How high does it rise? Take g = 9.81 m/s^2.",
    "What follows from a higher interest rate? (A) cheaper loans (B) less investing (C) neither",
    "Write a Python function that merges two sorted lists without using sorted().",
    "Summarise the holding of Marbury v. Madison in two sentences.",
    "A patient presents with fever, a stiff neck and photophobia. What is the most likely cause?",
    "Translate into French: the early bird catches the worm.",
    "List three causes of the fall of the Western Roman Empire.",
    "If 3x + 5 = 20, what is x?",
    "Name the functional groups of aspirin and say which of them hydrolyses first.",
    "hi",
)
PROMPTS = (*_SUBJECTS, " ".join(_SUBJECTS), " ".join(_SUBJECTS * 4))
"""Short and long, of many subjects: two predictors, or two orders of models, answer differently."""


@dataclass(frozen=True, slots=True)
class GoldenPrompts:
    """The prompts as matrices of ids, and the figures that belong to them.

    Attributes:
        filled: int64 [k, length] each, as ``PaddedGraph.filled`` makes them.
        expected: the graph's outputs for each.
        scores: float32 [p, m], of the prompts in their order.
    """

    filled: tuple[Ids, ...]
    expected: tuple[Figures, ...]
    scores: NDArray[np.float32]

    @classmethod
    def of(cls, graph: PaddedGraph, infer: Infer) -> GoldenPrompts:
        """Runs the prompts.

        Raises:
            PredictorError: it cannot, or a figure is no number.
        """
        ids = graph.encoder.encode(PROMPTS).ids
        filled = tuple(graph.filled(bucket.input_ids) for bucket in graph.encoder.buckets(ids))
        scores = graph.predict(PROMPTS, infer).scores
        sample = cls(filled, tuple(graph.run(filled, infer)), scores)
        sample.distance(sample.expected, graph.outputs)
        return sample

    def distance(self, answers: tuple[Figures, ...], outputs: tuple[str, ...]) -> float:
        """The largest difference of a score, or of a length relative to 1 + the length.

        Raises:
            PredictorError: a figure is no number.
        """
        largest = 0.0
        for expected, answer in zip(self.expected, answers, strict=True):
            for name, wanted, found in zip(outputs, expected, answer, strict=True):
                if not np.isfinite(found).all():
                    raise PredictorError(
                        f"the predictor answers NaN or an infinite number in {name}", kind=NONSENSE
                    )
                if name in {"scores", "output_tokens"}:
                    unit = 1.0 if name == "scores" else 1.0 + wanted
                    largest = max(largest, float((np.abs(found - wanted) / unit).max()))
        return largest
