"""Which models of the pool may answer which request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from routoo.errors import InvalidRequestError
from routoo.selector.eligibility import Eligibility

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from routoo.routing.estimates import Estimates
    from routoo.routing.pool import Pool
    from routoo.routing.request import PromptRequest


@dataclass(frozen=True, slots=True)
class Narrowing:
    """A constraint that removed something, and what it left: bool [n, m]."""

    constraint: str
    mask: NDArray[np.bool_]


def check_names(request: PromptRequest, pool: Pool) -> None:
    """Refuses models and capabilities that the pool does not have.

    Raises:
        InvalidRequestError: names the field and the unknown name.
    """
    for field, names in (
        ("allowed_models", request.allowed_models),
        ("denied_models", request.denied_models),
    ):
        for name in names:
            if name not in pool.index:
                raise InvalidRequestError(
                    f"unknown model {name!r}; the pool has {', '.join(pool.names)}", field=field
                )
    known = pool.capabilities
    for name in request.required_capabilities:
        if name not in known:
            raise InvalidRequestError(
                f"unknown capability {name!r}; the pool has {', '.join(sorted(known))}",
                field="required_capabilities",
            )


def narrow(
    requests: Sequence[PromptRequest], estimates: Estimates, pool: Pool
) -> tuple[Eligibility, tuple[Narrowing, ...]]:
    """Applies the constraints of n requests, one kind after the other.

    Returns:
        The eligibility, and the constraints that removed a model from any of the requests.
    """
    narrower = _Narrower(requests, estimates.scores.shape)
    constrained = any(request.constrained for request in requests)
    if constrained:
        for constraint, kept_names in _NAME_CONSTRAINTS:
            narrower.keep_named(constraint, [kept_names(one, pool) for one in requests])
    needed = estimates.input_tokens[:, None] + estimates.output_tokens
    if needed.max() > pool.context_window_tokens.min():
        narrower.keep("context_window_tokens", needed <= pool.context_window_tokens)
    if constrained:
        narrower.at_most("max_latency_ms", estimates.latencies_ms)
        narrower.at_most("max_cost_usd", estimates.costs_usd)
        narrower.at_least("min_score", estimates.scores)
    return narrower.eligibility, tuple(narrower.narrowings)


class _Narrower:
    """Notes which constraints removed something, beside the eligibility itself."""

    def __init__(self, requests: Sequence[PromptRequest], shape: tuple[int, ...]) -> None:
        self.eligibility = Eligibility(np.ones(shape, np.bool_))
        self.narrowings: list[Narrowing] = []
        self._requests = requests
        self._left = self.eligibility.mask.size

    def keep(self, constraint: str, kept: NDArray[np.bool_]) -> None:
        self.eligibility.keep(constraint, kept)
        self._note(constraint)

    def keep_named(self, constraint: str, rows: Sequence[NDArray[np.bool_] | None]) -> None:
        """Rows that are None keep everything."""
        if any(row is not None for row in rows):
            everything = np.ones(self.eligibility.mask.shape[1], np.bool_)
            self.keep(constraint, np.array([everything if row is None else row for row in rows]))

    def at_most(self, field: str, estimates: NDArray[np.float64]) -> None:
        self.eligibility.at_most(field, estimates, self._limits(field))
        self._note(field)

    def at_least(self, field: str, estimates: NDArray[np.float64]) -> None:
        self.eligibility.at_least(field, estimates, self._limits(field))
        self._note(field)

    def _limits(self, field: str) -> NDArray[np.float64]:
        values = (getattr(request, field) for request in self._requests)
        return np.array([np.nan if value is None else value for value in values], np.float64)

    def _note(self, constraint: str) -> None:
        # Each mask is a subset of the one before: as many cells left are the same cells.
        left = int(np.count_nonzero(self.eligibility.mask))
        if left < self._left:
            self.narrowings.append(Narrowing(constraint, self.eligibility.mask))
            self._left = left


def _allowed(request: PromptRequest, pool: Pool) -> NDArray[np.bool_] | None:
    return pool.holds(request.allowed_models) if request.allowed_models else None


def _not_denied(request: PromptRequest, pool: Pool) -> NDArray[np.bool_] | None:
    return ~pool.holds(request.denied_models) if request.denied_models else None


def _capable(request: PromptRequest, pool: Pool) -> NDArray[np.bool_] | None:
    if not request.required_capabilities:
        return None
    capable = np.ones(len(pool.names), np.bool_)
    for capability in request.required_capabilities:
        capable &= pool.capabilities[capability]
    return capable


_NAME_CONSTRAINTS: tuple[
    tuple[str, Callable[[PromptRequest, Pool], NDArray[np.bool_] | None]], ...
] = (
    ("allowed_models", _allowed),
    ("denied_models", _not_denied),
    ("required_capabilities", _capable),
)
