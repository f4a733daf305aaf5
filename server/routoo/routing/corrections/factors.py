"""Factors in force for predicted lengths and latencies, as arrays in the order of a pool."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from routoo.selector.arrays import FloatArray

_NUMERIC = orjson.OPT_SERIALIZE_NUMPY
# Factors are rounded to this: what is in the log is then short, and all that is used.
_DIGITS = 4


@dataclass(frozen=True, eq=False)
class Factors:
    """The factors of m models on k kinds of prompts; never changed.

    Attributes:
        models: [m], names in the pool.
        kinds: [k], the kinds of task that the predictor tells apart.
        lengths: float64 [k + 1, m], by which predicted output tokens are multiplied; the last row
            is for prompts whose kind is not known.
        latencies: float64 [k + 1, m], by which times that follow from the tokens are multiplied.
    """

    models: tuple[str, ...]
    kinds: tuple[str, ...]
    lengths: FloatArray = field(repr=False)
    latencies: FloatArray = field(repr=False)

    def __post_init__(self) -> None:
        shape = (len(self.kinds) + 1, len(self.models))
        for name in ("lengths", "latencies"):
            rounded = np.round(np.asarray(getattr(self, name), np.float64), _DIGITS)
            if rounded.shape != shape or not (np.isfinite(rounded) & (rounded > 0)).all():
                raise ValueError(f"{name} have to be numbers above 0, in {shape[0]} x {shape[1]}")
            rounded.setflags(write=False)
            object.__setattr__(self, name, rounded)

    @classmethod
    def neutral(cls, models: Sequence[str], kinds: Sequence[str]) -> Self:
        """Returns factors of 1, which change nothing."""
        ones = np.ones((len(kinds) + 1, len(models)))
        return cls(tuple(models), tuple(kinds), ones, ones)

    @cached_property
    def changes_nothing(self) -> bool:
        """Whether every factor is 1."""
        return bool((self.lengths == 1.0).all() and (self.latencies == 1.0).all())

    @cached_property
    def id(self) -> str:
        """Identifies the content, by 12 hexadecimal digits."""
        return hashlib.sha256(orjson.dumps(self._content, option=_NUMERIC)).hexdigest()[:12]

    def line(self) -> bytes:
        """Returns the line of the decision log that holds the factors, with its end."""
        values = {"kind": "correction", "correction": self.id, **self._content}
        return orjson.dumps(values, option=_NUMERIC | orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Reads the factors from a line of a log.

        Raises:
            KeyError, TypeError, ValueError: the line holds no factors.
        """
        return cls(
            tuple(map(str, values["models"])),
            tuple(map(str, values["kinds"])),
            np.array(values["lengths"], np.float64),
            np.array(values["latencies"], np.float64),
        )

    def rows(self, tasks: NDArray[np.int64] | None, n: int) -> tuple[FloatArray, FloatArray]:
        """Returns the factors of n prompts, for lengths and for latencies, each float64 [n, m].

        Args:
            tasks: int64 [n], positions in ``kinds``; None: the kinds are not known.
            n: the number of prompts.
        """
        at = np.full(n, len(self.kinds), np.int64) if tasks is None else tasks
        return self.lengths[at], self.latencies[at]

    def row_of(self, kind: str | None) -> int:
        """Returns the row of a kind; the last one where it is not among ``kinds``."""
        return self.kinds.index(kind) if kind in self.kinds else len(self.kinds)

    def apart(self, other: Factors) -> float:
        """Returns the largest ratio of a factor to the other's, at least 1.

        Args:
            other: of the same models and kinds.
        """
        return float(
            max(
                np.exp(np.abs(np.log(one / two)).max(initial=0.0))
                for one, two in (
                    (self.lengths, other.lengths),
                    (self.latencies, other.latencies),
                )
            )
        )

    @property
    def _content(self) -> dict[str, Any]:
        return {
            "models": self.models,
            "kinds": self.kinds,
            "lengths": self.lengths,
            "latencies": self.latencies,
        }


def corrected_tokens(plain_tokens: FloatArray, factors: FloatArray) -> FloatArray:
    """Returns whole numbers of tokens, float64 [n, m]; a predicted token never becomes none.

    Args:
        plain_tokens: float64 [n, m], whole numbers, as predicted.
        factors: float64 [n, m].
    """
    tokens: FloatArray = np.rint(plain_tokens * factors)
    return np.maximum(tokens, np.minimum(plain_tokens, 1.0), out=tokens)
