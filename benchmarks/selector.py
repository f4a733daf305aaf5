"""The selector against HiGHS on the whole linear program, on real scores and costs.

Each instance: n prompts of MMLU-Pro, eleven models from small to frontier, one budget a quarter of
the way from the cheapest possible total to what the best scores cost. Two more have a capacity per
model besides, a fifth of the prompts each; one of them takes the outcomes, which are 0 or 1 and tie
often, as scores, the other blends them with each model's mean and noise, as predictions look. One
has each model at four efforts, by the offsets that arms have and noise of their own. HiGHS
gets the program in its best form: sparse matrices built beforehand, each prompt's shares in a row
of ones, coupling rows scaled to a mean of 1 (its tolerances are absolute), closed cells left out.
Of HiGHS only the solve is timed; ours is timed as a whole, with validation and rounding to whole
prompts.

A million prompts, drawn from the same with new noise, are solved in a process of their own, whose
largest resident memory is measured, input arrays included.

Reads mmlu_pro.parquet from the folder in ROUTOO_DATA; prints a table, or one object with --json.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from scipy.optimize import linprog
from scipy.sparse import csr_array

from harness.command import data_folder, make_parser, run
from routoo.routing.arms.efforts import OUTPUT_TOKENS, SCORE_ODDS
from routoo.selector.lp.problem import Assignment, Problem, budget, capacity
from routoo.selector.lp.solve import solve
from routoo.selector.policies.lp import decide, round_scores

MODELS = (
    "Qwen/Qwen1.5-7B-Chat",
    "mistralai/Mistral-7B-Instruct-v0.2",
    "microsoft/Phi-3-mini-4k-instruct",
    "meta-llama/Meta-Llama-3.1-8B-Instruct",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "gemini-1.5-flash-002",
    "meta-llama/Meta-Llama-3.1-70B-Instruct",
    "deepseek-chat-v2",
    "Qwen/Qwen1.5-110B",
    "gemini-1.5-pro-002",
    "gpt-4o-2024-05-13",
)
SIZES = (32, 1_000, 10_000)
QUICK_SIZES = (32, 1_000)
BUDGET_SHARE = 0.25
CAPACITY_SHARE = 0.2
EFFORTS = ("none", "low", "medium", "high")
MICRO_BATCHES = (1, 32)
MANY = 1_000_000
HIGHS_ONCE_OVER = 1_000

FloatArray = npt.NDArray[np.float64]
Outcomes = tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]


def read_outcomes(data_dir: Path) -> Outcomes:
    """Reads scores [n, m], costs in USD [n, m] and a mask of known cells, in random order.

    Prompts that no model of the pool answered are left out.
    """
    columns = [f"{kind}:{model}" for kind in ("score", "cost_est") for model in MODELS]
    table = pq.read_table(data_dir / "mmlu_pro.parquet", columns=columns)
    cells = np.stack([table[name].to_numpy().astype(np.float64) for name in columns], axis=1)
    cells = np.random.default_rng(0).permutation(cells)
    scores = np.ascontiguousarray(cells[:, : len(MODELS)])
    costs = np.ascontiguousarray(cells[:, len(MODELS) :])
    mask = np.isfinite(scores) & np.isfinite(costs)
    kept = mask.any(axis=1)
    return scores[kept], costs[kept], mask[kept]


def predictions_like(outcomes: Outcomes) -> Outcomes:
    """Blends the outcomes with each model's mean and noise, so that scores are continuous."""
    scores, costs, mask = outcomes
    means = np.where(mask, scores, 0.0).sum(axis=0) / mask.sum(axis=0)
    noise = np.random.default_rng(1).normal(0.0, 0.15, scores.shape)
    return round_scores(np.clip(0.5 * scores + 0.5 * means + noise, 0.0, 1.0)), costs, mask


def at_efforts(outcomes: Outcomes) -> Outcomes:
    """Makes predictions for four arms of each model, [n, 4 m], which stand side by side."""
    scores, costs, mask = predictions_like(outcomes)
    known = np.clip(np.where(mask, scores, 0.0), 0.005, 0.995)[:, :, None]
    odds = known / (1.0 - known) * np.array([SCORE_ODDS[one] for one in EFFORTS])
    spread = np.random.default_rng(3).normal(0.0, 0.03, odds.shape)
    arms = round_scores(np.clip(odds / (1.0 + odds) + spread, 0.0, 1.0)).reshape(len(scores), -1)
    factors = np.array([OUTPUT_TOKENS[one] for one in EFFORTS])
    priced = (costs[:, :, None] * factors).reshape(len(scores), -1)
    return arms, priced, np.repeat(mask, len(EFFORTS), axis=1)


