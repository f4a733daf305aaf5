"""The quality of models that are added from few graded prompts, against full training.

On MMLU-Pro, static features. Five of its 31 models, spread evenly over the range of ability, are
left out of training and then added one by one, each from k prompts drawn at random from the
training buckets; the draws are repeated. "everything" is a predictor trained on all models and all
training prompts. Judged on the test buckets: AUC, log-loss and ECE are means over the five models;
value is the mean true score minus price times true cost of the choices among all 31 models, in
points (1/100), averaged over a range of prices. Standard errors are over the test prompts
(bootstrap); those of differences to "everything" are paired. mean_score_se is the standard error
that onboarding claims for a model's mean score; mean_score_error is the root mean square of the
real error on the test prompts, whose own sampling error it includes.

The widths of the prior (``NewcomerPrior``) were chosen on six other models of the same source.

Reads mmlu_pro.parquet and prices.csv from the folder in ROUTOO_DATA; prints a table, or one object
with --json.
"""

import sys
from argparse import Namespace
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from harness.command import data_folder, make_parser, run
from routoo.selector.policies.lp import decide
from routoo_export.artifact.onboarding import Graded, Known, NewcomerPrior, add_newcomer
from routoo_export.backbones.static import StaticBackbone
from routoo_export.evaluation.metrics import auc, expected_calibration_error, log_loss
from routoo_export.network.network import NetworkPrediction, Weights, predict
from routoo_export.outcomes.outcomes import CHARS_PER_TOKEN, Outcomes, read_outcomes
from routoo_export.outcomes.sources import read_prices
from routoo_export.outcomes.splits import (
    TEST_BUCKETS,
    TRAIN_BUCKETS,
    VALIDATION_BUCKETS,
    in_buckets,
)
from routoo_export.training.heads.rows import Rows, make_rows
from routoo_export.training.heads.train import TrainConfig, fit

SPARSE = ("deepseek-ai/DeepSeek-Coder-V2",)
POSITIONS = (3, 9, 15, 21, 27)
"""Positions of the held-out models among the 31, in order of ability."""
COUNTS = (50, 200, 1_000)
DRAWS = 5
QUICK_DRAWS = 1
PRICES = (0.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0)
WIDTH = 256
MAX_TOKENS = 512
RESAMPLES = 200
FIGURES = ("auc", "log_loss", "ece", "value")

Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Test:
    """The judged prompts, without gaps.

    Attributes:
        truth: float64 [n, m], true scores.
        cost_usd: float64 [n, m], true costs.
        input_cost_usd: float64 [n, m], expected costs of the inputs.
        output_price_usd: float64 [m], per output token.
        newcomers: columns of the added models.
    """

    truth: Doubles
    cost_usd: Doubles
    input_cost_usd: Doubles
    output_price_usd: Doubles
    newcomers: tuple[int, ...]

    def choices(self, prediction: NetworkPrediction) -> npt.NDArray[np.intp]:
        """Returns the model of each prompt at each price, [prices, n]."""
        scores = prediction.scores.astype(np.float64)
        costs = self.input_cost_usd + prediction.output_tokens * self.output_price_usd
        everyone = np.ones(scores.shape, dtype=np.bool_)
        return np.stack([decide(scores, costs, everyone, price) for price in PRICES])

    def worth(self, choices: npt.NDArray[np.intp]) -> Doubles:
        """Returns the points of each prompt [n], averaged over the prices."""
        rows = np.arange(len(self.truth))
        points = [
            self.truth[rows, chosen] - price * self.cost_usd[rows, chosen]
            for price, chosen in zip(PRICES, choices, strict=True)
        ]
        worth: Doubles = 100.0 * np.mean(points, axis=0)
        return worth


