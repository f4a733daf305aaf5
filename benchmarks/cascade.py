"""Escalation on real outcomes: cost and quality beside routing alone, on held-out prompts.

mmlu_pro: a pair of cheap models answers every prompt, both are paid for, and whether their answers
agree is the signal; the rule then keeps an answer or asks a more expensive model. "cascade" is the
policy of that name, which begins with the pair only where that is worth more than asking one model
at once.

gsm8k_cascade: Mixtral answers every prompt, and the signal is a grade of its answer that needs no
other model: a logistic regression on what the answer itself shows (does it end as asked, how many
equations, how many words, is its number whole, does it repeat a number of the question). Whether
Mixtral and gpt-4 agree is in the file, too, but nobody knows it before paying for gpt-4, so it is
not used.

Routing alone sends each prompt to one model by the predicted scores, over the same models. It is
shown as it is, and with its scores recalibrated on the labels that the rule is learned from (for
gsm8k with the same features of the question besides), so that what is gained is gained by the
signal. Rules, grades and recalibrations are learned on other prompts than they are judged on; no
question stands on two sides. Each curve is a sweep of the price; between two prices a mixture of
both is taken. Differences are at the same true cost per prompt, with 95 % intervals from a paired
bootstrap over prompts. All cheap calls are part of the cost.

Reads mmlu_pro.parquet and gsm8k_cascade.parquet from the folder in ROUTOO_DATA; prints a table, or
one object with --json.
"""

import re
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.optimize import minimize
from scipy.special import expit

from harness.command import data_folder, make_parser, run
from harness.outcomes.held_out import HeldOut, columns, predictions, read_held_out
from routoo.calibration.cascade import fit, fit_chance
from routoo.routing.pool import ModelSpec, Pool
from routoo.selector.cascade import CascadePlan, Correction, feature_of, judge, log_odds
from routoo.selector.policies.base import Case
from routoo.selector.policies.cascade import Cascade
from routoo.selector.policies.lp import decide
from routoo.selector.reason import Reason
from routoo_export.outcomes.splits import FOLDS, assign_buckets

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
LLAMA, MIXTRAL = "meta-llama/Meta-Llama-3.1-8B-Instruct", "mistralai/Mixtral-8x7B-Instruct-v0.1"
FLASH, LLAMA_70B = "gemini-1.5-flash-002", "meta-llama/Meta-Llama-3.1-70B-Instruct"
GPT_4O, GPT_4 = "gpt-4o-2024-05-13", "gpt-4-1106-preview"
PRICES = np.concatenate(([0.0], np.geomspace(0.3, 30_000.0, 120)))
BOOTSTRAPS = 1_000
SHARES = tuple(tenth / 10 for tenth in range(1, 10))
GRID = np.linspace(0.05, 0.95, 91)


@dataclass(frozen=True)
class Task:
    """n prompts and m models.

    Attributes:
        name: of the task.
        models: names, [m].
        scores: float64 [n, m], predicted.
        costs_usd: float64 [n, m], predicted.
        true_scores: float64 [n, m].
        true_costs_usd: float64 [n, m].
        folds: int64 [n].
        paid: columns of the models that answer every prompt; the first one's answer is kept.
        feature: returns the signal's feature of all rows, float64 [n], given the held-out fold.
        prompt_features: further features of the prompts, float64 [n, k]; None: there are none.
    """

    name: str
    models: tuple[str, ...]
    scores: FloatArray
    costs_usd: FloatArray
    true_scores: FloatArray
    true_costs_usd: FloatArray
    folds: IntArray
    paid: tuple[int, ...]
    feature: Callable[[int], FloatArray]
    prompt_features: FloatArray | None = None


@dataclass(frozen=True)
class Sweep:
    """True scores and costs of the prompts at each price, float64 [prices, n] each."""

    scores: FloatArray
    costs_usd: FloatArray

    @classmethod
    def of(cls, task: Task, choice: IntArray, begun: npt.NDArray[np.bool_]) -> "Sweep":
        """Makes the sweep in which prompt i at price p ends with the answer of choice[p, i].

        Where begun[p, i], the models of ``task.paid`` have answered before, and are paid for.
        """
        rows = np.arange(len(task.scores))
        paid = list(task.paid)
        later = task.true_costs_usd.copy()
        later[:, paid] = 0.0
        after = later[rows, choice] + task.true_costs_usd[:, paid].sum(axis=1)
        costs = np.where(begun, after, task.true_costs_usd[rows, choice])
        return cls(task.true_scores[rows, choice], costs)


