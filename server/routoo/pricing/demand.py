"""How many requests a budget still has to pay for."""

from __future__ import annotations

from math import exp

_QUIET_BEFORE = 0.02


class Rate:
    """Requests per second, the older the less they count.

    Args:
        memory_s: after this long, a request counts 1/e.
    """

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self._requests = 0.0
        # As if nothing had come for a while: the first request is not the first of a flood.
        self._time_s = _QUIET_BEFORE * memory_s

    def note(self, requests: float, elapsed_s: float) -> None:
        """So many requests came in so much time."""
        kept = exp(-elapsed_s / self._memory_s)
        self._requests = self._requests * kept + requests
        self._time_s = self._time_s * kept + elapsed_s

    @property
    def per_s(self) -> float:
        """The rate."""
        return self._requests / self._time_s


class Drift:
    """Real over planned spending per request; 1 as long as nothing is known.

    For a budget whose period ends it should look at underspending alone. What is left unspent at
    the end is lost, whereas overspending is seen in what is left and met by the next solutions
    anyway; corrected both ways, every passing kind of requests would be pressed into the mean of
    all, at the cost of quality.

    Args:
        memory_s: after this long, and ...
        memory_requests: ... after this many requests, one counts 1/e.
        prior_requests: how many requests that went as planned are taken for granted.
        least: the ratio is kept at or above this, ...
        most: ... and at or below this.
    """

    def __init__(
        self,
        memory_s: float,
        memory_requests: float,
        prior_requests: float,
        *,
        least: float,
        most: float,
    ) -> None:
        self._memory_s = memory_s
        self._memory_requests = memory_requests
        self._prior_requests = prior_requests
        self._least = least
        self._most = most
        self._real_usd = 0.0
        self._planned_usd = 0.0
        self._requests = 0.0

    def note(self, requests: int, real_usd: float, planned_usd: float, elapsed_s: float) -> None:
        """So many requests were to cost ``planned_usd`` together and did cost ``real_usd``."""
        kept = exp(-min(elapsed_s / self._memory_s, requests / self._memory_requests))
        self._requests = self._requests * kept + requests
        self._real_usd = self._real_usd * kept + real_usd
        self._planned_usd = self._planned_usd * kept + planned_usd

    @property
    def ratio(self) -> float:
        """Real over planned."""
        if self._planned_usd <= 0.0:
            return 1.0
        granted_usd = self._prior_requests * self._planned_usd / self._requests
        ratio = (self._real_usd + granted_usd) / (self._planned_usd + granted_usd)
        return min(max(ratio, self._least), self._most)
