"""Traffic above the limit of its best provider, on a simulated clock, and its optimum."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog
from scipy.sparse import csr_array, vstack

from routoo.engine.limits.choice import ProviderLimits, terms_of
from routoo.engine.limits.guard import LimitGuard
from routoo.predictor.artifact import CalibrationSample
from routoo.pricing.capacity import CapacityPricing
from routoo.routing.arms.usage_limits import CONCURRENT, KINDS, ProviderSpec
from routoo.routing.decision import Chosen, Prepared
from routoo.routing.estimates import Estimates, costs_usd_of, latencies_ms_of
from routoo.routing.pool import Pool
from routoo.selector.eligibility import Eligibility
from routoo.selector.policies.base import Case
from routoo.selector.policies.lp import Lp, round_scores

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]
INTERVAL_S = 0.5
TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """n requests on m models.

    Attributes:
        estimates: the predictions, which are also what comes true.
        arrivals_s: float64 [n], ascending.
        price: predicted score per USD.
    """

    estimates: Estimates
    arrivals_s: FloatArray
    price: float

    def __len__(self) -> int:
        return len(self.arrivals_s)

    @property
    def values(self) -> FloatArray:
        """Predicted score minus what money costs at the price, float64 [n, m]."""
        return self.estimates.scores - self.price * self.estimates.costs_usd


def traffic_of(
    pool: Pool,
    sample: CalibrationSample,
    columns: IndexArray,
    per_s: float,
    seconds: float,
    seed: int,
    price: float = 0.0,
) -> Traffic:
    """Draws requests from a calibration sample, at random times."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1.0 / per_s, round(1.2 * per_s * seconds)))
    arrivals = arrivals[arrivals < seconds]
    rows = rng.integers(0, len(sample.scores), len(arrivals))
    outputs = np.rint(sample.output_tokens[rows][:, columns])
    inputs = np.repeat(np.rint(sample.input_tokens[rows])[:, None], len(pool.names), axis=1)
    estimates = Estimates(
        scores=round_scores(sample.scores[rows][:, columns]),
        output_tokens=outputs,
        costs_usd=costs_usd_of(pool, inputs, outputs, None),
        latencies_ms=latencies_ms_of(pool, outputs, None),
        input_tokens=inputs,
    )
    return Traffic(estimates, arrivals, price)


def usage_of(traffic: Traffic, pool: Pool) -> list[FloatArray]:
    """Returns the amounts of every limit that is per minute, float64 [n, m] each."""
    assert pool.limits is not None
    inputs, outputs = traffic.estimates.input_tokens, traffic.estimates.output_tokens
    of_kind = (np.ones(inputs.shape), inputs, outputs, inputs + outputs)
    return [
        np.where(members, of_kind[kind], 0.0)
        for kind, members in zip(pool.limits.kinds.tolist(), pool.limits.members, strict=True)
        if KINDS[kind] != CONCURRENT
    ]


