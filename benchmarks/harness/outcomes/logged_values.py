"""Off-policy values against the truth: logs resampled from outcomes of which every cell is known.

The logging policy takes the best score minus price times cost, and explores a share of the
decisions: half of it evenly, half in favour of good scores. The other policy decides at a tenth of
the price. Scores and costs are predicted by what was trained on the other folds. A log is drawn
with replacement; the truth is the other policy's mean over all prompts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from routoo.predictor.artifact import find_artifact, load_artifact
from routoo.telemetry.decision_log.off_policy.grounds import ValueGrounds
from routoo.telemetry.decision_log.off_policy.value import judge_policy
from routoo_export.evaluation.own.judge import THIS, cross_validate
from routoo_export.outcomes.outcomes import Outcomes, read_outcomes
from routoo_export.training.own.train import OwnPrompts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    Doubles = npt.NDArray[np.float64]

SOURCES = ("paretobandit_val", "mmlu_pro", "routerbench")
LOGS = ((0.02, 20_000), (0.1, 5_000), (0.1, 20_000))
"""Explored share, and decisions, of the logs."""
MODELS = (
    "microsoft/Phi-3-mini-4k-instruct",
    "meta-llama/Meta-Llama-3.1-8B-Instruct",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "meta-llama/Meta-Llama-3.1-70B-Instruct",
    "gpt-4o-2024-05-13",
)
"""The pool where a source has more models than a pool."""
SCORE_OF_LARGEST = 0.3
"""Score that the costliest model's mean cost is worth at the logging policy's price."""
SOFTNESS = 0.1


@dataclass(frozen=True, slots=True)
class KnownWorld:
    """n prompts that m models answered.

    Attributes:
        scores, costs_usd: float64 [n, m], the truth.
        predicted_scores, predicted_costs_usd: float64 [n, m], held out.
    """

    scores: Doubles
    costs_usd: Doubles
    predicted_scores: Doubles
    predicted_costs_usd: Doubles


def of_columns(everything: Outcomes, columns: Sequence[int]) -> Outcomes:
    """Returns what a source tells of some of its models: scores, lengths and costs."""
    return replace(
        everything,
        models=tuple(everything.models[column] for column in columns),
        scores=np.ascontiguousarray(everything.scores[:, columns]),
        output_tokens=everything.output_tokens[:, columns],
        cost_usd=everything.cost_usd[:, columns],
        input_tokens=None,
        latency_ms=None,
    )


def read_known_world(path: Path) -> KnownWorld:
    """Reads a source, and predicts each fold by the others."""
    everything = read_outcomes(path, name=path.stem, licence="for measuring")
    columns = [everything.models.index(name) for name in MODELS if name in everything.models]
    columns = columns or list(range(len(everything.models)))
    outcomes = of_columns(everything, columns)
    outcomes = outcomes.rows(np.isfinite(outcomes.scores + outcomes.cost_usd).all(axis=1))
    own = OwnPrompts.read(outcomes, load_artifact(find_artifact(None)))
    held = cross_validate(own)
    return KnownWorld(outcomes.scores, outcomes.cost_usd, held.scores[THIS], held.cost_usd[THIS])


def measure_values(data: Path, logs: int) -> list[dict[str, Any]]:
    """Measures coverage and widths of each source, kind of log and figure."""
    rows = []
    for source in SOURCES:
        world = read_known_world(data / f"{source}.parquet")
        for share, decisions in LOGS:
            rows += _measured(source, world, share, decisions, logs)
    return rows


def _measured(
    source: str, world: KnownWorld, share: float, decisions: int, logs: int
) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    n, m = world.scores.shape
    every = np.arange(n)
    price = SCORE_OF_LARGEST / world.costs_usd.mean(axis=0).max()
    usual = (world.predicted_scores - price * world.predicted_costs_usd).argmax(axis=1)
    other = (world.predicted_scores - price / 10.0 * world.predicted_costs_usd).argmax(axis=1)
    best = world.predicted_scores.max(axis=1, keepdims=True)
    taste = np.exp((world.predicted_scores - best) / SOFTNESS)
    chances = share * (0.5 * taste / taste.sum(axis=1, keepdims=True) + 0.5 / m)
    chances[every, usual] += 1.0 - share
    truth = {
        "quality": float(world.scores[every, other].mean()),
        "cost_usd": float(world.costs_usd[every, other].mean()),
    }
    found: dict[str, list[Any]] = {"quality": [], "cost_usd": []}
    for seed in range(logs):
        at = rng.integers(0, n, decisions)
        drawn = (rng.random((decisions, 1)) > chances[at].cumsum(axis=1)).sum(axis=1)
        chosen = np.minimum(drawn, m - 1)
        judged = judge_policy(_grounds(world, at, chosen, other[at], chances), "", seed=seed)
        found["quality"].append(judged.quality)
        found["cost_usd"].append(judged.cost_usd)
    return [
        {
            "source": source,
            "explored_share": share,
            "decisions": decisions,
            "other_choices": float((usual != other).mean()),
            "figure": figure,
            **_summary(judged, truth[figure]),
        }
        for figure, judged in found.items()
    ]


def _grounds(
    world: KnownWorld,
    at: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.int64],
    other: npt.NDArray[np.int64],
    chances: Doubles,
) -> ValueGrounds:
    return ValueGrounds(
        models=tuple(map(str, chosen.tolist())),
        others=tuple(map(str, other.tolist())),
        propensities=chances[at, chosen],
        matched=chosen == other,
        scores=world.scores[at, chosen],
        costs_usd=world.costs_usd[at, chosen],
        predicted_scores=world.predicted_scores[at, chosen],
        predicted_costs_usd=world.predicted_costs_usd[at, chosen],
        expected_scores=world.predicted_scores[at, other],
        expected_costs_usd=world.predicted_costs_usd[at, other],
    )


def _summary(judged: list[Any], truth: float) -> dict[str, Any]:
    """Refusals, coverage of the intervals, and their widths, of one figure's logs."""
    told = [one for one in judged if not one.refusal]
    figures: dict[str, Any] = {"truth": truth, "logs": len(judged), "told": len(told)}
    if not told:
        return figures

    def covers(interval: Any) -> bool:
        return bool(interval.low <= truth <= interval.high)

    widths = [one.robust.interval.high - one.robust.interval.low for one in told]
    return {
        **figures,
        "coverage": float(np.mean([covers(one.robust.interval) for one in told])),
        "bootstrap_coverage": float(np.mean([covers(one.robust.resampled) for one in told])),
        "snips_coverage": float(np.mean([covers(one.weighted.interval) for one in told])),
        "width": float(np.mean(widths)),
        "of_ips": float(np.mean(widths) / np.mean([one.ips_width for one in told])),
        "of_snips": float(
            np.mean(widths)
            / np.mean([one.weighted.interval.high - one.weighted.interval.low for one in told])
        ),
        "bias": float(np.mean([one.robust.value for one in told]) - truth),
    }
