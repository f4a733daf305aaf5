"""``round_robin``: the models in turn, for any prompt; it spreads load.

The scheduling rule of that name (Nagle 1985, RFC 970) over requests. Its logs show every model on
every kind of prompt, as training from logs needs it. A turn is no draw: the number of the request
decides it, so that its propensity is 1, and no off-policy estimate takes it for one that chance
made. Who sends requests in a pattern may meet the same turn each time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from routoo.errors import ConfigError
from routoo.selector.arrays import BoolArray, IndexArray, ReasonArray
from routoo.selector.policies.base import Case, Models, Policy
from routoo.selector.policies.lp import explained, fall_back
from routoo.selector.reason import Reason


@dataclass(frozen=True, slots=True)
class RoundRobin(Policy):
    """Chooses the models in turn.

    Attributes:
        models: columns of the models, in their order.
    """

    models: tuple[int, ...]

    @classmethod
    def build(cls, settings: Any, pool: Models) -> Self:
        """Builds the policy, see ``Policy.build``."""
        names = settings.models or pool.names
        columns = (pool.column(name, "policy.round_robin.models", ConfigError) for name in names)
        return cls(tuple(columns))

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Self:
        """Makes the policy of logged values, see ``Policy.restored``."""
        return cls(tuple(values["models"]))

    def choose(self, case: Case) -> IndexArray:
        """Chooses by turns, see ``Policy.choose``; the next model replaces one not eligible."""
        return fall_back(case, self._turn(case)[0])

    def explain(self, case: Case, choice: IndexArray) -> ReasonArray:
        """Gives ROUND_ROBIN, or FALLBACK where none of the models was eligible."""
        wanted, found = self._turn(case)
        return explained(case, choice, Reason.ROUND_ROBIN, np.where(found, wanted, -1))

    def _turn(self, case: Case) -> tuple[IndexArray, BoolArray]:
        """Returns the model in turn, int [n], and whether any of the ring is eligible, bool [n]."""
        ring = np.array(self.models, np.intp)
        turns = ring[(case.tickets[:, None] + np.arange(len(ring))) % len(ring)]
        eligible = np.take_along_axis(case.mask, turns, axis=1)
        first = eligible.argmax(axis=1)
        found: BoolArray = np.logical_or.reduce(eligible, axis=1)
        return turns[np.arange(len(turns)), first], found
