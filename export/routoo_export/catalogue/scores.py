"""The mean scores of models on one test."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class MeanScores:
    """The mean scores of models on one test.

    Attributes:
        name: Name of the test, unique: ``source.kind``, or ``livebench_DATE.task``.
        weights: The part of each kind of task in it; the parts add up to 1.
        source: The source that it is of; sources are left out one by one in the evaluation.
        family: Tests of a family share a deviation of each model.
        ships: Whether its licence allows shipping what is estimated from it.
        models: Canonical names, [m], each once.
        mean: Mean score, in [0, 1], float64 [m].
        prompts: Prompts behind each mean, int64 [m].
        item_variance: Variance of a model's scores about the effects of prompt and model,
            float64 [m].
        graded: Whether the prompts are known one by one; otherwise the test is a published average.
    """

    name: str
    weights: dict[str, float]
    source: str
    family: str
    ships: bool
    models: tuple[str, ...]
    mean: NDArray[np.float64]
    prompts: NDArray[np.int64]
    item_variance: NDArray[np.float64]
    graded: bool


@dataclass(frozen=True, slots=True)
class MeanLengths:
    """The visible output lengths of models on one test.

    Attributes:
        name: Name of the test.
        task: The kind of task that it measures.
        models: Canonical names, [m], each once.
        log_tokens: Mean of the logarithms of the visible tokens, float64 [m].
    """

    name: str
    task: str
    models: tuple[str, ...]
    log_tokens: NDArray[np.float64]
