"""The units that fail: the models of a pool, and the providers that sell them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routoo.routing.pool import Pool
    from routoo.selector.arrays import IndexArray


@dataclass(frozen=True, slots=True)
class Units:
    """The k models of a pool of m columns, and their p providers.

    A model without a provider is the only one of a provider of its own.

    Attributes:
        models: [k], the models' names.
        providers: [p], the providers' names; empty for that of a model without one.
        provider_of: int [k], each model's provider.
        model_of: int [m], each column's model.
        of_model: by a model's name, its position.
        key: [k + p], words that each unit is known by in pools before and after a reload.
    """

    models: tuple[str, ...]
    providers: tuple[str, ...]
    provider_of: IndexArray
    model_of: IndexArray
    of_model: Mapping[str, int] = field(repr=False)
    key: tuple[tuple[str, ...], ...] = field(repr=False)

    @classmethod
    def of(cls, pool: Pool) -> Self:
        """Returns the units of a pool."""
        models = tuple(model.name for model in pool.models)
        # Without a provider, the model's own name keeps it apart from the others.
        sellers = [(model.provider, "" if model.provider else model.name) for model in pool.models]
        distinct = list(dict.fromkeys(sellers))
        at = {seller: position for position, seller in enumerate(distinct)}
        k = len(models)
        return cls(
            models=models,
            providers=tuple(name for name, _ in distinct),
            provider_of=np.array([at[one] for one in sellers], np.intp),
            model_of=np.arange(k) if pool.arms is None else pool.arms.model_of,
            of_model={name: position for position, name in enumerate(models)},
            key=(
                *(("model", model.name, model.provider) for model in pool.models),
                *(("provider", *seller) for seller in distinct),
            ),
        )

    def name(self, unit: int) -> str:
        """Returns the name of a unit for people: a model's, or a provider's."""
        k = len(self.models)
        return self.models[unit] if unit < k else self.providers[unit - k]

    def provider(self, unit: int) -> str:
        """Returns the name of a unit's provider; empty: it has none."""
        k = len(self.models)
        return self.providers[int(self.provider_of[unit]) if unit < k else unit - k]
