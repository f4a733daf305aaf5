"""Streams of real outcomes through a promise that is watched, with and without a drift."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.outcomes.held_out import HeldOut
from routoo.calibration.guarantee import GRID
from routoo.calibration.prices import price_grid
from routoo.selector.guarantee import Promise, binary_p_values, last_proven
from routoo.selector.policies.lp import decide
from routoo.selector.sequential.drop import DropEvidence, drops_of

FloatArray = npt.NDArray[np.float64]
LABELS = 2_000
REQUESTS = 20_000
GRADED = 0.2
# What is left of the scores of the model that fails in silence.
FAILED = 0.3
# Labels that prove nothing are drawn again, so many times for each run.
_MOST_REFUSED = 50


@dataclass(frozen=True)
class DriftedRun:
    """One stream.

    Attributes:
        fallen: whether the reference answers everything, or every domain that drifted.
        alarms: units to whom the promise was refuted.
        false_alarms: of these, units whose true drop is within the promise.
        drop: mean score of the reference minus that served, over the whole stream.
        drop_now: the same of the rule at the end of the stream, had the watch not acted.
        claimed: whether some domain's drop is above the promise at the end, and all traffic with
            it, while the policy still answers.
        delay: requests from the drift to the refutation for all traffic; None: it never came.
        saved: 1 minus the cost served over the reference's.
        saved_fixed: the same of the rule without a watch.
    """

    fallen: bool
    alarms: int
    false_alarms: int
    drop: float
    drop_now: float
    claimed: bool
    delay: int | None
    saved: float
    saved_fixed: float


@dataclass(frozen=True)
class DriftSource:
    """n prompts whose outcomes are all known, and the choices at each of k prices.

    Attributes:
        data: the prompts.
        reference: column of the reference.
        choices: int [k, n], from the safest price to the cheapest.
        domains: int [n].
        drops: float64 [k, d + 1], the drop at each price in each of d domains, and over all.
    """

    data: HeldOut
    reference: int
    choices: npt.NDArray[np.intp]
    domains: npt.NDArray[np.int64]
    drops: FloatArray

    @classmethod
    def of(cls, data: HeldOut, reference: str) -> "DriftSource":
        """Chooses for every prompt at every price of the guarantee's grid."""
        mask = np.ones(data.scores.shape, np.bool_)
        grid = price_grid(data.priced, GRID).tolist()
        choices = np.stack([decide(data.scores, data.costs_usd, mask, one) for one in grid])
        _, domains = np.unique(data.table["domain"].to_pylist(), return_inverse=True)
        against = data.pool.index[reference]
        rows = np.arange(len(domains))
        lost = data.true_scores[:, against] - data.true_scores[rows, choices]
        by_domain = [lost[:, domains == one].mean(axis=1) for one in range(domains.max() + 1)]
        drops = np.stack([*by_domain, lost.mean(axis=1)], axis=1)
        return cls(data, against, choices, domains, drops)

    def proven(self, promise: Promise, rng: np.random.Generator) -> int:
        """Draws labels and returns the setting that they prove; -1: none."""
        rows = rng.integers(0, len(self.domains), LABELS)
        scores = self.data.true_scores[rows]
        against = scores[:, self.reference]
        differences = np.stack(
            [scores[np.arange(LABELS), one[rows]] - against for one in self.choices], axis=1
        )
        worse, better = (differences < 0).sum(axis=0), (differences > 0).sum(axis=0)
        return int(last_proven(binary_p_values(worse, better, LABELS, promise), promise.alpha))


