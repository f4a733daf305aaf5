"""Estimates of the demand on a budget: the rate of requests, and how their costs deviate."""

from __future__ import annotations

from math import exp, sqrt

# An estimate starts as if no request had come for this share of its memory. Otherwise the first
# request would look like the start of a very high rate.
_QUIET_BEFORE = 0.02


class Rate:
    """Requests per second, by an average in which older requests count less.

    Args:
        memory_s: a request of this age counts 1/e.

    Attributes:
        memory_s: the same.
    """

    def __init__(self, memory_s: float) -> None:
        self.memory_s = memory_s
        self._requests = 0.0
        self._time_s = _QUIET_BEFORE * memory_s

    def over(self, memory_s: float) -> Rate:
        """Returns the same rate, which from now on is one over another memory."""
        if memory_s == self.memory_s:
            return self
        found = Rate(memory_s)
        found._time_s = min(self._time_s, memory_s)
        found._requests = self.per_s * found._time_s
        return found

    def note(self, requests: float, elapsed_s: float) -> None:
        """Takes note of requests that came within ``elapsed_s`` seconds."""
        kept = exp(-elapsed_s / self.memory_s)
        self._requests = self._requests * kept + requests
        self._time_s = self._time_s * kept + elapsed_s

    @property
    def per_s(self) -> float:
        """Requests per second, 0 before the first one."""
        return self._requests / self._time_s


class CostRatio:
    """Reported over predicted costs, of a number of last reports; 1 before the first one.

    Args:
        memory_requests: a report of this age, in reports, counts 1/e.
        prior_requests: number of reports that are assumed to have cost what was predicted.
        most: the ratio is lowered to this, and raised to its inverse.
    """

    def __init__(self, memory_requests: float, prior_requests: float, most: float) -> None:
        self._kept = exp(-1.0 / memory_requests)
        self._prior_requests = prior_requests
        self._most = most
        self._reports = 0.0
        self._real_usd = 0.0
        self._predicted_usd = 0.0
        self._missed = 0.0
        self._squared = 0.0

    def note(self, predicted_usd: float, real_usd: float) -> None:
        """Takes note of one report."""
        expected_usd = self.ratio * predicted_usd
        kept = self._kept
        self._reports = self._reports * kept + 1.0
        self._real_usd = self._real_usd * kept + real_usd
        self._predicted_usd = self._predicted_usd * kept + predicted_usd
        self._missed = self._missed * kept + (real_usd - expected_usd) ** 2
        self._squared = self._squared * kept + expected_usd**2

    @property
    def ratio(self) -> float:
        """Real over predicted cost."""
        if self._predicted_usd <= 0.0:
            return 1.0
        granted_usd = self._prior_requests * self._predicted_usd / self._reports
        ratio = (self._real_usd + granted_usd) / (self._predicted_usd + granted_usd)
        return min(max(ratio, 1.0 / self._most), self._most)

    @property
    def error(self) -> float:
        """Standard error of a corrected cost, relative to it; expensive requests count most."""
        return sqrt(self._missed / self._squared) if self._squared > 0.0 else 0.0


class Drift:
    """Real over planned spending per request; 1 as long as nothing is known.

    For a budget whose period ends, ``most`` should be 1, so that only underspending is corrected.
    Money that is left at the end is lost. Overspending shows in the money that is left, and the
    next solutions react to that; correcting it here as well would hold every kind of requests to
    the mean cost of all kinds, at the cost of quality.

    Args:
        memory_s: a request counts 1/e once it is older than this and than ``memory_requests``
            requests.
        memory_requests: the same in requests.
        prior_requests: number of requests that are assumed to have cost what was planned.
        least: the ratio is raised to this.
        most: the ratio is lowered to this.
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
        """Takes note of requests that were planned at ``planned_usd`` and cost ``real_usd``."""
        kept = exp(-min(elapsed_s / self._memory_s, requests / self._memory_requests))
        self._requests = self._requests * kept + requests
        self._real_usd = self._real_usd * kept + real_usd
        self._planned_usd = self._planned_usd * kept + planned_usd

    @property
    def ratio(self) -> float:
        """Real over planned spending, from ``least`` to ``most``."""
        if self._planned_usd <= 0.0:
            return 1.0
        granted_usd = self._prior_requests * self._planned_usd / self._requests
        ratio = (self._real_usd + granted_usd) / (self._planned_usd + granted_usd)
        return min(max(ratio, self._least), self._most)
