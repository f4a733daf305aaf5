"""The usage of one answer: what a provider counts and bills."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

PARTS: Final = (
    "cached_input_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "image_input_tokens",
    "video_input_tokens",
    "audio_output_tokens",
    "images",
)
"""Counts that are contained in the two totals of a usage; images stand beside them."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a provider counted for one answer.

    The parts are contained in the totals: ``input_tokens`` holds cached, written and other kinds of
    input tokens, ``output_tokens`` holds reasoning and audio.

    Attributes:
        input_tokens: all tokens of the request; None: not told.
        output_tokens: all tokens of the reply; None: not told.
        cached_input_tokens: input tokens that were read from the provider's cache.
        cache_write_tokens: input tokens that were written into its cache for its shortest lifetime
            (five minutes, or the only one it sells).
        cache_write_1h_tokens: input tokens that were written into it for an hour.
        reasoning_tokens: output tokens that are not shown.
        audio_input_tokens: input tokens of sound.
        image_input_tokens: input tokens of images.
        video_input_tokens: input tokens of films.
        audio_output_tokens: output tokens of sound.
        images: pieces of images in the request, where a provider bills by the piece.
        requests: requests that were made.
        service_tier: the tier that the provider says it served, such as ``batch``, ``flex`` or
            ``priority``; empty: the standard one.
        model: the model that the reply names; empty: none.
        told_cost_usd: the cost that the reply itself tells; None: it tells none.
        reply_id: the id of the reply, which a later request may name; empty: not told.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    image_input_tokens: int = 0
    video_input_tokens: int = 0
    audio_output_tokens: int = 0
    images: int = 0
    requests: int = 1
    service_tier: str = ""
    model: str = ""
    told_cost_usd: float | None = None
    reply_id: str = field(default="", compare=False)  # no part of what is billed

    @property
    def complete(self) -> bool:
        """True if both totals are known."""
        return self.input_tokens is not None and self.output_tokens is not None