def optimum_of(traffic: Traffic, pool: Pool, minutes: float) -> tuple[float, float]:
    """Returns mean value and mean score of the program over all requests, solved by HiGHS."""
    assert pool.limits is not None
    usage = usage_of(traffic, pool)
    limits = pool.limits.limits[: len(usage)] * minutes
    n, m = traffic.values.shape
    cells = np.arange(n * m)
    once = csr_array((np.ones(n * m), (cells // m, cells)), shape=(n, n * m))
    found = linprog(
        -traffic.values.ravel(),
        A_ub=vstack([csr_array(one.reshape(1, -1)) for one in usage]),
        b_ub=limits,
        A_eq=once,
        b_eq=np.ones(n),
        bounds=(0, 1),
        method="highs",
    )
    scores = float(found.x @ traffic.estimates.scores.ravel()) / n
    return -float(found.fun) / n, scores


@dataclass(slots=True)
class Site:
    """The limits of a pool on a clock that a pass moves."""

    pool: Pool
    now_s: float = 0.0
    limits: ProviderLimits = field(init=False)
    pricing: CapacityPricing = field(init=False)

    def __post_init__(self) -> None:
        rows = self.pool.limits
        assert rows is not None
        guard = LimitGuard(rows, rows.limits, self.pool.names, TIMEOUT_S, lambda: self.now_s)
        self.pricing = CapacityPricing(
            terms_of(rows, rows.limits), guard.returning, INTERVAL_S, lambda: self.now_s
        )
        self.limits = ProviderLimits(guard, self.pricing)

    def decide(self, traffic: Traffic, rows: slice) -> IndexArray:
        """Decides requests that come together; -1: refused."""
        estimates = traffic.estimates.rows(rows)
        n, m = estimates.scores.shape
        mask = np.ones((n, m), np.bool_)
        case = Case(
            scores=estimates.scores,
            costs_usd=estimates.costs_usd,
            mask=mask,
            prices=np.full(n, traffic.price),
            max_quality_gaps=np.full(n, np.nan),
            tickets=np.arange(n, dtype=np.int64),
        )
        ids = [f"{row}" for row in range(len(traffic))[rows]]
        prepared = Prepared(estimates, Eligibility(mask), (), case, [()] * n, [""] * n, ids)
        policy = Lp()

        def choose(given: Prepared, *, again: bool = False) -> Chosen:
            del again
            choice = policy.choose(given.case)
            return Chosen(choice, policy.explain(given.case, choice), np.ones(n, np.bool_))

        prepared, chosen = self.limits.choose(prepared, choose)
        self.limits.observe(prepared, chosen)
        return chosen.choice


def run_limited(
    traffic: Traffic, pool: Pool, *, prices: bool, together_s: float = 0.01
) -> IndexArray:
    """Decides all traffic: requests that come within ``together_s`` are one micro-batch.

    Requests are reported after their predicted latency. Without prices, whoever comes first is
    served first.
    """
    site = Site(pool)
    choice = np.full(len(traffic), -1, np.intp)
    open_until: list[tuple[float, int]] = []
    step_s, start = INTERVAL_S, 0
    while start < len(traffic):
        until_s = traffic.arrivals_s[start] + together_s
        end = int(np.searchsorted(traffic.arrivals_s, until_s))
        end = min(max(end, start + 1), start + 64)
        site.now_s = float(traffic.arrivals_s[end - 1])
        while prices and step_s <= site.now_s:
            site.pricing.step()
            step_s += INTERVAL_S
        for ends_s, row in [one for one in open_until if one[0] <= site.now_s]:
            open_until.remove((ends_s, row))
            site.limits.guard.ended(str(row))
        choice[start:end] = site.decide(traffic, slice(start, end))
        if site.limits.guard.rows.concurrent.any():
            for row in range(start, end):
                if choice[row] >= 0:
                    latency_s = traffic.estimates.latencies_ms[row, choice[row]] / 1e3
                    open_until.append((site.now_s + float(latency_s), row))
        start = end
    return choice


def worst_minute(traffic: Traffic, pool: Pool, choice: IndexArray) -> list[float]:
    """Returns the most that any minute had of each limit per minute, as a share of the limit."""
    assert pool.limits is not None
    served = np.flatnonzero(choice >= 0)
    times = traffic.arrivals_s[served]
    first = np.searchsorted(times, times - 60.0)
    found = []
    for limit, usage in zip(pool.limits.limits.tolist(), usage_of(traffic, pool), strict=False):
        total = np.append(0.0, np.cumsum(usage[served, choice[served]]))
        found.append(float((total[1:] - total[first]).max()) / limit)
    return found


def limited_pool(pool: Pool, provider: str, limits: dict[str, int]) -> Pool:
    """Returns the pool with limits of one provider."""
    return Pool.of(pool.models, {provider: ProviderSpec(**limits)})
