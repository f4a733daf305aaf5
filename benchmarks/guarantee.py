"""The accuracy guarantee on real outcomes: labels needed, money saved, and whether it holds.

The prompts of MMLU-Pro that the shipped predictor was not trained on, with all outcomes of the
shipped pool, stand for the traffic: a setting's true drop is its drop over all of them. Labelled
files are drawn from them with replacement, 500 of each size. The guarantee chooses a setting on
each, which is compared with the truth. A refusal costs as much as sending everything to the
reference.

With --drift the promise is watched by graded answers: streams of such prompts, each with a price
that labels have proven, in half of which the model that answers most loses most of its scores and
says nothing of it. A false claim is a stream at whose end the policy still answers and its drop is
above the promise.

With --promotions, candidates that are better and worse than what is in force are judged by logs
with exploration, as ``routoo-export autopilot`` judges them; worse ones are also put in force by
force, to see whether the sequential test takes them back.

Reads mmlu_pro.parquet from the folder in ROUTOO_DATA; prints a table, or one object with --json.
"""

import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from harness.command import data_folder, make_parser, run
from harness.outcomes.drift import measure_drifts
from harness.outcomes.held_out import read_held_out
from harness.outcomes.promotion import measure_promotions, worse_is_taken_back
from routoo.calibration.guarantee import GRID
from routoo.calibration.prices import price_grid
from routoo.selector.guarantee import (
    POWER,
    Promise,
    betting_labels_needed,
    binary_p_values,
    labels_needed,
    last_proven,
)
from routoo.selector.policies.lp import decide

FloatArray = npt.NDArray[np.float64]
REFERENCE = "gpt-4o-2024-05-13"
DROPS = (0.01, 0.02, 0.05)
ALPHA = 0.05
SIZES = (100, 250, 500, 1_000, 2_000, 3_000, 5_000)
RESAMPLES = 500
MOST_LABELS = 1_000_000
SHARE = 0.1


@dataclass(frozen=True)
class Population:
    """The outcomes of k settings on n prompts; the safest setting comes first.

    Attributes:
        prices: float64 [k], score per USD.
        worse: bool [n, k], the reference is right and the policy is not.
        better: bool [n, k], the policy is right and the reference is not.
        drops: float64 [k], mean score of the reference minus that of the policy.
        cost_shares: float64 [k], the policy's true cost over the reference's.
    """

    prices: FloatArray
    worse: npt.NDArray[np.bool_]
    better: npt.NDArray[np.bool_]
    drops: FloatArray
    cost_shares: FloatArray


def read_population(data_dir: Path) -> tuple[Population, str]:
    """Reads the outcomes of the guarantee's settings, and the predictor's version."""
    data = read_held_out(data_dir)
    reference = data.pool.index[REFERENCE]
    prices = price_grid(data.priced, GRID)
    mask = np.ones(data.scores.shape, np.bool_)
    rows = np.arange(len(mask))
    choices = [decide(data.scores, data.costs_usd, mask, one) for one in prices.tolist()]
    against = data.true_scores[:, reference]
    differences = np.stack([data.true_scores[rows, one] - against for one in choices], axis=1)
    costs = np.array([data.true_costs_usd[rows, one].mean() for one in choices])
    return Population(
        prices,
        differences < 0,
        differences > 0,
        -differences.mean(axis=0),
        costs / data.true_costs_usd[:, reference].mean(),
    ), data.predictor_version


def draw(population: Population, labels: int, rng: np.random.Generator) -> Any:
    """Draws files; returns their worse and better prompts by setting, int [RESAMPLES, k] each."""
    n = len(population.worse)
    weights = rng.multinomial(labels, np.full(n, 1.0 / n), size=RESAMPLES).astype(np.float64)
    return tuple(
        np.rint(weights @ cells).astype(np.int64) for cells in (population.worse, population.better)
    )


def measure(population: Population, labels: int, promise: Promise) -> dict[str, float]:
    """Chooses on 500 labelled files of one size, and compares with the truth."""
    worse, better = draw(population, labels, np.random.default_rng(labels))
    chosen = last_proven(binary_p_values(worse, better, labels, promise), promise.alpha)
    proven = chosen >= 0
    broken = proven & (population.drops[chosen] > promise.max_drop)
    return {
        "labels": labels,
        "proven": float(proven.mean()),
        "broken": float(broken.mean()),
        "cost_share": float(np.where(proven, population.cost_shares[chosen], 1.0).mean()),
    }


