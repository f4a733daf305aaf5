"""Settings of the fine-tuning of a transformer."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """Settings of the fine-tuning; the losses are weighted as in ``TrainConfig``.

    Attributes:
        epochs: Passes over the prompts.
        batch_size: Prompts per step.
        max_tokens: Length to which prompts are cut, in the fine-tuning only.
        learning_rate: Peak learning rate of the transformer.
        head_learning_rate: Peak learning rate of the heads.
        weight_decay: AdamW's weight decay.
        dropout: Dropout of the heads.
        clip_norm: Most gradient norm; larger gradients are scaled down.
        lora_rank: Rank of the changes to each linear layer; 0 = all weights except the token table
            are trained.
        exits: Layers with a head of their own, besides the head on the features.
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