def route(task: Task, scores: FloatArray) -> Sweep:
    """Sweeps the prices with routing alone."""
    mask = np.ones(scores.shape, np.bool_)
    choice = [decide(scores, task.costs_usd, mask, one) for one in PRICES.tolist()]
    return Sweep.of(task, np.stack(choice), np.zeros((len(choice), len(scores)), np.bool_))


def escalate(task: Task) -> Sweep:
    """Sweeps the prices with the cheap models asked first always; the rule keeps or escalates."""
    choice = np.empty((len(PRICES), len(task.scores)), np.int64)
    for fold in np.unique(task.folds).tolist():
        held, feature = task.folds == fold, task.feature(fold)
        rule = fit(task.scores[~held], task.true_scores[~held], feature[~held])
        choice[:, held] = judged(task, rule, held, feature)
    return Sweep.of(task, choice, np.ones(choice.shape, np.bool_))


def cascade(task: Task) -> Sweep:
    """Sweeps the prices with policy ``cascade``: the pair is asked first where that is worth it."""
    choice = np.empty((len(PRICES), len(task.scores)), np.int64)
    begun = np.empty(choice.shape, np.bool_)
    for fold in np.unique(task.folds).tolist():
        held, feature = task.folds == fold, task.feature(fold)
        rule = fit(task.scores[~held], task.true_scores[~held], feature[~held])
        chance = fit_chance(task.name, task.scores[~held][:, list(task.paid)], feature[~held])
        policy = Cascade((CascadePlan(*task.paid, rule, chance),))
        after = judged(task, rule, held, feature)
        n = int(held.sum())
        for k, price in enumerate(PRICES.tolist()):
            case = Case(
                scores=task.scores[held],
                costs_usd=task.costs_usd[held],
                mask=np.ones((n, len(task.models)), np.bool_),
                prices=np.full(n, price),
                max_quality_gaps=np.full(n, np.nan),
                tickets=np.arange(n),
            )
            first = policy.choose(case)
            begins = policy.explain(case, first) == Reason.CASCADE
            begun[k, held] = begins
            choice[k, held] = np.where(begins, after[k], first)
    return Sweep.of(task, choice, begun)


def judged(
    task: Task, rule: Correction, held: npt.NDArray[np.bool_], feature: FloatArray
) -> IntArray:
    """Returns the models that the held-out prompts end with at each price, int64 [prices, n]."""
    corrected = rule.apply(task.scores[held], feature[held])
    costs = task.costs_usd[held].copy()
    costs[:, list(task.paid)] = 0.0
    mask = np.ones(costs.shape, np.bool_)
    kept = np.full(len(costs), task.paid[0])
    return np.stack([judge(corrected, costs, mask, kept, one).choice for one in PRICES.tolist()])


def recalibrated(task: Task) -> FloatArray:
    """Returns the predicted scores, each model's corrected on the labels of the other folds."""
    scores = np.empty(task.scores.shape)
    extra = task.prompt_features
    for j in range(scores.shape[1]):
        own = log_odds(task.scores)[:, j : j + 1]
        X = own if extra is None else np.concatenate([own, extra], axis=1)
        for fold in np.unique(task.folds).tolist():
            held = task.folds == fold
            scores[held, j] = logistic(X[~held], task.true_scores[~held, j])(X[held])
    return scores


