"""A decision log with exploration and grades, made from one of an engine that explored nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from routoo.routing.request import PromptRequest
from support.logged_engine import logged_engine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from routoo.predictor.artifact import Artifact

MODELS = ("small", "medium", "large")
MEANS = {"small": 0.2, "medium": 0.5, "large": 0.9}
"""Chance that an answer of each model is good."""
COSTS_USD = {"small": 0.001, "medium": 0.002, "large": 0.01}


async def write_explored_log(
    artifact: Artifact,
    path: Path,
    *,
    decisions: int = 600,
    share: float = 0.3,
    graded: float = 1.0,
    seed: int = 0,
    tried: tuple[str, ...] = MODELS,
    means: Mapping[str, float] = MEANS,
) -> Path:
    """Writes a log in which a share of the decisions went to a model of ``tried`` by chance.

    Args:
        artifact: predicts the prompts.
        path: where the log is written.
        decisions: their number.
        share: of the decisions that are drawn anew, evenly among ``tried``.
        graded: share of the decisions with a reported score.
        seed: of what is drawn.
        tried: the models that exploration may choose.
        means: the mean score of each model.
    """
    texts = [("easy", "hard", "long")[at % 3] for at in range(decisions)]
    async with logged_engine(artifact, path, log={"prompts": True}) as engine:
        for text in texts:
            await engine.route(PromptRequest(text))
    _explore(path, share, graded, np.random.default_rng(seed), tried, means)
    return path


def _explore(
    path: Path,
    share: float,
    graded: float,
    rng: np.random.Generator,
    tried: tuple[str, ...],
    means: Mapping[str, float],
) -> None:
    lines: list[bytes] = []
    for line in map(orjson.loads, path.read_bytes().splitlines()):
        if line["kind"] != "decision":
            lines.append(orjson.dumps(line))
            continue
        usual = line["model"]
        chances = {
            name: (1.0 - share) * (name == usual) + share / len(tried) * (name in tried)
            for name in MODELS
        }
        line["model"] = str(rng.choice(MODELS, p=list(chances.values())))
        line["propensity"] = min(chances[line["model"]], 1.0)
        lines.append(orjson.dumps(line))
        if rng.random() < graded:
            lines.append(orjson.dumps(_outcome(line, means, rng)))
    path.write_bytes(b"\n".join(lines) + b"\n")


def _outcome(
    line: Mapping[str, Any], means: Mapping[str, float], rng: np.random.Generator
) -> dict[str, Any]:
    model = line["model"]
    return {
        "kind": "outcome",
        "id": line["id"],
        "score": float(rng.random() < means[model]),
        "cost_usd": COSTS_USD[model] * float(rng.uniform(0.5, 1.5)),
    }
