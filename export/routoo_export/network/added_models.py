"""Models that were added after training, each a function of the predictions for the trained models.

    logit = [logits of the trained models, topic shares] . column + bias
    log output_tokens = power * log(mean output tokens of the trained models) + log factor

Each added model is computed by a product of its own, whose shape does not depend on how many there
are. Adding one more model therefore does not change a bit of the others' outputs.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AddedWeights:
    """Weights of a added models, all float32.

    The inputs are d = trained models + topics; there are r directions of uncertainty.

    Attributes:
        columns: Weights [a, d, 1 + r] of the logit, then of directions whose length is the standard
            deviation of the logit that comes from the few prompts it was fitted on.
        bias: Biases of the same outputs, [a, 1 + r].
        spread: Factor of the members' deviation, [a], as in ``Weights``.
        anchor: The logit towards which unusual prompts shrink, [a].
        token_power: Power of the mean output tokens, [a].
        log_token_factor: Logarithm of their factor, [a].
    """

    columns: FloatArray
    bias: FloatArray
    spread: FloatArray
    anchor: FloatArray
    token_power: FloatArray
    log_token_factor: FloatArray

    @classmethod
    def none(cls, inputs: int, directions: int) -> "AddedWeights":
        """Weights of no model, with ``inputs`` d and ``directions`` r."""
        empty = np.zeros(0, dtype=np.float32)
        return cls(
            columns=np.zeros((0, inputs, 1 + directions), dtype=np.float32),
            bias=np.zeros((0, 1 + directions), dtype=np.float32),
            spread=empty,
            anchor=empty,
            token_power=empty,
            log_token_factor=empty,
        )

    @property
    def models(self) -> int:
        """Number of added models."""
        return len(self.columns)

    def with_one(self, one: "AddedWeights") -> "AddedWeights":
        """The weights of these models, followed by those of ``one``."""
        return AddedWeights(
            **{
                field.name: np.concatenate([getattr(self, field.name), getattr(one, field.name)])
                for field in fields(self)
            }
        )

    def arrays(self) -> dict[str, FloatArray]:
        """Every array by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
