"""Expected lengths of answers: by the kind of task, and by the traits of the prompt.

The logarithm of the visible tokens is linear in the prompt's vector. It is fitted by ridge
regression on the lengths that the writers of the prompts expect; one factor makes the sum of the
expected lengths right, as the mean of a logarithm would make it too small (Duan, "Smearing
estimate", JASA 1983).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.recogniser.network import TRAITS

FloatArray = NDArray[np.float32]

TOKENS_PER_WRITTEN: Final = 1.25
"""Tokens of an answer for each that its writer expected: writers count words, and text in Latin
script has about so many tokens a word, in other scripts more."""
PENALTY: Final = 3.0
"""Of the ridge regression, in prompts; the tasks' own lengths are hardly penalised."""
LENGTH_TRAITS: Final = np.array([name.startswith("tokens>=") for name in TRAITS])


@dataclass(frozen=True, slots=True)
class LengthModel:
    """Weights of the logarithm of the visible tokens.

    Attributes:
        by_task: [t].
        by_trait: [r]; 0 for traits that say nothing of the length.
    """

    by_task: FloatArray
    by_trait: FloatArray

    def tokens(self, tasks: FloatArray, traits: FloatArray) -> FloatArray:
        """Expected visible tokens [n] of probabilities [n, t] and centred traits [n, r]."""
        found: FloatArray = np.exp(tasks @ self.by_task + traits @ self.by_trait)
        return found

    @classmethod
    def fit(cls, tasks: FloatArray, traits: FloatArray, tokens: NDArray[np.int64]) -> "LengthModel":
        """Fit to n prompts.

        Args:
            tasks: Probabilities of the tasks, [n, t].
            traits: Centred traits, [n, r].
            tokens: Expected tokens, at least 1, [n].
        """
        used = np.flatnonzero(LENGTH_TRAITS)
        inputs = np.concatenate([tasks, traits[:, used]], axis=1).astype(np.float64)
        wanted = np.log(tokens)
        penalty = np.full(inputs.shape[1], PENALTY)
        penalty[: tasks.shape[1]] = 1e-3
        centre = wanted.mean()
        gram = inputs.T @ inputs + np.diag(penalty)
        found = np.linalg.solve(gram, inputs.T @ (wanted - centre))
        by_task = found[: tasks.shape[1]] + centre
        by_trait = np.zeros(traits.shape[1])
        by_trait[used] = found[tasks.shape[1] :]
        total = TOKENS_PER_WRITTEN * tokens.sum()
        factor = np.log(total / np.exp(tasks @ by_task + traits @ by_trait).sum())
        return cls((by_task + factor).astype(np.float32), by_trait.astype(np.float32))