def make_problem(outcomes: Outcomes, *, with_capacities: bool) -> Problem:
    """Makes a problem with a budget and, if wanted, a capacity per model."""
    scores, costs, mask = outcomes
    n, m = scores.shape
    least = np.where(mask, costs, np.inf).min(axis=1).sum()
    values = np.where(mask, scores, -np.inf)
    best = values == values.max(axis=1, keepdims=True)
    most = np.where(best, costs, np.inf).min(axis=1).sum()
    rows = [budget(costs, float(least + BUDGET_SHARE * (most - least)))]
    if with_capacities:
        rows += [
            capacity(f"capacity:{model}", j, m, float(int(CAPACITY_SHARE * n)))
            for j, model in enumerate(MODELS)
        ]
    return Problem(scores, costs, mask, tuple(rows))


def median_s(call: Callable[[], object], repeats: int) -> float:
    """Returns the median wall-clock time of a call, after one that warms up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def solve_with_highs(problem: Problem) -> tuple[float, float]:
    """Returns the optimum of the whole LP and the seconds that HiGHS took."""
    prompts, models = np.nonzero(problem.mask)
    cells = np.arange(len(prompts))
    usage, limits = [], []
    for row in problem.resources:
        used = np.broadcast_to(row.usage, problem.scores.shape)[prompts, models]
        usage.append(used / used.mean())
        limits.append(row.limit / float(used.mean()))
    coupling = csr_array(np.stack(usage))
    one_model_each = csr_array((np.ones(len(cells)), (prompts, cells)))
    start = time.perf_counter()
    found = linprog(
        -problem.scores[prompts, models],
        A_ub=coupling,
        b_ub=limits,
        A_eq=one_model_each,
        b_eq=np.ones(len(problem.scores)),
        method="highs",
    )
    took_s = time.perf_counter() - start
    assert found.status == 0, found.message
    return -float(found.fun), took_s


def measure(
    name: str, outcomes: Outcomes, own_repeats: int, *, with_capacities: bool = False
) -> dict[str, Any]:
    """Solves one instance both ways."""
    problem = make_problem(outcomes, with_capacities=with_capacities)
    n, m = problem.scores.shape

    def own() -> Assignment:
        return solve(Problem(problem.scores, problem.costs, problem.mask, problem.resources))

    own_s = median_s(own, own_repeats)
    answer = own()
    highs = [solve_with_highs(problem) for _ in range(1 if n > HIGHS_ONCE_OVER else 3)]
    expected, highs_s = highs[0][0], statistics.median(took_s for _, took_s in highs)
    return {
        "instance": name,
        "prompts": n,
        "models": m,
        "rows": len(problem.resources),
        "binding": len(answer.binding),
        "highs_ms": highs_s * 1e3,
        "selector_ms": own_s * 1e3,
        "times_faster": highs_s / own_s,
        "objective": answer.relaxed_value,
        "relative_objective_difference": abs(answer.relaxed_value - expected) / abs(expected),
        "relative_bound_gap": abs(answer.bound - answer.relaxed_value) / abs(answer.bound),
        "gap_after_rounding": answer.gap,
        "budget_used": answer.cost_usd / problem.resources[0].limit,
    }


def measure_micro_batch(outcomes: Outcomes, prompts: int, repeats: int) -> dict[str, float]:
    """Times the decision at a given price for one micro-batch."""
    price = float(solve(make_problem(outcomes, with_capacities=False)).prices[0])
    scores, costs, mask = (array[:prompts].copy() for array in outcomes)
    took_s = median_s(lambda: decide(scores, costs, mask, price), repeats)
    return {"prompts": prompts, "models": scores.shape[1], "decide_ms": took_s * 1e3}


def many(outcomes: Outcomes) -> Outcomes:
    """Draws a million prompts from the outcomes, each with noise of its own."""
    rng = np.random.default_rng(2)
    drawn = rng.integers(0, len(outcomes[0]), MANY)
    scores, costs, mask = (array[drawn] for array in predictions_like(outcomes))
    scores += rng.normal(0.0, 0.02, scores.shape)
    return round_scores(np.clip(scores, 0.0, 1.0, out=scores)), costs, mask


def measure_many(outcomes: Outcomes) -> dict[str, Any]:
    """Solves a million prompts under one budget, in this process."""
    problem = make_problem(many(outcomes), with_capacities=False)
    before_mb = peak_mb()
    times: list[tuple[float, float]] = []
    for _ in range(3):
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        answer = solve(Problem(problem.scores, problem.costs, problem.mask, problem.resources))
        times.append((time.perf_counter() - start_s, time.process_time() - start_cpu_s))
    return {
        "prompts": MANY,
        "models": len(MODELS),
        "selector_s": statistics.median(took_s for took_s, _ in times),
        "selector_cpu_s": statistics.median(cpu_s for _, cpu_s in times),
        "relative_bound_gap": abs(answer.bound - answer.relaxed_value) / abs(answer.bound),
        "gap_after_rounding": answer.gap,
        "budget_used": answer.cost_usd / problem.resources[0].limit,
        "peak_mb_before": before_mb,
        "peak_mb": peak_mb(),
    }


def peak_mb() -> float:
    """Returns the largest resident memory of this process so far, in MB (10^6 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def measure_many_apart() -> dict[str, Any]:
    """Runs ``measure_many`` in a process that holds nothing else."""
    command = [sys.executable, __file__, "--many-only", "--json"]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    measured: dict[str, Any] = json.loads(told.stdout)
    return measured


def first(outcomes: Outcomes, n: int) -> Outcomes:
    """Returns the first n prompts."""
    scores, costs, mask = outcomes
    return scores[:n], costs[:n], mask[:n]


def measure_all(options: Namespace) -> dict[str, Any]:
    """Measures all instances, or the million prompts alone."""
    outcomes = read_outcomes(data_folder())
    if options.many_only:
        return measure_many(outcomes)
    sizes = QUICK_SIZES if options.quick else SIZES
    instances = [measure("budget", first(outcomes, n), own_repeats=21) for n in sizes]
    for name, scores in (("outcomes", outcomes), ("predictions", predictions_like(outcomes))):
        part = first(scores, sizes[-1])
        instances.append(measure(f"capacities, {name}", part, own_repeats=7, with_capacities=True))
    arms = at_efforts(outcomes)
    instances.append(measure("budget, four arms each", first(arms, sizes[-1]), own_repeats=21))
    return {
        "instances": instances,
        "micro_batches": [
            measure_micro_batch(some, n, 2_000) for some in (outcomes, arms) for n in MICRO_BATCHES
        ],
        "million": None if options.quick else measure_many_apart(),
    }


def show(found: dict[str, Any]) -> None:
    """Prints one line per instance."""
    print(
        f"{'instance':24} {'prompts':>8} {'rows':>5} {'HiGHS ms':>10} {'ours ms':>9} {'times':>7}"
        f" {'objective diff':>15} {'whole gap':>10}"
    )
    for row in found["instances"]:
        print(
            f"{row['instance']:24} {row['prompts']:8,} {row['rows']:5} {row['highs_ms']:10.1f}"
            f" {row['selector_ms']:9.3f} {row['times_faster']:7.0f}"
            f" {row['relative_objective_difference']:15.1e} {row['gap_after_rounding']:10.1e}"
        )
    for row in found["micro_batches"]:
        print(
            f"decide, prompts at once: {row['prompts']}, {row['models']} columns,"
            f" {row['decide_ms'] * 1e3:.1f} us"
        )
    million = found["million"]
    if million is not None:
        print(
            f"one budget, {MANY:,} prompts: {million['selector_s']:.2f} s"
            f" ({million['selector_cpu_s']:.2f} s of CPU), {million['peak_mb']:.0f} MB at most,"
            f" whole gap {million['gap_after_rounding']:.1e}"
        )


def main() -> int:
    parser = make_parser(__doc__, quick="leave out 10,000 prompts and a million")
    parser.add_argument(
        "--many-only", action="store_true", help="only the million prompts; always JSON"
    )
    options = parser.parse_args()
    options.json |= options.many_only
    return run(options, measure_all, show)


if __name__ == "__main__":
    sys.exit(main())
