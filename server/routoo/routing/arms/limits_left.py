"""Coupling rows of a batch that keep the limits of providers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from routoo.routing.arms.limit_rows import cell_amounts
from routoo.selector.lp.problem import Resource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class LimitLeft:
    """A limit, and what is left of it when a batch is decided.

    Attributes:
        name: its name among the binding constraints of a reply.
        kind: one of ``KINDS``.
        columns: the columns that count in it.
        left: what may still be used; below 0 where reports told of more than was predicted.
    """

    name: str
    kind: str
    columns: tuple[int, ...]
    left: float


def limit_resources(
    limits: Sequence[LimitLeft],
    input_tokens: NDArray[np.float64],
    output_tokens: NDArray[np.float64],
    mask: NDArray[np.bool_],
) -> list[Resource]:
    """Returns the rows of those limits that a batch might exceed.

    Args:
        limits: what is left of each limit.
        input_tokens: float64 [n, m].
        output_tokens: float64 [n, m].
        mask: bool [n, m], eligible cells.
    """
    found = []
    for one in limits:
        counts = np.zeros(mask.shape[1], np.bool_)
        counts[list(one.columns)] = True
        usage = np.where(counts, cell_amounts(one.kind, input_tokens, output_tokens), 0.0)
        most = np.where(mask, usage, 0.0).max(axis=1).sum()
        if most > one.left:
            found.append(Resource(one.name, usage, one.left))
    return found
