"""The gain from weights and from log-loss in training on logs, on real outcomes.

The data are MMLU-Pro, with a pool of five models and the static features. A predictor is trained on
n prompts and judged by its policy's value on the test buckets: the mean true score minus price
times true cost of the choices argmax(predicted score - price * cost), averaged over prices.
Figures are means over seeds; each seed draws its own prompts, log and initial network, the same for
all that is compared, and standard errors are of paired differences over the seeds.

weights: logs of two policies, one choice per prompt. "hard" sends the prompts that the other models
fail on to the expensive ones, which no feature shows; "domain" prefers models by domain, which the
predictor can see. A tenth of either is uniform exploration. Training without weights, with inverse
propensities, doubly robust, and on the whole outcomes for comparison.

objective: uniform logs; log-loss against squared loss, the finding of arXiv 2403.05385. "plain" is
the network alone, without dropout, shrinkage or closed-form parts, trained for as many steps on few
prompts as on many, until it fits them; "default" is the package's way, whose shrinkages and closed
forms both objectives share. "easy" prompts are those that few of the other models fail on: there
the best choices seldom fail, which is where the paper's bound favours log-loss. sample_ratio: how
many prompts squared loss takes for what log-loss does with one, at the same value; given where the
value rises with the prompts.

values: off-policy values against the truth (``harness/outcomes/logged_values.py``).

Reads the folder in ROUTOO_DATA; prints tables, or one object with --json.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from harness.command import data_folder, make_parser, run
from harness.outcomes.logged_values import measure_values
from routoo.selector.policies.lp import decide
from routoo_export.backbones.static import StaticBackbone
from routoo_export.network.network import predict
from routoo_export.outcomes.outcomes import read_outcomes
from routoo_export.outcomes.splits import TEST_BUCKETS, TRAIN_BUCKETS, in_buckets
from routoo_export.training.heads.objectives import Objective
from routoo_export.training.heads.rows import Rows
from routoo_export.training.heads.train import TrainConfig, fit
from routoo_export.training.supervision.partial_feedback import (
    LoggedOutcomes,
    LogMethod,
    draw_log,
    logged_rows,
)

POOL = (
    "microsoft/Phi-3-mini-4k-instruct",
    "meta-llama/Meta-Llama-3.1-8B-Instruct",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "meta-llama/Meta-Llama-3.1-70B-Instruct",
    "gpt-4o-2024-05-13",
)
"""The models, from cheap to expensive."""
SPARSE = ("deepseek-ai/DeepSeek-Coder-V2",)
PRICES = (0.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0)
WIDTH = 64
MAX_TOKENS = 256
EXPLORATION = 0.1
PREFERENCE = 6.0
VALIDATION_SHARE = 0.2
NO_LIMIT = 1.0e9
LOGS_DRAWN = 200
QUICK_LOGS = 10

DEFAULT = TrainConfig(members=2, hidden=128, bare_share=0.0, fewer_share=0.0, shrink_groups=0)
PLAIN = replace(
    DEFAULT,
    members=1,
    hidden=64,
    batch_size=64,
    dropout=0.0,
    input_dropout=0.0,
    topic_weight=0.0,
    topic_pseudo_count=NO_LIMIT,
    deviation_penalty=0.0,
    realign_ridge=NO_LIMIT,
    platt_slope_count=NO_LIMIT,
    platt_intercept_count=NO_LIMIT,
)
PLAIN_STEPS = 1_200
EASY = 0.35
"""Hardness below which a prompt is easy."""
Way = Literal["plain", "default"]
Method = LogMethod | Literal["whole_outcomes"]
METHODS: tuple[Method, ...] = (*get_args(LogMethod), "whole_outcomes")
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class World:
    """Prompts that the whole pool answered.

    Attributes:
        rows: n prompts.
        hardness: float64 [n], the share of the other models that failed.
    """

    rows: Rows
    hardness: FloatArray

    @property
    def test(self) -> Rows:
        return self.rows.where(in_buckets(self.rows.outcomes.buckets, TEST_BUCKETS))

    def where(self, keep: Mask) -> "World":
        return World(self.rows.where(keep), self.hardness[keep])

    def draw(self, prompts: int, rng: np.random.Generator) -> tuple[Mask, Mask]:
        """Draws ``prompts`` prompts outside the test buckets: masks for training and validation."""
        usable = np.flatnonzero(~in_buckets(self.rows.outcomes.buckets, TEST_BUCKETS))
        drawn = rng.permutation(usable)[:prompts]
        cut = int(VALIDATION_SHARE * prompts)
        train, validation = (np.zeros(len(self.hardness), dtype=np.bool_) for _ in range(2))
        validation[drawn[:cut]] = True
        train[drawn[cut:]] = True
        return train, validation


def read_world(data: Path) -> World:
    """Reads the pool's outcomes, with features of a backbone fitted on the training buckets."""
    everything = read_outcomes(data / "mmlu_pro.parquet", name="mmlu_pro", licence="Apache-2.0")
    columns = [everything.models.index(model) for model in POOL]
    others = [
        j for j, model in enumerate(everything.models) if j not in columns and model not in SPARSE
    ]
    scores, costs = everything.scores[:, columns], everything.cost_usd[:, columns]
    known = np.asarray(np.isfinite(scores + costs).all(axis=1))
    outcomes = replace(
        everything,
        models=POOL,
        scores=scores,
        cost_usd=costs,
        output_tokens=np.full(scores.shape, np.nan),
    ).rows(known)
    train = np.flatnonzero(in_buckets(outcomes.buckets, TRAIN_BUCKETS))
    backbone = StaticBackbone.fit([outcomes.prompts[i] for i in train], WIDTH, MAX_TOKENS)
    features = backbone.features(backbone.encode(outcomes.prompts))
    rows = Rows(outcomes, features, torch.empty(0, *features.shape), backbone.spec.groups)
    return World(rows, 1.0 - np.nanmean(everything.scores[known][:, others], axis=1))


