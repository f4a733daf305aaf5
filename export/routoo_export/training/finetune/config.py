"""How a transformer is tuned."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """How the weights of a transformer are tuned; the losses are weighted as in ``TrainConfig``.

    max_tokens: prompts are cut to it in training only. learning_rate: of the transformer.
    lora_rank: rank of the changes to each linear layer; 0 = all weights but the token table.
    exits: layers with a head of their own besides the one on the features.
    """

    epochs: int = 2
    batch_size: int = 32
    max_tokens: int = 128
    learning_rate: float = 7.0e-5
    head_learning_rate: float = 1.0e-3
    weight_decay: float = 1.0e-2
    dropout: float = 0.3
    clip_norm: float = 1.0
    lora_rank: int = 0
    exits: tuple[int, ...] = ()
