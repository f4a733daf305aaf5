"""Tokens of images, recordings and films in a request, as each model of a pool counts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class MediaAmounts:
    """Images, recordings and films in a request.

    The tokens are those of models that have no rate of their own; they are in the request's
    ``added_input_tokens``.

    Attributes:
        images: their number.
        image_tokens: their tokens.
        audio_s: seconds of recordings.
        audio_tokens: their tokens.
        video_s: seconds of films.
        video_tokens: their tokens.
    """

    images: int = 0
    image_tokens: float = 0.0
    audio_s: float = 0.0
    audio_tokens: float = 0.0
    video_s: float = 0.0
    video_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class MediaTokens:
    """The rates of m models.

    Attributes:
        rates: float64 [3, m], tokens of an image, of a second of a recording, and of a second of a
            film; NaN: the model has none of its own.
    """

    rates: NDArray[np.float64]

    @classmethod
    def of(cls, told: Sequence[tuple[float | None, ...]]) -> MediaTokens | None:
        """Returns the rates of models; None: no model has any.

        Args:
            told: [m], the three rates of each; None: it has none of its own.
        """
        rates = np.array(told, np.float64).T
        return None if np.isnan(rates).all() else cls(rates)

    def more(self, amounts: MediaAmounts) -> NDArray[np.float64]:
        """Returns by how many tokens each model counts more, or fewer, float64 [m], whole numbers.

        Args:
            amounts: of a request.
        """
        pieces = np.array([[amounts.images], [amounts.audio_s], [amounts.video_s]], np.float64)
        usual = np.array(
            [[amounts.image_tokens], [amounts.audio_tokens], [amounts.video_tokens]], np.float64
        )
        more = np.where(np.isnan(self.rates), 0.0, pieces * self.rates - usual)
        whole: NDArray[np.float64] = np.ceil(more.sum(axis=0))
        return whole