def stream(
    source: DriftSource,
    setting: int,
    promise: Promise,
    share: float,
    rng: np.random.Generator,
    *,
    drifts: bool,
) -> DriftedRun:
    """Streams prompts, drawn with replacement, through a proven setting and its watch.

    Where it drifts, the model that the setting sends most to loses most of its scores at a random
    request of the first half, and says nothing of it.
    """
    data, reference = source.data, source.reference
    rows = rng.integers(0, len(source.domains), REQUESTS)
    choice = source.choices[setting][rows]
    used = np.bincount(choice[choice != reference], minlength=data.scores.shape[1])
    begins = int(rng.integers(0, REQUESTS // 2)) if drifts else REQUESTS
    true = data.true_scores[rows].copy()
    true[begins:, used.argmax()] *= FAILED
    at = np.arange(REQUESTS)
    drawn = rng.random(REQUESTS) < share
    graded = rng.random(REQUESTS) < GRADED
    answered = np.where(drawn, reference, choice)
    # A score below 1 that is not 0 is the share of answers that are right.
    scores = true[at, answered]
    estimates = drops_of(
        scores,
        drawn,
        data.scores[rows, choice],
        data.scores[rows, reference],
        share,
    )
    estimates = np.where(choice == reference, 0.0, estimates)
    domains = source.domains[rows]
    fallen_from = _watched(estimates, graded, domains, promise, share)
    is_fallen = at >= np.minimum(fallen_from[-1], fallen_from[domains])
    served = np.where(is_fallen, reference, answered)
    costs = data.true_costs_usd[rows]
    spent, reference_usd = costs[at, served].sum(), costs[:, reference].sum()
    after = slice(max(begins, REQUESTS // 2) if drifts else 0, None)
    lost = true[:, reference] - true[at, choice]
    # The rule as it stands at the end: of what has fallen back, nothing is lost.
    left = np.where(np.isin(domains, np.flatnonzero(fallen_from[:-1] < REQUESTS)), 0.0, lost)
    drop_left = 0.0 if fallen_from[-1] < REQUESTS else float(left[after].mean())
    return DriftedRun(
        fallen=bool(fallen_from[-1] < REQUESTS),
        alarms=int((fallen_from < REQUESTS).sum()),
        false_alarms=int(
            ((fallen_from < REQUESTS) & (source.drops[setting] <= promise.max_drop)).sum()
        ),
        drop=float((true[:, reference] - true[at, served]).mean()),
        drop_now=float(lost[after].mean()),
        claimed=drop_left > promise.max_drop,
        delay=int(fallen_from[-1] - begins) if begins < fallen_from[-1] < REQUESTS else None,
        saved=float(1.0 - spent / reference_usd),
        saved_fixed=float(1.0 - costs[at, choice].sum() / reference_usd),
    )


def _watched(
    estimates: FloatArray,
    graded: npt.NDArray[np.bool_],
    domains: npt.NDArray[np.int64],
    promise: Promise,
    share: float,
) -> npt.NDArray[np.int64]:
    """Returns the request from which each domain, and at last all traffic, has fallen back."""
    units = int(domains.max()) + 2
    found = [DropEvidence(promise.max_drop, share) for _ in range(units)]
    fallen = np.full(units, REQUESTS, np.int64)
    for at in np.flatnonzero(graded).tolist():
        domain = int(domains[at])
        if fallen[-1] < at or fallen[domain] < at:
            continue
        for unit in (domain, units - 1):
            found[unit].add(float(estimates[at]))
            if found[unit].is_broken(promise.alpha):
                fallen[unit] = min(fallen[unit], at + 1)
    return fallen


def measure_drifts(
    data: HeldOut, reference: str, promise: Promise, share: float, runs: int
) -> dict[str, Any]:
    """Measures streams with a drift and as many without; a refusal to prove anything is skipped."""
    source = DriftSource.of(data, reference)
    found: dict[str, list[DriftedRun]] = {"drift": [], "none": []}
    refused = seed = 0
    while len(found["drift"]) < runs and refused < _MOST_REFUSED * runs:
        rng = np.random.default_rng(seed)
        seed += 1
        setting = source.proven(promise, rng)
        if setting < 0:
            refused += 1
            continue
        for kind, its in found.items():
            its.append(stream(source, setting, promise, share, rng, drifts=kind == "drift"))
    drifted, calm = found["drift"], found["none"]
    units = source.drops.shape[1]
    broken = [one for one in drifted if one.drop_now > promise.max_drop]
    delays = [one.delay for one in broken if one.delay is not None]
    return {
        "max_drop": promise.max_drop,
        "confidence": 1.0 - promise.alpha,
        "share": share,
        "graded": GRADED,
        "requests": REQUESTS,
        "runs": len(drifted),
        "refused": refused,
        "broken_by_drift": len(broken),
        "false_claims": float(np.mean([one.claimed for one in drifted])),
        "promise_broken_over_stream": float(
            np.mean([one.drop > promise.max_drop for one in drifted])
        ),
        "promise_broken_without_watch": float(
            np.mean([one.drop_now > promise.max_drop for one in drifted])
        ),
        "graded_until_refuted": float(np.median(delays)) * GRADED if delays else None,
        "false_alarms_all_traffic": float(np.mean([one.fallen for one in calm])),
        "alarms_per_unit": float(np.mean([one.alarms for one in calm])) / units,
        "false_alarms_per_unit": float(np.mean([one.false_alarms for one in calm])) / units,
        "saved": float(np.mean([one.saved for one in calm])),
        "saved_fixed": float(np.mean([one.saved_fixed for one in calm])),
        "share_of_savings": float(
            np.mean([one.saved for one in calm]) / np.mean([one.saved_fixed for one in calm])
        ),
    }
