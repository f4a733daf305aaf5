"""Limits of providers and models on their use, as rows over the columns of a pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from routoo.routing.arms.columns import arms_of
from routoo.routing.arms.usage_limits import (
    CONCURRENT,
    INPUT_TOKENS,
    KINDS,
    OUTPUT_TOKENS,
    REQUESTS,
    TOKENS,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from routoo.routing.arms.model import ModelSpec
    from routoo.routing.arms.usage_limits import UsageLimits

    Floats = NDArray[np.float64]


_COUNTED: Final = {
    REQUESTS: (1.0, 0.0, 0.0),
    INPUT_TOKENS: (0.0, 1.0, 0.0),
    OUTPUT_TOKENS: (0.0, 0.0, 1.0),
    TOKENS: (0.0, 1.0, 1.0),
    CONCURRENT: (1.0, 0.0, 0.0),
}


def limit_name(scope: str, kind: str) -> str:
    """Returns the name of a limit among the constraints of a reply."""
    return f"{kind}[{scope}]"


@dataclass(frozen=True, slots=True)
class LimitRows:
    """K limits over the m columns of a pool.

    Attributes:
        names: [K], see ``limit_name``; each once.
        scopes: [K], the provider or the model that each limit is of.
        kinds: int [K], positions in ``KINDS``.
        limits: float64 [K], whole numbers.
        members: bool [K, m], the columns that count.
    """

    names: tuple[str, ...]
    scopes: tuple[str, ...]
    kinds: NDArray[np.intp]
    limits: Floats
    members: NDArray[np.bool_]

    @classmethod
    def of(cls, models: Sequence[ModelSpec], providers: Mapping[str, UsageLimits]) -> Self | None:
        """Makes the rows of a pool's models and providers; None: there is no limit.

        Raises:
            ValueError: a provider has no model, or its name is that of a model with limits.
        """
        owners = [model for model, _ in arms_of(models)]
        rows: list[tuple[str, str, int, list[bool]]] = []
        for name, spec in providers.items():
            held = [model.provider == name for model in owners]
            if not any(held):
                known = ", ".join(sorted({model.provider for model in models} - {""})) or "none"
                raise ValueError(
                    f"providers: no model is of provider {name!r}; the models' providers are"
                    f" {known}"
                )
            rows += [(name, kind, limit, held) for kind, limit in spec.limits.items()]
        for model in models:
            if model.limits and model.name in providers:
                raise ValueError(
                    f"model {model.name!r} has limits, and so has a provider of that name; set"
                    " them at one of the two"
                )
            held = [owner.name == model.name for owner in owners]
            rows += [(model.name, kind, limit, held) for kind, limit in model.limits.items()]
        if not rows:
            return None
        return cls(
            names=tuple(limit_name(scope, kind) for scope, kind, _, _ in rows),
            scopes=tuple(scope for scope, *_ in rows),
            kinds=np.array([KINDS.index(kind) for _, kind, _, _ in rows], np.intp),
            limits=np.array([limit for *_, limit, _ in rows], np.float64),
            members=np.array([held for *_, held in rows], np.bool_),
        )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def concurrent(self) -> NDArray[np.bool_]:
        """Whether each row counts requests that are in progress, bool [K]."""
        concurrent: NDArray[np.bool_] = self.kinds == KINDS.index(CONCURRENT)
        return concurrent

    @property
    def counted(self) -> Floats:
        """What each row counts of a cell's amounts, float64 [K, 3].

        The amounts are 1 for the request, its input tokens and its output tokens.
        """
        return np.array([_COUNTED[kind] for kind in self.kind_names])

    @property
    def priced(self) -> Floats:
        """What each row prices of a cell's amounts, float64 [K, 4].

        The amounts are those of ``counted``, and the seconds that the request takes, by which
        concurrent requests are priced.
        """
        seconds = self.concurrent.astype(np.float64)
        counted = np.where(self.concurrent[:, None], 0.0, self.counted)
        return np.column_stack((counted, seconds))

    @property
    def kind_names(self) -> list[str]:
        """The name of each row's kind."""
        return [KINDS[kind] for kind in self.kinds.tolist()]

    def shares(self, replicas: int, workers: int, worker: int) -> Floats:
        """Returns the part of each limit that one process may use, float64 [K], whole numbers.

        Args:
            replicas: services that share the limits, and each take as much.
            workers: processes of this service.
            worker: the number of the process among them; the first ones take what is left over.
        """
        of_replica = np.floor(self.limits / replicas)
        extra = of_replica % workers > worker
        shares: Floats = np.floor(of_replica / workers) + extra
        return shares


@dataclass(frozen=True, slots=True)
class LimitState:
    """A limit, and what is used of it by this process.

    Attributes:
        name: its name among the constraints of a reply.
        scope: the provider or the model.
        kind: one of ``KINDS``.
        limit: the part of it that this process may use.
        used: of that part; tokens as predicted or, where they are known, as reported.
        price: predicted score per unit; of concurrent requests, per second.
        refused: requests that were refused for its sake.
    """

    name: str
    scope: str
    kind: str
    limit: float
    used: float
    price: float
    refused: int


def cell_amounts(kind: str, input_tokens: Floats, output_tokens: Floats) -> Floats | float:
    """Returns what cells count in a limit of a kind: float64 [n, m], or 1 for each.

    Args:
        kind: one of ``KINDS``.
        input_tokens: float64 [n, m].
        output_tokens: float64 [n, m].
    """
    if kind == INPUT_TOKENS:
        return input_tokens
    if kind == OUTPUT_TOKENS:
        return output_tokens
    return input_tokens + output_tokens if kind == TOKENS else 1.0
