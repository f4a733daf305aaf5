"""Rows corrected by logged decisions against rows trained on every model's outcome.

The rows in force are the shipped artifact's. A log chooses by them at one price, or at one of six,
and explores a share, half of it evenly. Value: mean true score less price times true cost over six
prices on the test buckets; models' mean costs stand for predicted ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.outcomes.logged_values import MODELS, SCORE_OF_LARGEST, SOFTNESS, of_columns
from routoo.predictor.artifact import find_artifact, load_artifact
from routoo_export.outcomes.outcomes import read_outcomes
from routoo_export.outcomes.splits import TEST_BUCKETS, in_buckets
from routoo_export.training.own.logged import fit_log, scores_in_force
from routoo_export.training.own.train import OwnPrompts, train_own
from routoo_export.training.supervision.partial_feedback import LoggedOutcomes

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Doubles = npt.NDArray[np.float64]

SOURCES = ("paretobandit_val", "mmlu_pro", "routerbench")
DECISIONS = 3_000
PRICES = np.array([0.0, 0.03, 0.1, 0.3, 1.0, 3.0])
"""In the price at which the costliest model's mean cost is worth ``SCORE_OF_LARGEST``."""
WAYS = (("one price", PRICES[3:4], 0.02), ("six", PRICES, 0.02), ("six, more", PRICES, 0.2))


def measure_training(data: Path, draws: int) -> list[dict[str, Any]]:
    """Measures the gains over the rows in force of each source and way of logging."""
    return [_measured(data / f"{source}.parquet", draws) for source in SOURCES]


def _measured(path: Path, draws: int) -> dict[str, Any]:
    own = _read(path)
    truth, costs_usd = own.outcomes.scores, own.outcomes.cost_usd
    mean_usd = costs_usd.mean(axis=0)
    prices = PRICES * SCORE_OF_LARGEST / mean_usd.max()
    test = np.flatnonzero(in_buckets(own.outcomes.buckets, TEST_BUCKETS))
    usable = np.flatnonzero(~in_buckets(own.outcomes.buckets, TEST_BUCKETS))
    force = scores_in_force(own, own.outcomes.models)

    def value(scores: Doubles) -> float:
        worth = []
        for price in prices:
            choice = (scores[test] - price * mean_usd).argmax(axis=1)
            worth.append((truth[test, choice] - price * costs_usd[test, choice]).mean())
        return float(np.mean(worth))

    gains: dict[str, list[float]] = {}
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        at = np.sort(rng.permutation(usable)[:DECISIONS])
        part = own.rows(at)
        whole = train_own(part).scores.predict(own.features)
        gains.setdefault("every outcome", []).append(value(whole) - value(force))
        for name, shares, explored in WAYS:
            price = rng.choice(shares * SCORE_OF_LARGEST / mean_usd.max(), len(at))
            log = _logged(part, force[at], price[:, None] * mean_usd, explored, rng)
            table = fit_log(part, log).corrected(own.table)
            moved = scores_in_force(replace(own, table=table), own.outcomes.models)
            gains.setdefault(name, []).append(value(moved) - value(force))
    return {
        "source": path.stem,
        "models": len(own.outcomes.models),
        **{name: round(float(np.mean(found)), 5) for name, found in gains.items()},
    }


def _read(path: Path) -> OwnPrompts:
    """The prompts whose outcomes are known whole, of models that the artifact knows."""
    artifact = load_artifact(find_artifact(None))
    everything = read_outcomes(path, name=path.stem, licence="for measuring")
    assert artifact.table is not None
    rows = [artifact.table.row_of(name) for name in everything.models]
    columns = [everything.models.index(name) for name in MODELS if name in everything.models]
    columns = columns or [at for at, row in enumerate(rows) if row is not None]
    outcomes = of_columns(everything, columns)
    whole = np.isfinite(outcomes.scores + outcomes.cost_usd).all(axis=1)
    return OwnPrompts.read(outcomes.rows(whole), artifact)


def _logged(
    part: OwnPrompts, force: Doubles, charges: Doubles, share: float, rng: np.random.Generator
) -> LoggedOutcomes:
    n, m = force.shape
    every = np.arange(n)
    taste = np.exp((force - force.max(axis=1, keepdims=True)) / SOFTNESS)
    policy = share * (0.5 * taste / taste.sum(axis=1, keepdims=True) + 0.5 / m)
    policy[every, (force - charges).argmax(axis=1)] += 1.0 - share
    chosen = np.minimum((rng.random((n, 1)) > policy.cumsum(axis=1)).sum(axis=1), m - 1)
    scores = np.full((n, m), np.nan)
    scores[every, chosen] = part.outcomes.scores[every, chosen]
    outcomes = replace(part.outcomes, scores=scores)
    return LoggedOutcomes(outcomes, chosen, policy[every, chosen])