def logging_policy(world: World, kind: str) -> FloatArray:
    """Returns probabilities [n, m]: the softmax of the policy's preference, and exploration."""
    models = len(POOL)
    if kind == "hard":
        preferred = (world.hardness - 0.5)[:, None] * np.linspace(-1.0, 1.0, models)
        utility = PREFERENCE * preferred
    else:
        domains = world.rows.outcomes.domains
        names = sorted({str(domain) for domain in domains})
        taste = np.random.default_rng(0).normal(size=(len(names), models))
        utility = taste[[names.index(str(domain)) for domain in domains]]
    chances = np.exp(utility)
    chances /= chances.sum(axis=1, keepdims=True)
    policy: FloatArray = (1.0 - EXPLORATION) * chances + EXPLORATION / models
    return policy


def policy_value(scores: npt.NDArray[np.floating], test: Rows) -> float:
    """Returns the mean true worth of the choices by ``scores`` [n, m], averaged over PRICES."""
    truth, cost = test.outcomes.scores, test.outcomes.cost_usd
    every, eligible = np.arange(len(cost)), np.ones(cost.shape, dtype=np.bool_)
    values = []
    for price in PRICES:
        choice = decide(scores, cost, eligible, price)
        values.append((truth[every, choice] - price * cost[every, choice]).mean())
    return float(np.mean(values))


def train_and_judge(rows: Rows, masks: tuple[Mask, Mask], test: Rows, config: TrainConfig) -> float:
    """Returns the policy value of a predictor trained and validated on two masks of ``rows``."""
    train, validation = masks
    weights = fit(rows.where(train), rows.where(validation), config)
    return policy_value(predict(weights, test.features)[0], test)


