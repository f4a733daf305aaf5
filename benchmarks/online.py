"""Prices that follow a budget, request by request, against the optimum with hindsight.

MMLU-Pro's test prompts, the shipped pool and predictor. The budget is half of what the best single
model would cost. The stream is sent once, at random times within one period of the budget, on a
simulated clock; prices are solved 200 times in a period. Decisions are made from predicted scores
and costs; true scores and costs judge them. Orders: random; sorted by domain, alphabetically; and
domain after domain in a random order. Costs are booked as predicted, and in a second variant the
true cost of each request is settled right after it.

Compared: the linear program over the whole stream (offline); the service's prices (online); PORT's
scheme, a price solved once on the first 2.5 % of the stream (solved_once); one price from the
calibration sample (fixed_price); the cheapest model above a threshold (above_threshold). All have
the same books: a request that the budget cannot pay for gets its cheapest model.

Next, one pass over ParetoBandit's validation set for each of seven budgets: true costs are
settled, half-way a price may fall to a tenth or answers become three times as long, and the whole
limit is to be spent and never passed. Quality is relative to the program with hindsight on the same
predictions.

Next, traffic of three times the limit of its best provider, for a minute, on three models of the
shipped pool (the best, the cheapest and one between them) with the predictor's calibration sample:
the mean predicted score over that of the program with hindsight, with prices and first come, first
served, and the most that any minute had of the limit.

Then, in one process with the real engine: the time of single requests with and without the thread
that solves prices, in alternating rounds.

Reads the outcomes from the folder in ROUTOO_DATA; prints a table, or one object with --json.
"""

import asyncio
import statistics
import sys
import time
from argparse import Namespace
from dataclasses import asdict
from typing import Any

import numpy as np

from harness.budgeted.bandit import BUDGETS_USD, SHIFTS, pass_bandit, read_bandit
from harness.budgeted.stream import (
    RULES,
    IndexArray,
    Passed,
    Stream,
    read_stream,
    run_pass,
    solve_offline,
)
from harness.command import data_folder, make_parser, run
from harness.limited import (
    limited_pool,
    optimum_of,
    run_limited,
    traffic_of,
    worst_minute,
)
from routoo.config.loading import load_settings
from routoo.engine.engine import Engine
from routoo.engine.open_decisions import DecisionIds
from routoo.engine.shared import EngineThreads
from routoo.predictor.base import LonePredictor
from routoo.predictor.onnx import OnnxPredictor
from routoo.pricing.online import OnlinePricing
from routoo.routing.pool import Pool
from routoo.routing.request import PromptRequest
from routoo.selector.policies.base import Case
from routoo.selector.policies.lp import Lp
from routoo.server.assembly import load_components
from routoo.server.budgets import open_accounting
from routoo.telemetry.metrics import Metrics
from routoo_export.outcomes.splits import TEST_BUCKETS, VALIDATION_BUCKETS

ORDERS = ("random", "sorted", "shuffled_domains")
SEEDS = 5
ROUNDS = 20
ROUND_S = 1.0
CONCURRENCIES = (1, 16)
MICRO_BATCHES = (1, 32)
LIMITED_PER_S, LIMITED_S, OVER = 30.0, 60.0, 3
PROMPT = "A train leaves at noon and travels at 80 km/h. How far has it come by half past three?"


def order_of(stream: Stream, kind: str, seed: int) -> IndexArray:
    """Returns an order of the stream; requests of one domain stand in random order."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(stream.scores))
    if kind == "random":
        return shuffled
    names = np.unique(stream.domains)
    ranks = rng.permutation(len(names)) if kind == "shuffled_domains" else np.arange(len(names))
    rank = dict(zip(names.tolist(), ranks.tolist(), strict=True))
    keys = np.array([rank[str(domain)] for domain in stream.domains[shuffled]])
    return shuffled[np.argsort(keys, kind="stable")]


def spread(values: list[float]) -> dict[str, float]:
    """Returns mean and extremes."""
    return {"mean": statistics.fmean(values), "min": min(values), "max": max(values)}


def judge(stream: Stream, passed: Passed, best: IndexArray) -> dict[str, float]:
    """Compares a pass with the offline choice ``best``."""
    rows = np.arange(len(best))

    def mean(figures: Any, choice: IndexArray) -> float:
        return float(figures[rows, choice].mean())

    return {
        "true_quality": mean(stream.true_scores, passed.choice) / mean(stream.true_scores, best),
        "predicted_quality": mean(stream.scores, passed.choice) / mean(stream.scores, best),
        "true_score": mean(stream.true_scores, passed.choice),
        "true_cost_usd": mean(stream.true_costs_usd, passed.choice),
        "spent": passed.spent,
        "overdraft": passed.overdraft,
        "stood_in": float(passed.stood_in),
    }


def measure_streams(stream: Stream, seeds: int) -> dict[str, Any]:
    """Measures every rule on every order."""
    found: dict[str, Any] = {}
    for kind in ORDERS:
        for settles in (False, True):
            for rule in RULES:
                figures = []
                for seed in range(seeds):
                    ordered = stream.ordered(order_of(stream, kind, seed))
                    passed = run_pass(ordered, rule, seed, settles=settles)
                    figures.append(judge(ordered, passed, solve_offline(ordered)))
                key = f"{kind}, {'settled' if settles else 'reserved'}"
                found.setdefault(key, {})[rule] = {
                    name: spread([one[name] for one in figures]) for name in figures[0]
                }
    return found


def measure_budgets(seeds: int) -> dict[str, Any]:
    """Measures the passes over ParetoBandit's prompts, by shift and by mean budget."""
    stream = read_bandit(data_folder())
    found: dict[str, Any] = {}
    for shift in SHIFTS:
        for mean_usd in BUDGETS_USD.tolist():
            passes = [asdict(pass_bandit(stream, mean_usd, seed, shift)) for seed in range(seeds)]
            figures = {name: spread([one[name] for one in passes]) for name in passes[0]}
            found.setdefault(shift, {})[f"{mean_usd:.3g}"] = figures
    return found


