"""LiveBench's published averages: tests, and the output tokens of its release of June 2026."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.catalogue.names import read_livebench_names
from routoo_export.catalogue.scores import MeanScores
from routoo_export.errors import OutcomeError

LIVEBENCH: Final = "livebench"
LIVEBENCH_LICENCE: Final = "Apache-2.0"
WEIGHTS: Final[dict[str, dict[str, float]]] = {
    "AMPS_Hard": {"math_hard": 1.0},
    "math_comp": {"math_hard": 1.0},
    "olympiad": {"math_hard": 1.0},
    "integrals_with_game": {"math_hard": 1.0},
    "LCB_generation": {"code_generate": 1.0},
    "code_generation": {"code_generate": 1.0},
    "coding_completion": {"code_generate": 1.0},
    "code_completion": {"code_generate": 1.0},
    "javascript": {"agentic_software": 1.0},
    "typescript": {"agentic_software": 1.0},
    "python": {"agentic_software": 1.0},
    "connections": {"logic_puzzle": 0.6, "brainstorm_creative": 0.4},
    "plot_unscrambling": {"logic_puzzle": 0.5, "summarize": 0.5},
    "cta": {"classify": 1.0},
    "tablejoin": {"extract_structured": 1.0},
    "tablereformat": {"extract_structured": 1.0},
    "consecutive_events": {"extract_structured": 0.5, "logic_puzzle": 0.5},
    # The four tasks of writing are scored by how many of the prompt's instructions are kept.
    "paraphrase": {"rewrite_edit": 0.5, "instruction_constraints": 0.5},
    "simplify": {"rewrite_edit": 0.5, "instruction_constraints": 0.5},
    "story_generation": {"long_writing": 0.5, "instruction_constraints": 0.5},
    "summarize": {"summarize": 0.5, "instruction_constraints": 0.5},
    "typos": {"rewrite_edit": 1.0},
    "web_of_lies_v2": {"logic_puzzle": 1.0},
    "web_of_lies_v3": {"logic_puzzle": 1.0},
    "zebra_puzzle": {"logic_puzzle": 1.0},
    "spatial": {"logic_puzzle": 1.0},
    "logic_with_navigation": {"logic_puzzle": 1.0},
    "theory_of_mind": {"logic_puzzle": 1.0},
}
_QUESTIONS: Final = 50
# The part of a right-or-wrong item's variance that is not common to all models.
_OWN_VARIANCE: Final = 0.6
# Two releases hold the same questions of a task when this share of common models is unchanged.
_SAME_SHARE: Final = 0.7
_SAME_POINTS: Final = 0.02


@dataclass(frozen=True, slots=True)
class LiveBenchRelease:
    """One release of LiveBench.

    Attributes:
        date: Its date, as ``2026_06_25``.
        models: LiveBench's names, [m].
        tasks: LiveBench's tasks, [k].
        points: Averages from 0 to 100, NaN where missing, float64 [m, k].
        categories: The tasks of each category.
    """

    date: str
    models: tuple[str, ...]
    tasks: tuple[str, ...]
    points: NDArray[np.float64]
    categories: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class LiveBenchTokens:
    """Mean output tokens per task, those of hidden reasoning included.

    Attributes:
        models: Canonical names, [m].
        tasks: LiveBench's tasks, [k].
        tokens: Mean output tokens per question, float64 [m, k].
    """

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    tokens: NDArray[np.float64]


def read_releases(data: Path) -> list[LiveBenchRelease]:
    """Read all releases of the data folder, the oldest first."""
    releases = []
    for path in sorted((data / LIVEBENCH).glob("table_*.csv")):
        date = path.stem.removeprefix("table_")
        models, columns, values = _read_table(path)
        text = path.with_name(f"categories_{date}.json").read_text("utf-8")
        releases.append(LiveBenchRelease(date, models, columns, values, json.loads(text)))
    if not releases:
        raise OutcomeError(f"{data / LIVEBENCH}: no tables found; set ROUTOO_DATA")
    return releases


def read_tokens(data: Path) -> LiveBenchTokens:
    """Read the mean output tokens of the newest release that has them."""
    paths = sorted((data / LIVEBENCH).glob("cost_*.csv"))
    if not paths:
        raise OutcomeError(f"{data / LIVEBENCH}: no costs found; set ROUTOO_DATA")
    models, columns, values = _read_table(paths[-1])
    names = read_livebench_names()
    picked = [place for place, column in enumerate(columns) if column.startswith("out_")]
    return LiveBenchTokens(
        models=tuple(names[model] for model in models),
        tasks=tuple(columns[place].removeprefix("out_") for place in picked),
        tokens=values[:, picked],
    )


def livebench_tests(releases: list[LiveBenchRelease]) -> list[MeanScores]:
    """Turn the tables into tests: one per task and set of questions.

    A task whose averages stay the same from one release to the next has kept its questions, so
    both are one test, named after the older release. Where they differ the newest average counts.
    """
    names = read_livebench_names()
    unknown = sorted({model for one in releases for model in one.models} - set(names))
    if unknown:
        raise OutcomeError(f"LiveBench: no canonical name for {unknown[0]!r}; add it to the list")
    tests: dict[str, dict[str, float]] = {}
    current: dict[str, str] = {}
    for release in releases:
        for place, task in enumerate(release.tasks):
            points = {
                names[model]: float(value) / 100.0
                for model, value in zip(release.models, release.points[:, place], strict=True)
                if np.isfinite(value)
            }
            last = current.get(task)
            if last is None or not _same_questions(tests[last], points):
                last = current[task] = f"{LIVEBENCH}_{release.date}.{task}"
                tests[last] = {}
            tests[last].update(points)
    return [_test(name, points) for name, points in tests.items()]


def _same_questions(old: dict[str, float], new: dict[str, float]) -> bool:
    both = [
        abs(old[model] - new[model]) * 100.0 < _SAME_POINTS for model in old.keys() & new.keys()
    ]
    return bool(both) and sum(both) >= _SAME_SHARE * len(both)


def _test(name: str, points: dict[str, float]) -> MeanScores:
    task = name.partition(".")[2]
    means = np.array(list(points.values()))
    return MeanScores(
        name=name,
        weights=WEIGHTS[task],
        source=LIVEBENCH,
        family=f"{LIVEBENCH}.{task}",
        ships=True,
        models=tuple(points),
        mean=means,
        prompts=np.full(len(means), _QUESTIONS),
        item_variance=_OWN_VARIANCE * means * (1.0 - means),
        graded=False,
    )


def _read_table(path: Path) -> tuple[tuple[str, ...], tuple[str, ...], NDArray[np.float64]]:
    with path.open(encoding="utf-8", newline="") as lines:
        header, *rows = csv.reader(lines)
    # A row that lacks values does not say which columns they are of.
    rows = [row for row in rows if len(row) == len(header)]
    values = [[float(value) if value else np.nan for value in row[1:]] for row in rows]
    return tuple(row[0] for row in rows), tuple(header[1:]), np.array(values)