def judge(test: Test, predictions: list[NetworkPrediction]) -> Doubles:
    """Returns FIGURES [1 + RESAMPLES, figures], means over ``predictions``.

    The first row is of all prompts. The resamples are the same whatever is judged.
    """
    worths = [test.worth(test.choices(prediction)) for prediction in predictions]
    rng, n = np.random.default_rng(0), len(test.truth)
    samples = [np.arange(n), *(rng.integers(0, n, n) for _ in range(RESAMPLES))]
    found = np.empty((len(samples), len(FIGURES)))
    for i, rows in enumerate(samples):
        cells = [
            (test.truth[rows, j], prediction.scores[rows, j].astype(np.float64))
            for prediction in predictions
            for j in test.newcomers
        ]
        found[i] = [
            *(
                np.mean([figure(truth, score) for truth, score in cells])
                for figure in (auc, log_loss, expected_calibration_error)
            ),
            np.mean([worth[rows].mean() for worth in worths]),
        ]
    return found


def estimates(found: Doubles) -> dict[str, dict[str, float]]:
    """Returns value and standard error of each figure."""
    errors = found[1:].std(axis=0, ddof=1)
    return {
        name: {"value": float(value), "se": float(se)}
        for name, value, se in zip(FIGURES, found[0], errors, strict=True)
    }


def without(outcomes: Outcomes, columns: tuple[int, ...]) -> Outcomes:
    """Returns the outcomes without some models."""
    kept = [j for j in range(len(outcomes.models)) if j not in columns]

    def pick(values: Doubles | None) -> Doubles | None:
        return None if values is None else values[:, kept]

    return replace(
        outcomes,
        models=tuple(outcomes.models[j] for j in kept),
        scores=outcomes.scores[:, kept],
        output_tokens=outcomes.output_tokens[:, kept],
        cost_usd=outcomes.cost_usd[:, kept],
        input_tokens=pick(outcomes.input_tokens),
        latency_ms=pick(outcomes.latency_ms),
    )


def held_out_models(outcomes: Outcomes, train: Mask) -> tuple[int, ...]:
    """Returns the columns of the models at POSITIONS by mean score on the training prompts."""
    order = np.argsort(np.nanmean(outcomes.scores[train], axis=0), kind="stable")
    return tuple(int(order[position]) for position in POSITIONS)


def test_of(outcomes: Outcomes, whole: Mask, data: Path, newcomers: tuple[int, ...]) -> Test:
    """Makes the test from the prompts of the mask ``whole``."""
    chars = np.array([len(prompt) for prompt in outcomes.prompts])[whole, None]
    prices = read_prices(data, outcomes.models) / 1.0e6
    return Test(
        truth=outcomes.scores[whole],
        cost_usd=outcomes.cost_usd[whole],
        input_cost_usd=chars / CHARS_PER_TOKEN * prices[:, 0],
        output_price_usd=prices[:, 1],
        newcomers=newcomers,
    )


class Onboarding:
    """A predictor that was trained without the newcomers, to which they are added."""

    def __init__(
        self, rows: Rows, test: Mask, newcomers: tuple[int, ...], config: TrainConfig
    ) -> None:
        self._outcomes, self._newcomers = rows.outcomes, newcomers
        self._train = in_buckets(rows.outcomes.buckets, TRAIN_BUCKETS)
        base = replace(rows, outcomes=without(rows.outcomes, newcomers))
        self._weights = trained(base, config)
        self._known = Known.of(self._weights, rows.features)
        self._features = rows.features[torch.from_numpy(test)]
        self._judged = self._known.rows(np.flatnonzero(test))
        models = len(rows.outcomes.models)
        joined = [*(j for j in range(models) if j not in newcomers), *newcomers]
        self._order = np.argsort(joined)

    def predict(self, count: int, seed: int) -> tuple[NetworkPrediction, list[tuple[float, float]]]:
        """Adds the newcomers from ``count`` prompts each, and predicts.

        Returns:
            The prediction of all models in the order of the outcomes, and each newcomer's mean
            score with its claimed error.
        """
        weights, means = self._weights, []
        rng = np.random.default_rng(seed)
        for j in self._newcomers:
            scores = self._outcomes.scores[:, j]
            present = np.flatnonzero(self._train & ~np.isnan(scores))
            graded = rng.choice(present, count, replace=False)
            outcome = Graded(scores[graded], self._outcomes.output_tokens[graded, j])
            known = self._known.rows(graded)
            weights, newcomer = add_newcomer(weights, known, outcome, NewcomerPrior())
            means.append(newcomer.mean_score(self._judged))
        found = predict(weights, self._features)
        order = self._order
        return NetworkPrediction(
            found.scores[:, order],
            found.output_tokens[:, order],
            found.score_std[:, order],
            found.ood,
        ), means


