"""Golden prompts: a predictor has to reproduce an artifact's answers to them before it serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from routoo.errors import PredictorError
from routoo.predictor.base import NONSENSE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from routoo.predictor.base import Feed
    from routoo.predictor.encoding import Figures, Infer, PaddedGraph

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
"""Prompts of many subjects and lengths, so that two predictors, or one predictor with its models in
another order, give different answers."""


@dataclass(frozen=True, slots=True)
class GoldenPrompts:
    """The prompts as inputs of a graph, and an artifact's answers to them.

    Attributes:
        filled: inputs, as ``PaddedGraph.filled`` makes them.
        expected: the graph's outputs for each matrix.
        scores: float32 [p, m], predicted scores of the prompts in their order.
    """

    filled: tuple[Feed, ...]
    expected: tuple[Figures, ...]
    scores: NDArray[np.float32]

    @classmethod
    def of(cls, graph: PaddedGraph, infer: Infer) -> GoldenPrompts:
        """Runs the prompts, and keeps the answers as the expected ones.

        Raises:
            PredictorError: inference fails, or a figure is not finite.
        """
        asked = graph.questions(PROMPTS)
        answers = tuple(infer(asked.inputs))
        scores = graph.prediction(asked, answers, "", "").scores
        return cls(tuple(asked.inputs), answers, scores)

    def distance(self, answers: tuple[Figures, ...], outputs: tuple[str, ...]) -> float:
        """Returns the largest difference of a score, or of a length l relative to 1 + l.

        Args:
            answers: outputs for each matrix of ``filled``.
            outputs: names of the outputs, in their order.

        Raises:
            PredictorError: a figure is not finite.
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
