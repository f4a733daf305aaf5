"""Cost curves of the latest requests, grouped by the budgets that pay for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from routoo.selector.arrays import FloatArray, IndexArray


class Window:
    """A ring of the last requests, mixed with a sample that stands for requests not seen yet.

    Args:
        capacity: requests in the ring.
        prior: float64 [g], mean cost curve of the sample.
        prior_requests: number of requests that the sample counts as.

    Attributes:
        prior: may be exchanged.
    """

    def __init__(self, capacity: int, prior: FloatArray, prior_requests: float) -> None:
        self._curves = np.zeros((capacity, len(prior)), np.float64)
        self._groups: NDArray[np.intp] = np.full(capacity, -1, np.intp)
        self._next = 0
        self.prior = prior
        self._prior_requests = prior_requests

    def add(self, curves: FloatArray, groups: IndexArray) -> None:
        """Adds n requests.

        Args:
            curves: float64 [n, g], cost curves.
            groups: int [n], each request's group of payers.
        """
        capacity = len(self._groups)
        curves, groups = curves[-capacity:], groups[-capacity:]
        at = (self._next + np.arange(len(groups))) % capacity
        self._curves[at] = curves
        self._groups[at] = groups
        self._next = (self._next + len(groups)) % capacity

    def dearest(self, groups: int) -> FloatArray:
        """Returns the highest cost among the requests of each group at each price, [k, g]."""
        found = np.zeros((groups, self._curves.shape[1]))
        for group in range(groups):
            member = self._groups == group
            if member.any():
                found[group] = self._curves[member].max(axis=0)
        return found

    def mix(self, groups: int) -> tuple[FloatArray, FloatArray]:
        """Mixes every group with the sample, whose requests are divided evenly among the groups.

        Returns:
            The mean cost curve of each group, float64 [k, g], and each group's share of the
            requests, float64 [k].
        """
        held = self._groups >= 0
        member = self._groups[held] == np.arange(groups)[:, None]
        count = member.sum(axis=1)
        summed = member.astype(np.float64) @ self._curves[held]
        weight = self._prior_requests
        curves = (summed + weight * self.prior) / (count + weight)[:, None]
        shares = count + weight / groups
        return curves, shares / shares.sum()
