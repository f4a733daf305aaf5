"""Prices per token of one model, by kind of token."""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

FALLBACKS = {
    "cached_input": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "audio_input": "input",
    "image_input": "input",
    "video_input": "input",
    "reasoning": "output",
    "audio_output": "output",
}
"""The kind of token whose price holds where a kind has none of its own. None of them is free."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices in USD per million tokens; None: the price of the kind in ``FALLBACKS``.

    Attributes:
        input: tokens of the request, as far as no other kind has a price of its own.
        output: tokens of the reply, as far as no other kind has a price of its own.
        cached_input: tokens that were read from the provider's cache.
        cache_write: tokens that were written into it for its shortest lifetime.
        cache_write_1h: tokens that were written into it for an hour.
        audio_input: tokens of sound in the request.
        image_input: tokens of images in the request.
        video_input: tokens of films in the request.
        reasoning: tokens of the reply that are not shown.
        audio_output: tokens of sound in the reply.
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None
    audio_input: float | None = None
    image_input: float | None = None
    video_input: float | None = None
    reasoning: float | None = None
    audio_output: float | None = None

    def of(self, kind: str) -> float:
        """Returns the price of a kind of token, its own or the one that it falls back to."""
        price: float | None = getattr(self, kind)
        return self.of(FALLBACKS[kind]) if price is None else price

    @property
    def own(self) -> tuple[str, ...]:
        """The kinds that have a price of their own."""
        return tuple(kind for kind in KINDS if getattr(self, kind) is not None)


KINDS = tuple(one.name for one in fields(Rates))
"""The kinds of token that have prices."""


def exact(number: float) -> Fraction:
    """Returns the number that was written: 0.1 is a tenth, not the binary fraction beside it."""
    return Fraction(Decimal(repr(number)))


def highest(rates: Rates, kinds: Iterable[str]) -> float:
    """Returns the highest price among some kinds, in USD per million tokens."""
    return max(rates.of(kind) for kind in kinds)