def on_log(world: World, log: LoggedOutcomes, method: Method, seen: Mask, seed: int) -> Rows:
    """Returns the rows ``seen``, with the targets and weights that ``method`` makes of the log."""
    rows = world.rows.where(seen)
    if method == "whole_outcomes":
        return rows
    return logged_rows(rows, log.where(seen), method, replace(DEFAULT, seed=seed))


def measure_weights(world: World, prompts: int, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Measures policy values by logging policy and method."""
    test, table = world.test, []
    for kind in ("hard", "domain"):
        policy = logging_policy(world, kind)
        values: dict[Method, list[float]] = {method: [] for method in METHODS}
        for seed in seeds:
            rng = np.random.default_rng(seed)
            train, validation = world.draw(prompts, rng)
            log = draw_log(world.rows.outcomes, policy, rng)
            seen = train | validation
            for method, found in values.items():
                rows = on_log(world, log, method, seen, seed)
                masks = train[seen], validation[seen]
                found.append(train_and_judge(rows, masks, test, replace(DEFAULT, seed=seed)))
        table += [
            {
                "policy": kind,
                "prompts": prompts,
                "method": method,
                "value": float(np.mean(found)),
                "minus_unweighted": paired(found, values["unweighted"]),
            }
            for method, found in values.items()
        ]
    return table


def config_of(way: Way, prompts: int, objective: Objective, seed: int) -> TrainConfig:
    """Returns the settings of training on ``prompts`` prompts, those for validation included."""
    if way == "default":
        return replace(DEFAULT, objective=objective, seed=seed)
    steps = max(1, int((1.0 - VALIDATION_SHARE) * prompts) // PLAIN.batch_size)
    return replace(PLAIN, objective=objective, seed=seed, epochs=round(PLAIN_STEPS / steps))


def measure_objectives(
    world: World, sizes: Sequence[int], seeds: Sequence[int], way: Way
) -> dict[str, Any]:
    """Measures policy values by objective and number of prompts, on uniform logs."""
    test, models = world.test, len(POOL)
    values: dict[Objective, list[list[float]]] = {objective: [] for objective in OBJECTIVES}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        uniform = np.full(world.rows.outcomes.scores.shape, 1.0 / models)
        log = draw_log(world.rows.outcomes, uniform, rng)
        rows = replace(world.rows, outcomes=log.outcomes)
        drawn = [world.draw(prompts, rng) for prompts in sizes]
        for objective, found in values.items():
            found.append(
                [
                    train_and_judge(rows, masks, test, config_of(way, prompts, objective, seed))
                    for prompts, masks in zip(sizes, drawn, strict=True)
                ]
            )
    log_loss, squared = (np.array(values[objective]) for objective in ("log_loss", "squared"))
    return {
        "way": way,
        "sizes": [
            {
                "prompts": prompts,
                "log_loss": float(log_loss[:, k].mean()),
                "squared": float(squared[:, k].mean()),
                "difference": paired(log_loss[:, k], squared[:, k]),
            }
            for k, prompts in enumerate(sizes)
        ],
        "mean_difference": paired(log_loss.mean(axis=1), squared.mean(axis=1)),
        "sample_ratio": sample_ratio(sizes, log_loss, squared),
    }


def sample_ratio(
    sizes: Sequence[int], log_loss: FloatArray, squared: FloatArray
) -> dict[str, float] | None:
    """Returns how many prompts squared loss needs per prompt of log-loss for the same value.

    ``log_loss`` and ``squared`` are values [seeds, sizes]. Their means are fitted by straight lines
    in the logarithm of the prompts, with one slope for both; None where it does not rise. The
    standard error is that of the difference alone.
    """
    x = np.log(np.asarray(sizes, dtype=np.float64))
    x -= x.mean()
    slope = float(x @ (log_loss + squared).mean(axis=0) / 2.0 / (x @ x))
    if slope <= 0.0:
        return None
    gain = paired(log_loss.mean(axis=1), squared.mean(axis=1))
    ratio = float(np.exp(gain["value"] / slope))
    return {"value": ratio, "se": ratio * gain["se"] / slope}


def paired(a: Sequence[float] | FloatArray, b: Sequence[float] | FloatArray) -> dict[str, float]:
    """Returns the mean of a - b over seeds, and its standard error."""
    difference = np.asarray(a) - np.asarray(b)
    se = float(difference.std(ddof=1) / np.sqrt(len(difference)))
    return {"value": float(difference.mean()), "se": se}


def print_objectives(stratum: str, part: dict[str, Any]) -> None:
    """Prints one way of training on one stratum of the prompts."""
    print(f"\n{stratum}, {part['way']}")
    print(f"{'prompts':>8} {'log-loss':>9} {'squared':>8} {'difference':>18}")
    for row in part["sizes"]:
        gain = row["difference"]
        print(
            f"{row['prompts']:8,} {row['log_loss']:9.4f} {row['squared']:8.4f}"
            f" {gain['value']:+9.4f} +- {gain['se']:.4f}"
        )
    gain, ratio = part["mean_difference"], part["sample_ratio"]
    print(f"all sizes {gain['value']:+.4f} +- {gain['se']:.4f}", end="")
    if ratio is None:
        print("; the value does not rise with the prompts")
    else:
        print(f"; squared loss takes {ratio['value']:.2f} +- {ratio['se']:.2f} times the prompts")


def measure(options: Namespace) -> dict[str, Any]:
    """Makes the comparisons that are asked for."""
    folder = data_folder()
    if options.only == "values":
        return {"values": measure_values(folder, QUICK_LOGS if options.quick else LOGS_DRAWN)}
    torch.set_num_threads(1)
    with threadpool_limits(1):
        world = read_world(folder)
        if options.quick:
            weights = measure_weights(world, 1_000, range(3))
            objectives = {"all": [measure_objectives(world, (2_000, 8_000), range(4), "plain")]}
        else:
            seeds = range(options.seeds)
            weights = [row for n in (1_000, 4_000) for row in measure_weights(world, n, seeds)]
            strata = {
                "all": (world, (1_000, 2_000, 4_000, 8_000)),
                "easy": (world.where(world.hardness < EASY), (500, 1_000, 1_900)),
            }
            objectives = {
                name: [measure_objectives(*stratum, seeds, way) for way in get_args(Way)]
                for name, stratum in strata.items()
            }
    return {"weights": weights, "objectives": objectives}


def print_values(rows: list[dict[str, Any]]) -> None:
    """Prints coverage and widths of off-policy values."""
    print(
        f"{'source':17} {'share':>5} {'n':>7} {'figure':9} {'told':>4} {'cover':>6} {'of IPS':>7}"
    )
    for row in rows:
        told = f"{row['told']:4}" + (
            f" {row['coverage']:6.3f} {row['of_ips']:7.2f}" if row["told"] else ""
        )
        place = f"{row['source']:17} {row['explored_share']:5.2f} {row['decisions']:7,}"
        print(f"{place} {row['figure']:9} {told}")


def show(found: dict[str, Any]) -> None:
    """Prints the comparisons as tables."""
    if "values" in found:
        print_values(found["values"])
        return
    print(f"{'log':8} {'prompts':>8} {'method':20} {'value':>7} {'minus unweighted':>18}")
    for row in found["weights"]:
        gain = row["minus_unweighted"]
        print(
            f"{row['policy']:8} {row['prompts']:8,} {row['method']:20} {row['value']:7.4f}"
            f" {gain['value']:+9.4f} +- {gain['se']:.4f}"
        )
    for stratum, parts in found["objectives"].items():
        for part in parts:
            print_objectives(stratum, part)


def main() -> int:
    parser = make_parser(__doc__, quick="few seeds and prompts: a minute")
    parser.add_argument("--only", choices=["values"], help="what is measured; default: the others")
    parser.add_argument("--seeds", type=int, default=10, help="of the full experiment")
    return run(parser.parse_args(), measure, show)


if __name__ == "__main__":
    sys.exit(main())
