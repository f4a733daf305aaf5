"""The tokenizers of a pool's models as columns of counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from routoo.predictor.tokenizers.families import EVERY_FAMILY, count_by_family

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TokenColumns:
    """The families of the tokenizers of m models; only those that a model has are counted.

    Attributes:
        families: the F families of the models, by their positions, rising.
        known: bool [m], whether the family of each model is known.
        all_known: whether that of every model is.
    """

    families: tuple[int, ...]
    known: NDArray[np.bool_]
    all_known: bool
    _own: NDArray[np.intp]
    _every: NDArray[np.intp]

    @classmethod
    def of(cls, families: Sequence[int | None]) -> Self:
        """Lays out the families of m models, by their positions; None: not known."""
        present = tuple(sorted({one for one in families if one is not None}))
        known = np.array([one is not None for one in families], np.bool_)
        own = np.array([present.index(one) if one is not None else 0 for one in families], np.intp)
        every = np.array([one or 0 for one in families], np.intp)
        return cls(present, known, bool(known.all()), own, every)

    def counts(
        self, texts: Sequence[str], otherwise: NDArray[np.float64], *, most: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Returns the tokens of n texts for m models, and the most for any family.

        Args:
            texts: the n texts.
            otherwise: float64 [n], the counts for models whose family is not known.
            most: whether the most is wanted; it takes more time.

        Returns:
            float64 [n, m], and float64 [n] or None.
        """
        shape = len(texts), len(self.known)
        if not self.families:
            tokens = np.broadcast_to(otherwise[:, None], shape).copy()
            return tokens, count_by_family(texts).max(axis=1) if most else None
        found = count_by_family(texts, EVERY_FAMILY if most else self.families)
        tokens = found.take(self._every if most else self._own, axis=1)
        if not self.all_known:
            tokens = np.where(self.known, tokens, otherwise[:, None])
        return tokens, found.max(axis=1) if most else None
