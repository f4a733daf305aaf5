"""Models that joined after training: each a function of what the network says of the others.

    logit = [logits of the trained models, topic shares] . column + bias
    log output_tokens = power * log(mean output tokens of the trained models) + log factor

Each model has a multiplication of its own, of the same shape whatever their number: one more model
leaves the last bit of all others as it was.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AddedWeights:
    """All float32. a added models, d = trained models + topics, r directions of uncertainty.

    columns [a, d, 1 + r] and bias [a, 1 + r]: first the logit, then directions whose length is the
    standard deviation of the logit that comes of the few prompts it rests on; spread [a] as in
    ``Weights``; anchor [a]: the logit towards which unusual prompts shrink; token_power and
    log_token_factor [a].
    """

    columns: FloatArray
    bias: FloatArray
    spread: FloatArray
    anchor: FloatArray
    token_power: FloatArray
    log_token_factor: FloatArray

    @classmethod
    def none(cls, inputs: int, directions: int) -> "AddedWeights":
        """No model, of ``inputs`` d and ``directions`` r."""
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
        """How many."""
        return len(self.columns)

    def with_one(self, one: "AddedWeights") -> "AddedWeights":
        """These models, then those of ``one``."""
        return AddedWeights(
            **{
                field.name: np.concatenate([getattr(self, field.name), getattr(one, field.name)])
                for field in fields(self)
            }
        )

    def arrays(self) -> dict[str, FloatArray]:
        return {field.name: getattr(self, field.name) for field in fields(self)}