def logistic(X: FloatArray, y: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Fits a logistic regression with a small ridge on standardised features."""
    mean, spread = X.mean(axis=0), X.std(axis=0) + 1e-9

    def design(at: FloatArray) -> FloatArray:
        return np.concatenate([np.ones((len(at), 1)), (at - mean) / spread], axis=1)

    A = design(X)

    def loss(w: FloatArray) -> tuple[float, FloatArray]:
        u = A @ w
        return (
            float(np.logaddexp(0, u).sum() - y @ u + 0.5 * w[1:] @ w[1:]),
            A.T @ (expit(u) - y) + np.concatenate(([0.0], w[1:])),
        )

    weights = minimize(loss, np.zeros(A.shape[1]), jac=True, method="L-BFGS-B").x
    return lambda at: np.asarray(expit(design(at) @ weights))


def curve(sweep: Sweep, weights: FloatArray, at_usd: FloatArray) -> FloatArray:
    """Returns mean scores at mean costs, [len(weights), len(at_usd)]; NaN below the cheapest."""
    scores, costs = weights @ sweep.scores.T, weights @ sweep.costs_usd.T
    found = np.empty((len(weights), len(at_usd)))
    for one in range(len(weights)):
        order = np.argsort(costs[one], kind="stable")
        found[one] = np.interp(at_usd, costs[one][order], scores[one][order], left=np.nan)
    return found


def compare(task: Task) -> dict[str, Any]:
    """Computes the curves, and how far escalation is above routing at the same cost."""
    n = len(task.scores)
    highest_cost_usd = float(task.true_costs_usd.mean(axis=0).max())
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=BOOTSTRAPS) / n
    weights = np.concatenate([np.full((1, n), 1 / n), weights])
    sweeps = {
        "routing": route(task, task.scores),
        "routing_recalibrated": route(task, recalibrated(task)),
        "escalation": escalate(task),
    }
    if len(task.paid) > 1:
        sweeps["cascade"] = cascade(task)
    at = np.array(SHARES) * highest_cost_usd
    curves = {name: curve(sweep, weights, at) for name, sweep in sweeps.items()}
    grids = {name: curve(sweep, weights, GRID * highest_cost_usd) for name, sweep in sweeps.items()}
    result: dict[str, Any] = {
        "task": task.name,
        "prompts": n,
        "models": list(task.models),
        "answer_every_prompt": [task.models[one] for one in task.paid],
        "their_cost_usd": float(task.true_costs_usd[:, list(task.paid)].sum(axis=1).mean()),
        "most_expensive_model_usd": highest_cost_usd,
        "cost_usd": at.tolist(),
        "scores": {name: found[0].tolist() for name, found in curves.items()},
        "gains": {},
    }
    for other in [name for name in sweeps if not name.startswith("routing")]:
        for name in ("routing", "routing_recalibrated"):
            gains = curves[other] - curves[name]
            mean = np.nanmean(grids[other] - grids[name], axis=1)
            result["gains"][f"{other}_over_{name}"] = {
                "at": [interval(gains[:, k]) for k in range(len(at))],
                "mean_over_costs": interval(mean),
            }
    return result


def interval(values: FloatArray) -> list[float]:
    """Returns the figure, which is the first entry, and its 95 % interval: [value, low, high]."""
    return [float(values[0]), *np.nanquantile(values[1:], [0.025, 0.975]).tolist()]


def mmlu_pro(data: HeldOut, pair: tuple[str, str], models: tuple[str, ...], name: str) -> Task:
    """Makes a task: a pair whose agreement is the signal, and the models that may be asked."""
    at = [data.pool.index[model] for model in models]
    first, second = (data.table[f"pred:{model}"].to_pylist() for model in pair)
    # An answer that could not be read agrees with none.
    agrees = [float(a is not None and a == b) for a, b in zip(first, second, strict=True)]
    feature = np.array([feature_of("agreement", one) for one in agrees])
    return Task(
        name,
        models,
        data.scores[:, at],
        data.costs_usd[:, at],
        data.true_scores[:, at],
        data.true_costs_usd[:, at],
        data.buckets,
        tuple(models.index(model) for model in pair),
        lambda _fold: feature,
    )


def gsm8k(data_dir: Path) -> Task:
    """Makes a task: Mixtral and gpt-4, with a grade of Mixtral's answer as the signal."""
    table = pq.read_table(data_dir / "gsm8k_cascade.parquet")
    prompts = table["prompt"].to_pylist()
    models = (MIXTRAL, GPT_4)
    prices = {MIXTRAL: (0.6, 0.6), GPT_4: (10.0, 30.0)}
    pool = Pool.of(
        tuple(
            ModelSpec(
                name=model,
                usd_per_1m_input_tokens=prices[model][0],
                usd_per_1m_output_tokens=prices[model][1],
                price_status="stated",
                context_window_tokens=32_768,
                time_to_first_token_ms=0,
                time_per_output_token_ms=0,
            )
            for model in models
        )
    )
    scores, costs_usd, _, _ = predictions(prompts, pool)
    folds = assign_buckets(prompts, [None] * len(prompts)) % FOLDS
    true_scores = columns(table, "score", models)
    of_prompt, of_answer = gsm8k_features(table)
    X = np.concatenate([of_answer, of_prompt], axis=1)

    def feature(fold: int) -> FloatArray:
        """Grades all rows, each by a regression that saw neither the row nor the fold."""
        held = folds == fold
        grades = np.empty(len(folds))
        grades[held] = logistic(X[~held], true_scores[~held, 0])(X[held])
        for other in np.unique(folds[~held]).tolist():
            rows = folds == other
            taught = ~held & ~rows
            grades[rows] = logistic(X[taught], true_scores[taught, 0])(X[rows])
        return np.array([feature_of("check", one) for one in grades.tolist()])

    return Task(
        "gsm8k: Mixtral, its answer graded, then gpt-4",
        models,
        scores,
        costs_usd,
        true_scores,
        columns(table, "cost_est", models),
        folds,
        (0,),
        feature,
        of_prompt,
    )


def gsm8k_features(table: pa.Table) -> tuple[FloatArray, FloatArray]:
    """Returns features of the question, [n, 2], and of Mixtral's answer to it, [n, 5]."""
    prompts = table["prompt"].to_pylist()
    answers = [str(one) for one in table[f"answer:{MIXTRAL}"].to_pylist()]
    numbers = [set(re.findall(r"\d+", prompt.replace(",", ""))) for prompt in prompts]
    of_prompt = np.array(
        [[np.log1p(len(p)), len(found)] for p, found in zip(prompts, numbers, strict=True)]
    )
    of_answer = np.array(
        [
            [
                float(marker),
                np.log1p(equations),
                np.log1p(words),
                float(re.fullmatch(r"-?\d+(\.0*)?", answer) is not None),
                float(answer in found),
            ]
            for marker, equations, words, answer, found in zip(
                table[f"has_marker:{MIXTRAL}"].to_pylist(),
                table[f"n_equations:{MIXTRAL}"].to_pylist(),
                table[f"resp_words:{MIXTRAL}"].to_pylist(),
                answers,
                numbers,
                strict=True,
            )
        ]
    )
    return of_prompt, of_answer


def measure(_: Namespace) -> dict[str, Any]:
    """Compares on all tasks."""
    folder = data_folder()
    data = read_held_out(folder)
    tasks = [
        mmlu_pro(data, (MIXTRAL, LLAMA), (LLAMA, MIXTRAL, GPT_4O), "mmlu_pro: Llama-8B, Mixtral"),
        mmlu_pro(
            data, (FLASH, LLAMA_70B), (FLASH, LLAMA_70B, GPT_4O), "mmlu_pro: flash, Llama-70B"
        ),
        mmlu_pro(data, (FLASH, LLAMA_70B), data.pool.names, "mmlu_pro: same pair, whole pool"),
        gsm8k(folder),
    ]
    return {"predictor": data.predictor_version, "tasks": [compare(task) for task in tasks]}


def show(found: dict[str, Any]) -> None:
    """Prints every task."""
    for result in found["tasks"]:
        print_result(result)


def print_result(result: dict[str, Any]) -> None:
    """Prints one task as a table."""
    print(f"\n{result['task']}: {result['prompts']:,} prompts, {len(result['models'])} models")
    names = list(result["scores"])
    print(f"  {'cost':>5}" + "".join(f"{name:>22}" for name in names))
    for k, share in enumerate(SHARES):
        scores = "".join(f"{result['scores'][name][k]:>22.4f}" for name in names)
        print(f"  {share:>5.0%}{scores}")
    for name, gains in result["gains"].items():
        gain, low, high = gains["mean_over_costs"]
        print(f"  {name}: {gain:+.4f} ({low:+.4f} to {high:+.4f}) on average")
        parts = [
            f"{share:.0%} {at[0]:+.4f} ({at[1]:+.4f} to {at[2]:+.4f})"
            for share, at in zip(SHARES, gains["at"], strict=True)
        ]
        if name.endswith("over_routing"):
            print("    " + ", ".join(parts))


def main() -> int:
    return run(make_parser(__doc__).parse_args(), measure, show)


if __name__ == "__main__":
    sys.exit(main())
