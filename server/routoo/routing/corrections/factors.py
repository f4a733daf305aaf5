"""Factors in force for predicted lengths and latencies, as arrays in the order of a pool.

The time to the last of n tokens is (firsts x time to the first token + n x time per token) x
latencies, with the times that the pool declares.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import orjson

from routoo.request_fields import PERCENTILES
from routoo.routing.corrections.spread import PRIOR_PERCENTILES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from routoo.selector.arrays import FloatArray

_NUMERIC = orjson.OPT_SERIALIZE_NUMPY
# Factors are rounded to this: what is in the log is then short, and all that is used.
_DIGITS = 4
LOWEST_TIME, HIGHEST_TIME = 0.01, 10_000.0
"""The bounds of the factors of declared times."""
# Factors that have moved by no more, as logarithms, stay as they are, so that the log stays short.
_WORTH_A_CHANGE = {"lengths": 0.005, "latencies": 0.01, "firsts": 0.02, "percentiles": 0.02}


@dataclass(frozen=True, eq=False)
class Factors:
    """The factors of m models on k kinds of prompts; never changed.

    Attributes:
        models: [m], names in the pool.
        kinds: [k], the kinds of task that the predictor tells apart.
        lengths: float64 [k + 1, m], by which predicted output tokens are multiplied; the last row
            is for prompts whose kind is not known.
        latencies: float64 [k + 1, m], by which times that follow from the tokens are multiplied;
            what is learned is the same for all kinds.
        firsts: float64 [m], by which the time to the first token is multiplied besides.
        percentiles: float64 [p, m], by which the time to the last token is multiplied to be kept by
            ``PERCENTILES`` of the answers.
    """

    models: tuple[str, ...]
    kinds: tuple[str, ...]
    lengths: FloatArray = field(repr=False)
    latencies: FloatArray = field(repr=False)
    firsts: FloatArray = field(repr=False)
    percentiles: FloatArray = field(repr=False)

    def __post_init__(self) -> None:
        m, rows = len(self.models), len(self.kinds) + 1
        shapes = {"lengths": (rows, m), "latencies": (rows, m), "firsts": (m,)}
        for name, shape in {**shapes, "percentiles": (len(PERCENTILES), m)}.items():
            rounded = np.round(np.asarray(getattr(self, name), np.float64), _DIGITS)
            if rounded.shape != shape or not (np.isfinite(rounded) & (rounded > 0)).all():
                told = " x ".join(map(str, shape))
                raise ValueError(f"{name} have to be numbers above 0, in {told}")
            rounded.setflags(write=False)
            object.__setattr__(self, name, rounded)

    @classmethod
    def neutral(cls, models: Sequence[str], kinds: Sequence[str]) -> Self:
        """Returns factors of 1, which change nothing, and the percentiles that are assumed."""
        ones = np.ones((len(kinds) + 1, len(models)))
        return cls(tuple(models), tuple(kinds), ones, ones, ones[0], _assumed(len(models)))

    @cached_property
    def changes_nothing(self) -> bool:
        """Whether every factor is 1, and every percentile is the assumed one."""
        ones = (self.lengths, self.latencies, self.firsts)
        assumed = np.round(_assumed(len(self.models)), _DIGITS)
        return bool(all((one == 1.0).all() for one in ones) and (self.percentiles == assumed).all())

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
        """Reads the factors from a line of a log; a log of before has no percentiles.

        Raises:
            KeyError, TypeError, ValueError: the line holds no factors.
        """
        models, m = tuple(map(str, values["models"])), len(values["models"])
        return cls(
            models,
            tuple(map(str, values["kinds"])),
            np.array(values["lengths"], np.float64),
            np.array(values["latencies"], np.float64),
            np.array(values.get("firsts", [1.0] * m), np.float64),
            np.array(values.get("percentiles", _assumed(m)), np.float64),
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

    def is_near(self, other: Factors) -> bool:
        """Returns whether no factor has moved by so much that it is worth a line in the log.

        Args:
            other: of the same models and kinds.
        """
        return all(
            float(np.abs(np.log(getattr(self, name) / getattr(other, name))).max(initial=0.0)) <= by
            for name, by in _WORTH_A_CHANGE.items()
        )

    @property
    def _content(self) -> dict[str, Any]:
        return {
            "models": self.models,
            "kinds": self.kinds,
            "lengths": self.lengths,
            "latencies": self.latencies,
            "firsts": self.firsts,
            "percentiles": self.percentiles,
        }


def corrected_tokens(plain_tokens: FloatArray, factors: FloatArray) -> FloatArray:
    """Returns whole numbers of tokens, float64 [n, m]; a predicted token never becomes none.

    Args:
        plain_tokens: float64 [n, m], whole numbers, as predicted.
        factors: float64 [n, m].
    """
    tokens: FloatArray = np.rint(plain_tokens * factors)
    return np.maximum(tokens, np.minimum(plain_tokens, 1.0), out=tokens)


def _assumed(m: int) -> FloatArray:
    """Returns the percentiles of m models that nothing is known of, float64 [p, m]."""
    return np.repeat(np.array(PRIOR_PERCENTILES)[:, None], m, axis=1)