def labels_for(population: Population, promise: Promise) -> int | None:
    """Returns the size of the smallest file that proves any setting four times in five, if any."""
    low, high = 0, 32
    while measure(population, high, promise)["proven"] < POWER:
        low, high = high, high * 2
        if high > MOST_LABELS:
            return None
    while high - low > max(high // 50, 1):
        middle = (low + high) // 2
        if measure(population, middle, promise)["proven"] < POWER:
            low = middle
        else:
            high = middle
    return high


def hoeffding_bentkus(worse: Any, better: Any, n: int, promise: Promise) -> FloatArray:
    """Returns learn-then-test's default p-value, of the difference scaled to [0, 1]."""
    mean, null = (1.0 + (worse - better) / n) / 2.0, (1.0 + promise.max_drop) / 2.0
    low = np.clip(np.minimum(mean, null), 1e-12, 1.0 - 1e-12)
    divergence = low * np.log(low / null) + (1 - low) * np.log((1 - low) / (1 - null))
    bentkus = np.e * binom.cdf(np.ceil(n * mean), n, null)
    return np.asarray(np.minimum(np.exp(-n * divergence), bentkus))


def hoeffding_bentkus_needed(rates: tuple[float, float], promise: Promise) -> int | None:
    """Returns the labels with which Hoeffding-Bentkus proves a setting four times in five."""
    worse, better = rates
    count = 32
    while count < MOST_LABELS:
        drawn = np.random.default_rng(count).multinomial(
            count, [worse, 1 - worse - better, better], size=2_000
        )
        p = hoeffding_bentkus(drawn[:, 0], drawn[:, 2], count, promise)
        if (p <= promise.alpha).mean() >= POWER:
            return count
        count = int(count * 1.05) + 1
    return None


def compare_tests(population: Population, promise: Promise) -> dict[str, Any]:
    """Returns the labels that each test needs for the setting half way to the cheapest true one."""
    allowed = int(np.flatnonzero(population.drops <= promise.max_drop)[-1])
    setting = allowed // 2
    worse, better = population.worse[:, setting], population.better[:, setting]
    differences = better.astype(np.float64) - worse
    return {
        "cost_share": float(population.cost_shares[setting]),
        "drop": float(population.drops[setting]),
        "exact": labels_needed(differences, promise),
        "betting": betting_labels_needed(differences, promise),
        "hoeffding_bentkus": hoeffding_bentkus_needed(
            (float(worse.mean()), float(better.mean())), promise
        ),
    }


def measure_drop(population: Population, max_drop: float) -> dict[str, Any]:
    """Measures one promise."""
    promise = Promise(max_drop, ALPHA)
    true = population.cost_shares[population.drops <= max_drop]
    return {
        "max_drop": max_drop,
        "confidence": 1.0 - ALPHA,
        "labels_needed": labels_for(population, promise),
        "cheapest_true_cost_share": float(true.min()) if len(true) else None,
        "tests": compare_tests(population, promise) if len(true) else None,
        "sizes": [measure(population, labels, promise) for labels in SIZES],
    }


def measure_promises(options: Namespace) -> dict[str, Any]:
    """Measures all promises, or one that is watched under drift."""
    if options.promotions:
        data = read_held_out(data_folder())
        forced = worse_is_taken_back(data, options.runs // 5)
        return measure_promotions(data, options.runs) | forced
    if options.drift:
        data = read_held_out(data_folder())
        return measure_drifts(data, REFERENCE, Promise(0.05, ALPHA), SHARE, options.runs)
    population, version = read_population(data_folder())
    return {
        "source": "mmlu_pro, held out",
        "prompts": len(population.worse),
        "predictor": version,
        "reference": REFERENCE,
        "settings": len(population.prices),
        "resamples": RESAMPLES,
        "promises": [measure_drop(population, drop) for drop in DROPS],
    }


def show(result: dict[str, Any]) -> None:
    """Prints one table per promise, or the figures under drift one per line."""
    if "promises" not in result:
        for name, value in result.items():
            print(f"{name:>30} {format(value, '.4g') if isinstance(value, float) else value}")
        return
    print(
        f"{result['prompts']:,} prompts, reference {result['reference']},"
        f" predictor {result['predictor']}"
    )
    for promise in result["promises"]:
        tests = promise["tests"]
        if tests is None:
            print(f"\ndrop of at most {promise['max_drop']}: no setting keeps it")
            continue
        labels = promise["labels_needed"]
        needed = "no number of" if labels is None else f"{labels:,}"
        print(
            f"\ndrop of at most {promise['max_drop']}, confidence {promise['confidence']}:"
            f" {needed} labels prove a setting 4 times in 5"
            "\n  cheapest setting that keeps it in truth, of the reference's cost:"
            f" {promise['cheapest_true_cost_share']:.1%}"
            f"\n  labels for a setting at {tests['cost_share']:.1%}: exact {tests['exact']},"
            f" betting {tests['betting']}, Hoeffding-Bentkus {tests['hoeffding_bentkus']}"
        )
        print(f"  {'labels':>8} {'proven':>8} {'broken':>8} {'cost':>8}")
        for size in promise["sizes"]:
            print(
                f"  {size['labels']:>8,} {size['proven']:>8.1%} {size['broken']:>8.1%}"
                f" {size['cost_share']:>8.1%}"
            )


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--drift", action="store_true", help="watch a promise while models drift")
    parser.add_argument("--promotions", action="store_true", help="cycles of the autopilot")
    parser.add_argument(
        "--runs", type=int, default=500, help="streams with --drift, or cycles (500)"
    )
    return run(parser.parse_args(), measure_promises, show)


if __name__ == "__main__":
    sys.exit(main())