def describe(stream: Stream) -> dict[str, float]:
    """Returns the budget, and the results of the optimum and of the best single model."""
    rows = np.arange(len(stream.scores))
    offline = solve_offline(stream)
    best = int(stream.true_scores.mean(axis=0).argmax())
    return {
        "prompts": len(rows),
        "budget_usd_per_request": stream.budget_usd / len(rows),
        "offline_true_score": float(stream.true_scores[rows, offline].mean()),
        "offline_true_cost_usd": float(stream.true_costs_usd[rows, offline].mean()),
        "best_single_true_score": float(stream.true_scores[:, best].mean()),
        "best_single_true_cost_usd": float(stream.true_costs_usd[:, best].mean()),
    }


def measure_micro_batches(stream: Stream) -> dict[str, float]:
    """Returns the median time of a decision alone, one price per row, in milliseconds."""
    found = {}
    for n in MICRO_BATCHES:
        case = Case(
            scores=stream.scores[:n].copy(),
            costs_usd=stream.costs_usd[:n].copy(),
            mask=np.ones(stream.scores[:n].shape, np.bool_),
            prices=np.full(n, 3.0),
            max_quality_gaps=np.full(n, np.nan),
            tickets=np.arange(n, dtype=np.int64),
        )
        policy = Lp()
        times = []
        for _ in range(5_000):
            started = time.perf_counter_ns()
            policy.choose(case)
            times.append((time.perf_counter_ns() - started) / 1e6)
        found[str(n)] = statistics.median(times)
    return found


async def _round(engine: Engine, concurrency: int) -> list[float]:
    """Sends requests on ``concurrency`` lanes for ROUND_S; returns latencies in ms."""
    latencies: list[float] = []
    until = time.perf_counter() + ROUND_S

    async def lane() -> None:
        request = PromptRequest(PROMPT)
        while time.perf_counter() < until:
            started = time.perf_counter()
            await engine.route(request)
            latencies.append((time.perf_counter() - started) * 1e3)

    await asyncio.gather(*(lane() for _ in range(concurrency)))
    return latencies


def _engine() -> Engine:
    settings = load_settings(
        None,
        {"budgets": [{"name": "all", "usd": 1000, "per": "1h", "on_exhausted": "cheapest"}]},
    )
    parts = load_components(settings)
    metrics = Metrics()
    money = open_accounting(settings, parts, metrics.outcomes)
    predictor = OnnxPredictor(parts.artifact, provider="cpu", intra_op_threads=1)
    return Engine(
        source=LonePredictor(predictor),
        pool=parts.pool,
        sample=parts.sample,
        policies=parts.policies,
        accounting=money,
        batching=settings.batching,
        tasks=settings.tasks,
        threads=EngineThreads(DecisionIds("bench")),
        metrics=metrics,
    )


async def measure_thread(rounds: int) -> dict[str, Any]:
    """Measures percentiles over all rounds, with and without the thread that solves prices."""
    with_thread, without = _engine(), _engine()
    assert isinstance(without.accounting.pricing, OnlinePricing)
    without.accounting.pricing.close()
    engines = {"with": with_thread, "without": without}
    found: dict[str, Any] = {}
    for concurrency in CONCURRENCIES:
        rounds_of: dict[str, list[list[float]]] = {name: [] for name in engines}
        for index in range(rounds):
            order = list(engines.items())
            for name, engine in order if index % 2 else reversed(order):
                rounds_of[name].append(await _round(engine, concurrency))
        # All rounds together: on a busy machine one round's p99 is its worst disturbance.
        pooled = {name: np.concatenate(latencies) for name, latencies in rounds_of.items()}
        figures: dict[str, Any] = {
            name: {
                "requests": len(latencies),
                **{f"p{q}_ms": float(np.percentile(latencies, q)) for q in (50, 90, 99)},
            }
            for name, latencies in pooled.items()
        }
        figures["p99_ratio"] = figures["with"]["p99_ms"] / figures["without"]["p99_ms"]
        figures["p99_ratio_by_round"] = spread(
            [
                float(np.percentile(one, 99) / np.percentile(other, 99))
                for one, other in zip(rounds_of["with"], rounds_of["without"], strict=True)
            ]
        )
        found[str(concurrency)] = figures
    for engine in engines.values():
        await engine.close(1.0)
    return found