def trained(rows: Rows, config: TrainConfig) -> Weights:
    """Trains weights on the training and validation buckets."""
    train = in_buckets(rows.outcomes.buckets, TRAIN_BUCKETS)
    held = in_buckets(rows.outcomes.buckets, VALIDATION_BUCKETS)
    return fit(rows.where(train), rows.where(held), config)


def measure(data: Path, *, quick: bool) -> dict[str, Any]:
    """Measures everything that is printed."""
    outcomes = read_outcomes(data / "mmlu_pro.parquet")
    sparse = tuple(j for j, model in enumerate(outcomes.models) if model in SPARSE)
    outcomes = without(outcomes, sparse)
    train = in_buckets(outcomes.buckets, TRAIN_BUCKETS)
    known = [outcomes.prompts[i] for i in np.flatnonzero(train)]
    config = TrainConfig()
    rows = make_rows(outcomes, StaticBackbone.fit(known, WIDTH, MAX_TOKENS), config.seed)
    missing = np.isnan(outcomes.scores) | np.isnan(outcomes.cost_usd)
    whole = in_buckets(outcomes.buckets, TEST_BUCKETS) & ~missing.any(axis=1)
    newcomers = held_out_models(outcomes, train)
    test = test_of(outcomes, whole, data, newcomers)
    features = rows.features[torch.from_numpy(whole)]
    everything = judge(test, [predict(trained(rows, config), features)])
    onboarding = Onboarding(rows, whole, newcomers, config)
    table = []
    for count in COUNTS:
        draws = [onboarding.predict(count, seed) for seed in range(QUICK_DRAWS if quick else DRAWS)]
        found = judge(test, [prediction for prediction, _ in draws])
        means = np.array([means for _, means in draws])
        actual = test.truth[:, newcomers].mean(axis=0)
        table.append(
            {
                "graded_prompts": count,
                **estimates(found),
                "minus_everything": estimates(found - everything),
                "mean_score_se": float(means[..., 1].mean()),
                "mean_score_error": float(np.sqrt(((means[..., 0] - actual) ** 2).mean())),
            }
        )
    return {
        "held_out": [outcomes.models[j] for j in newcomers],
        "test_prompts": len(test.truth),
        "everything": estimates(everything),
        "onboarded": table,
    }


def print_table(result: dict[str, Any]) -> None:
    """Prints one line per number of graded prompts."""

    def cell(figure: dict[str, float]) -> str:
        return f"{figure['value']:8.4f} ± {figure['se']:.4f}"

    print(f"held out: {', '.join(result['held_out'])}; {result['test_prompts']:,} test prompts")
    print(
        f"{'prompts':>18}" + "".join(f"{name:>18}" for name in FIGURES) + "   mean score: se, off"
    )
    print(f"{'everything':>18}" + "".join(f"{cell(result['everything'][f]):>18}" for f in FIGURES))
    for row in result["onboarded"]:
        errors = f"   {row['mean_score_se']:.4f}, {row['mean_score_error']:.4f}"
        print(
            f"{row['graded_prompts']:>18,}"
            + "".join(f"{cell(row[name]):>18}" for name in FIGURES)
            + errors
        )
        differences = row["minus_everything"]
        print(f"{'- everything':>18}" + "".join(f"{cell(differences[f]):>18}" for f in FIGURES))


def measure_all(options: Namespace) -> dict[str, Any]:
    """Makes the comparison, on one thread."""
    folder = data_folder()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        return measure(folder, quick=options.quick)


def main() -> int:
    parser = make_parser(__doc__, quick="one draw of prompts only")
    return run(parser.parse_args(), measure_all, print_table)


if __name__ == "__main__":
    sys.exit(main())
