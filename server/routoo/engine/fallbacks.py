"""The fallbacks of decisions: whom to ask where the chosen model's provider fails.

An answer by a fallback is paid from what was reserved for the decision. So where a budget pays, a
fallback is offered only if what is reserved covers it. For requests that come through Envoy, which
asks the first fallback by itself and reports what became of it, what is reserved is raised to what
that fallback may cost; for others only if the settings say so, since what a caller never reports is
booked as it was reserved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from routoo.selector.fallbacks import fallbacks_of, kinship, mask_left
from routoo.selector.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from routoo.config.sections.policy import FallbackSettings
    from routoo.routing.decision import Chosen, Prepared
    from routoo.routing.pool import Pool
    from routoo.routing.request import PromptRequest
    from routoo.selector.arrays import FloatArray, IndexArray


@dataclass(frozen=True, slots=True)
class Fallbacks:
    """Finds the fallbacks of decisions on one pool, m models.

    Attributes:
        near: int8 [m + 1, m], see ``kinship``.
        count: the most fallbacks of a decision.
        reserves_most: whether what is reserved is raised for every request.
    """

    near: NDArray[np.int8]
    count: int
    reserves_most: bool

    @classmethod
    def of(cls, pool: Pool, settings: FallbackSettings) -> Self | None:
        """Returns them for a pool; None: no decision has any."""
        m = len(pool.names)
        if not settings.count or m == 1:
            return None
        models = [pool.model_of(column) for column in range(m)]
        return cls(kinship(pool.providers, models), settings.count, settings.reserve == "most")

    def raised_usd(
        self, requests: Sequence[PromptRequest], prepared: Prepared, chosen: Chosen
    ) -> FloatArray | None:
        """Returns what to reserve, so that fallbacks are covered, in USD, float64 [n].

        None: nothing is to be reserved beside the choice.
        """
        raised = np.array([one.retried for one in requests])
        if not (raised.any() or self.reserves_most):
            return None
        most_usd = prepared.estimates.reserved_usd
        prices, choice = prepared.case.prices, chosen.choice
        count = self.count if self.reserves_most else 1
        found = self._found(prepared, prices, choice, second_columns(chosen), None, count)
        rows = np.arange(len(choice))
        amounts = most_usd[rows, choice]
        for column in found.T:
            of_fallback = np.where(column >= 0, most_usd[rows, column], 0.0)
            if not self.reserves_most:
                of_fallback[~raised] = 0.0
            amounts = np.maximum(amounts, of_fallback)
        return amounts

    def found(
        self,
        prepared: Prepared,
        chosen: Chosen,
        prices: FloatArray,
        choice: IndexArray,
        limits_usd: FloatArray | None,
    ) -> IndexArray:
        """Returns the columns of the fallbacks, int [n, k]; -1: there are no more.

        Args:
            prepared: the input of the choice.
            chosen: the choice before the money was booked.
            prices: float64 [n], score per USD.
            choice: int [n], the final choice.
            limits_usd: float64 [n], what is reserved; infinite where no budget pays; None: none
                pays in any row.
        """
        seconds = second_columns(chosen)
        return self._found(prepared, prices, choice, seconds, limits_usd, self.count)

    def _found(
        self,
        prepared: Prepared,
        prices: FloatArray,
        choice: IndexArray,
        seconds: IndexArray | None,
        limits_usd: FloatArray | None,
        count: int,
    ) -> IndexArray:
        estimates = prepared.estimates
        mask = mask_left(prepared.case.mask, estimates.reserved_usd, limits_usd, seconds)
        return fallbacks_of(
            estimates.scores, estimates.costs_usd, mask, prices, choice, self.near, count
        )


def second_columns(chosen: Chosen) -> IndexArray | None:
    """Returns the columns that are asked beside the chosen ones, int [n], -1: none; None: none."""
    if chosen.seconds is None:
        return None
    return np.where(chosen.reasons == Reason.CASCADE, chosen.seconds, -1)
