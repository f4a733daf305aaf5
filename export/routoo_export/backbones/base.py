"""The interface that every backbone implements."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from torch import Tensor, nn

Kind = Literal["static", "encoder", "decoder"]


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """Facts about a backbone that the artifact's manifest and the training need.

    Attributes:
        kind: Kind of backbone.
        name: Name of the weights that it started from.
        licence: Licence of these weights, SPDX.
        max_tokens: Length to which a prompt is cut from its middle, special tokens included.
        pad_token_id: The token that pads prompts on the right; no prompt contains it.
        add_special_tokens: Whether the tokenizer adds its special tokens.
        groups: Widths of the runs of features that share one scale; their sum is the number of
            features.
    """

    kind: Kind
    name: str
    licence: str
    max_tokens: int
    pad_token_id: int
    add_special_tokens: bool
    groups: tuple[int, ...]

    @property
    def width(self) -> int:
        """Features per prompt."""
        return sum(self.groups)


class Backbone(Protocol):
    """A backbone that is ready for use, trained or pretrained."""

    @property
    def spec(self) -> BackboneSpec: ...

    @property
    def tokenizer_json(self) -> str:
        """The tokenizer in the format of ``tokenizers``, without truncation and padding."""

    def module(self) -> nn.Module:
        """The module from input_ids int64 [n, length], padded right, to features [n, width].

        A row's features, float32, do not depend on the batch or on its padding. The exported graph
        is compared with this module.
        """

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt as the server makes them, at most ``spec.max_tokens``."""

    def features(
        self, ids: Sequence[Sequence[int]], progress: Callable[[int], None] | None = None
    ) -> Tensor:
        """Features float32 [n, width]; ``progress`` is called with the rows just done."""

    def save(self, folder: Path) -> None:
        """Write the backbone into ``folder``, from which ``load_backbone`` reads it."""
