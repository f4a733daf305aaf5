"""Cycles of the autopilot on real outcomes: candidates of all kinds, promoted, kept, taken back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.outcomes.held_out import HeldOut
from routoo.selector.policies.lp import decide
from routoo.selector.sequential.difference import DifferenceInterval
from routoo.telemetry.decision_log.off_policy.grounds import ValueGrounds
from routoo_export.autopilot.comparison import judge_gain

FloatArray = npt.NDArray[np.float64]
DECISIONS = 5_000
EXPLORED = 0.2
MARGIN = 0.005
ALPHA = 0.05
SHARE = 0.5
# Graded outcomes for which a promoted predictor is watched.
WATCHED = 20_000
# The candidates' own estimates are those in force, drawn towards the truth or away from it.
_SKILLS = (-0.1, 0.1)
_NOISE = 0.05


@dataclass(frozen=True)
class Cycle:
    """One cycle.

    Attributes:
        gain: the candidate's true gain at equal cost, per decision.
        promoted: whether the log's estimate promoted it.
        taken_back: whether the sequential test took it back.
        outcomes: graded outcomes until then; None: it was not.
    """

    gain: float
    promoted: bool
    taken_back: bool = False
    outcomes: int | None = None


def run_cycle(data: HeldOut, price: float, rng: np.random.Generator) -> Cycle:
    """Logs decisions, judges a candidate by them, and watches it if it was promoted."""
    n, m = data.scores.shape
    skill = rng.uniform(*_SKILLS)
    moved = data.scores + skill * (data.true_scores - data.scores)
    candidate = np.clip(moved + rng.normal(0.0, _NOISE * rng.random(), (n, m)), 0.0, 1.0)
    mask = np.ones((n, m), np.bool_)
    now = decide(data.scores, data.costs_usd, mask, price)
    then = decide(candidate, data.costs_usd, mask, price)
    at = np.arange(n)
    worth = data.true_scores - price * data.true_costs_usd
    gain = float((worth[at, then] - worth[at, now]).mean())
    rows = rng.integers(0, n, DECISIONS)
    explored = rng.random(DECISIONS) < EXPLORED
    chosen = np.where(explored, rng.integers(0, m, DECISIONS), now[rows])
    odds = EXPLORED / m + (1.0 - EXPLORED) * (chosen == now[rows])
    names = np.array(data.pool.names)
    grounds = ValueGrounds(
        models=tuple(names[chosen].tolist()),
        others=tuple(names[then[rows]].tolist()),
        propensities=odds,
        matched=chosen == then[rows],
        scores=data.true_scores[rows, chosen],
        costs_usd=data.true_costs_usd[rows, chosen],
        predicted_scores=data.scores[rows, chosen],
        predicted_costs_usd=data.costs_usd[rows, chosen],
        expected_scores=data.scores[rows, then[rows]],
        expected_costs_usd=data.costs_usd[rows, then[rows]],
    )
    judged = judge_gain(grounds, price)
    if judged.refusal or judged.low <= MARGIN:
        return Cycle(gain, promoted=False)
    taken_back, outcomes = watch(worth, then, now, rng)
    return Cycle(gain, promoted=True, taken_back=taken_back, outcomes=outcomes)


def watch(
    worth: FloatArray,
    promoted: npt.NDArray[np.intp],
    before: npt.NDArray[np.intp],
    rng: np.random.Generator,
) -> tuple[bool, int | None]:
    """Tries the version before against the promoted one, by scores less what their costs are worth.

    Args:
        worth: float64 [n, m], of each model's answer to each prompt.
        promoted: int [n], the choices of the promoted predictor.
        before: int [n], those of the one before.
        rng: draws prompts and arms.
    """
    low, high = float(worth.min()), float(worth.max())
    scaled = (worth - low) / (high - low)
    interval = DifferenceInterval(ALPHA, SHARE)
    for count in range(1, WATCHED + 1):
        row = int(rng.integers(0, len(scaled)))
        is_before = bool(rng.random() < SHARE)
        column = before[row] if is_before else promoted[row]
        interval.add(float(scaled[row, column]), is_candidate=is_before)
        if count % 50 == 0:
            if interval.bounds[0] > 0.0:
                return True, count
            if interval.bounds[1] < 0.0:
                break
    return False, None


def measure_promotions(data: HeldOut, cycles: int) -> dict[str, Any]:
    """Measures promotions of better and worse candidates."""
    price = data.priced.price_for(float(np.quantile(data.costs_usd, 0.7)))
    found = [run_cycle(data, price, np.random.default_rng(seed)) for seed in range(cycles)]
    worse = [one for one in found if one.gain < 0.0]
    better = [one for one in found if one.gain > MARGIN]
    wrong = [one for one in worse if one.promoted]
    return {
        "cycles": cycles,
        "worse_candidates": len(worse),
        "worse_promoted": len(wrong),
        "worse_promoted_share_of_cycles": len(wrong) / cycles,
        "worse_promoted_taken_back": sum(one.taken_back for one in wrong),
        "worse_gains": [round(one.gain, 4) for one in wrong],
        "better_candidates": len(better),
        "better_promoted": sum(one.promoted for one in better),
        "better_promoted_taken_back": sum(one.promoted and one.taken_back for one in better),
    }


def worse_is_taken_back(data: HeldOut, runs: int) -> dict[str, Any]:
    """Promotes worse predictors by force, and measures how many are taken back, and when."""
    price = data.priced.price_for(float(data.priced.costs_usd.mean()))
    mask = np.ones(data.scores.shape, np.bool_)
    worth = data.true_scores - price * data.true_costs_usd
    now = decide(data.scores, data.costs_usd, mask, price)
    at, found = np.arange(len(now)), []
    means = data.true_scores.mean(axis=0) - data.scores.mean(axis=0)
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        moved = data.scores - rng.uniform(0.1, 1.0) * 0.5 * means
        noise = rng.normal(0.0, 0.3 * rng.random(), moved.shape)
        worse = decide(np.clip(moved + noise, 0.0, 1.0), data.costs_usd, mask, price)
        gain = float((worth[at, worse] - worth[at, now]).mean())
        if gain < -0.02:
            found.append((gain, *watch(worth, worse, now, rng)))
    counts = [count for _, _, count in found if count is not None]
    return {
        "forced": len(found),
        "forced_taken_back": sum(back for _, back, _ in found),
        "median_outcomes": float(np.median(counts)) if counts else None,
        "mean_loss": float(np.mean([gain for gain, _, _ in found])) if found else None,
    }
