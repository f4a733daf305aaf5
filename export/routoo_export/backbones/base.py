"""The one interface that every backbone fits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from torch import Tensor, nn

Kind = Literal["static", "encoder", "decoder"]


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """What the artifact's manifest must know of a backbone.

    name and licence (SPDX) are those of the weights it started from. A prompt is cut to
    ``max_tokens`` from its middle, special tokens included, and padded right with ``pad_token_id``,
    which no prompt contains. groups: widths of the runs of features that share one scale; their sum
    is the number of features.
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
    """Ready to be used: trained, or frozen as it came."""

    @property
    def spec(self) -> BackboneSpec: ...

    @property
    def tokenizer_json(self) -> str:
        """The tokenizer in the format of ``tokenizers``, without truncation and padding."""

    def module(self) -> nn.Module:
        """input_ids int64 [n, length], padded right -> features float32 [n, width].

        A row's features do not depend on the batch, nor on how far it is padded. What the exported
        graph is held against.
        """

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt as the server makes them, at most ``spec.max_tokens``."""

    def features(
        self, ids: Sequence[Sequence[int]], progress: Callable[[int], None] | None = None
    ) -> Tensor:
        """Features float32 [n, width], in batches of like length; ``progress`` gets rows done."""

    def save(self, folder: Path) -> None:
        """Write what ``backbones.load`` reads back."""