def measure_limits(seeds: int) -> dict[str, Any]:
    """Measures passes under limits of the best provider, with prices and without."""
    parts = load_components(load_settings(None, {}))
    order = np.argsort(parts.sample.scores.mean(axis=0))
    pool = Pool.of(tuple(parts.pool.models[one] for one in order[[-1, 3, 0]].tolist()))
    columns = parts.artifact.columns_of(pool.predictor_names)
    best = pool.models[0].provider
    found: dict[str, Any] = {}
    for seed in range(seeds):
        traffic = traffic_of(
            pool, parts.artifact.calibration_sample(), columns, LIMITED_PER_S, LIMITED_S, seed
        )
        rows = np.arange(len(traffic))
        wanted = traffic.values.argmax(axis=1)
        held = wanted == 0
        both = traffic.estimates.input_tokens + traffic.estimates.output_tokens
        requests = int(held.sum()) // OVER
        tokens = int(both[rows, wanted][held].sum()) // OVER
        for limits in (
            {"requests_per_minute": requests},
            {"tokens_per_minute": tokens},
            {"requests_per_minute": requests, "tokens_per_minute": int(0.9 * tokens)},
        ):
            limited = limited_pool(pool, best, limits)
            _, most = optimum_of(traffic, limited, LIMITED_S / 60.0)
            for rule, prices in (("prices", True), ("first_come", False)):
                choice = run_limited(traffic, limited, prices=prices)
                scores = np.where(choice >= 0, traffic.estimates.scores[rows, choice], 0.0)
                one = found.setdefault(" and ".join(limits), {}).setdefault(
                    rule, {"quality": [], "worst_minute": []}
                )
                one["quality"].append(float(scores.mean()) / most)
                one["worst_minute"].append(max(worst_minute(traffic, limited, choice)))
    return {
        limits: {
            rule: {name: spread(values) for name, values in figures.items()}
            for rule, figures in rules.items()
        }
        for limits, rules in found.items()
    }


def print_tables(found: dict[str, Any]) -> None:
    """Prints the result as tables."""
    print("  ".join(f"{name} {value:.6g}" for name, value in found["stream"].items()))
    print(f"\n{'order':28} {'rule':16} {'true quality':>24} {'predicted':>10} {'spent':>22}")
    for key, rules in found["streams"].items():
        for rule, one in rules.items():
            quality, spent = one["true_quality"], one["spent"]
            print(
                f"{key:28} {rule:16} {quality['mean']:8.4f} ({quality['min']:.4f}-"
                f"{quality['max']:.4f}) {one['predicted_quality']['mean']:10.4f}"
                f" {spent['mean']:8.4f} ({spent['min']:.4f}-{spent['max']:.4f})"
            )
    print(f"\n{'costs':16} {'mean budget':>12} {'spent':>24} {'quality':>9} {'refused':>8}")
    for shift, budgets in found["budgets"].items():
        for mean_usd, one in budgets.items():
            spent = one["spent"]
            print(
                f"{shift:16} {mean_usd:>12} {spent['mean']:8.4f} ({spent['min']:.4f}-"
                f"{spent['max']:.4f}) {one['quality']['mean']:9.4f} {one['refused']['mean']:8.1f}"
            )
    print(f"\n{'limit of the best provider':40} {'rule':12} {'quality':>24} {'worst minute':>14}")
    for limits, rules in found["limits"].items():
        for rule, one in rules.items():
            quality = one["quality"]
            print(
                f"{limits:40} {rule:12} {quality['mean']:8.4f} ({quality['min']:.4f}-"
                f"{quality['max']:.4f}) {one['worst_minute']['max']:14.4f}"
            )
    for n, took_ms in found["decide_ms"].items():
        print(f"decide, {n} prompts: {took_ms:.4f} ms")
    for concurrency, one in found["thread"].items():
        p99 = [one[name]["p99_ms"] for name in ("with", "without")]
        print(
            f"{concurrency} at once: p99 {p99[0]:.3f} ms with the price thread, {p99[1]:.3f}"
            f" without; ratio {one['p99_ratio']:.3f}"
        )


def measure(options: Namespace) -> dict[str, Any]:
    """Compares the rules, and measures the times."""
    buckets = VALIDATION_BUCKETS if options.validation else TEST_BUCKETS
    stream = read_stream(data_folder(), buckets)
    return {
        "stream": describe(stream),
        "streams": measure_streams(stream, options.seeds),
        "budgets": measure_budgets(options.seeds),
        "limits": measure_limits(options.seeds),
        "decide_ms": measure_micro_batches(stream),
        "thread": asyncio.run(measure_thread(options.rounds)) if options.rounds else {},
    }


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="orders of each kind")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds with and without thread")
    parser.add_argument("--validation", action="store_true", help="not the test prompts: to tune")
    return run(parser.parse_args(), measure, print_tables)


if __name__ == "__main__":
    sys.exit(main())
