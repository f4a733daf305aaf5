"""The predictor hot, and after some milliseconds of idleness, when its caches are cold.

One prompt of some 64 tokens and 32 of them, tokenising included, by the predictor in process on one
core, for the default pool where the artifact can be asked for some models. With several artifacts
they take turns call by call, and ratios to the first one are the medians of the pairs' ratios.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from harness.command import make_parser, run
from routoo.predictor.artifact import load_artifact, shipped_artifact
from routoo.predictor.encoding import PaddedGraph
from routoo.predictor.onnx import OnnxPredictor
from routoo.routing.pool import load_pool

if TYPE_CHECKING:
    from argparse import Namespace

IDLE_S = 0.004
PROMPT = (
    "Explain how the heart pumps blood through the body, and what happens when one of its valves"
    " does not close properly any more; what would a patient notice first, and which tests would a"
    " doctor order to find out? Please answer in plain words for a school class of twelve year old"
    " pupils, with one example each."
)
CASES = (("hot, 1 prompt", 1, 0.0), ("hot, 32 prompts", 32, 0.0), ("idle, 1 prompt", 1, IDLE_S))


def predictor_of(folder: Path) -> OnnxPredictor:
    """Loads and warms up an artifact's predictor."""
    artifact = load_artifact(folder)
    models = None if artifact.table is None else load_pool().predictor_names
    predictor = OnnxPredictor(artifact, provider="cpu", graph=PaddedGraph(artifact, models))
    predictor.warm_up()
    return predictor


def seconds(predictor: OnnxPredictor, prompts: list[str], idle_s: float) -> float:
    """Times one call after so much idleness."""
    if idle_s:
        sleep(idle_s)
    started_s = perf_counter()
    predictor.predict(prompts)
    return perf_counter() - started_s


def measure(options: Namespace) -> dict[str, Any]:
    """Measures all cases with all artifacts in turns."""
    folders = options.artifact or [shipped_artifact()]
    predictors = [predictor_of(folder) for folder in folders]
    calls = 100 if options.quick else 1000
    rows = []
    for name, size, idle_s in CASES:
        prompts = [f"{PROMPT} {at}" for at in range(size)]
        times = np.array(
            [[seconds(one, prompts, idle_s) for one in predictors] for _ in range(calls)]
        )
        for column, predictor in enumerate(predictors):
            fast_s, middle_s = np.percentile(times[:, column], [10, 50]).tolist()
            rows.append(
                {
                    "case": name,
                    "predictor": predictor.version,
                    "p10_ms": 1e3 * fast_s,
                    "p50_ms": 1e3 * middle_s,
                    "ratio_to_first": float(np.median(times[:, column] / times[:, 0])),
                }
            )
    return {"calls": calls, "idle_ms": 1e3 * IDLE_S, "rows": rows}


def show(figures: dict[str, Any]) -> None:
    """Prints the figures as a table."""
    table = Table(box=SIMPLE_HEAD)
    for heading in ("case", "predictor"):
        table.add_column(heading)
    for heading in ("p10 ms", "p50 ms", "of the first"):
        table.add_column(heading, justify="right")
    for row in figures["rows"]:
        table.add_row(
            row["case"],
            row["predictor"],
            f"{row['p10_ms']:.3f}",
            f"{row['p50_ms']:.3f}",
            f"{row['ratio_to_first']:.2f}",
        )
    Console().print(table)


def main() -> int:
    parser = make_parser(__doc__, quick="a tenth of the calls", whole=True)
    parser.add_argument("--artifact", type=Path, action="append", help="version folder; repeatable")
    return run(parser.parse_args(), measure, show)


if __name__ == "__main__":
    sys.exit(main())
