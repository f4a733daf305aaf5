"""Evidence for a new model as linear measurements: graded prompts and published averages.

A measurement is of the 2t numbers of a model: its abilities on t tasks, and how much better it is
on users' prompts of each task than on benchmarks of equal difficulty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.catalogue.livebench import LIVEBENCH
from routoo_export.catalogue.table import Catalogue, nearest
from routoo_export.errors import CatalogueError

# Questions behind a published average, of which the part that all models share does not count.
_QUESTIONS: Final = 100.0


@dataclass(frozen=True, slots=True)
class KnownScore:
    """One measurement.

    Attributes:
        label: Its name in messages.
        value: The logit of the score.
        offset: Logit of ability 0.
        design: Weights of the model's numbers, float64 [2t].
        noise: Variance of the value.
    """

    label: str
    value: float
    offset: float
    design: NDArray[np.float64]
    noise: float


@dataclass(frozen=True, slots=True)
class StackedScores:
    """n measurements.

    Attributes:
        label: Their names, [n].
        value: Logits of the scores, float64 [n].
        offset: Logits of ability 0, float64 [n].
        design: Weights of the model's numbers, float64 [n, 2t].
        noise: Variances of the values, float64 [n].
    """

    label: tuple[str, ...]
    value: NDArray[np.float64]
    offset: NDArray[np.float64]
    design: NDArray[np.float64]
    noise: NDArray[np.float64]


def stack_rows(rows: Sequence[KnownScore], tasks: int) -> StackedScores:
    """Bring measurements into arrays."""
    return StackedScores(
        label=tuple(row.label for row in rows),
        value=np.array([row.value for row in rows]),
        offset=np.array([row.offset for row in rows]),
        design=np.array([row.design for row in rows]).reshape(len(rows), 2 * tasks),
        noise=np.array([row.noise for row in rows]),
    )


def graded_rows(
    catalogue: Catalogue, graded: Mapping[str, tuple[float, float]]
) -> list[KnownScore]:
    """Measurements by a user's graded prompts: mean score and number of prompts per task.

    Raises:
        CatalogueError: a task is not known, a mean is not in [0, 1] or a number not 1 or more.
    """
    rows = []
    for task, (mean, prompts) in graded.items():
        if task not in catalogue.tasks:
            raise CatalogueError(f"no kind of task {task!r}{nearest(task, catalogue.tasks)}")
        if not 0.0 <= mean <= 1.0:
            raise CatalogueError(f"{task}: the mean score {mean} is not in [0, 1]")
        if not prompts >= 1:
            raise CatalogueError(f"{task}: {prompts} graded prompts; give 1 or more")
        at = catalogue.tasks.index(task)
        design = np.zeros(2 * len(catalogue.tasks))
        design[at], design[len(catalogue.tasks) + at] = catalogue.reference_slope, 1.0
        value, noise = _logit(mean, prompts)
        offset = float(catalogue.reference_offset[at])
        rows.append(KnownScore(f"graded {task}", value, offset, design, noise))
    return rows


def benchmark_rows(catalogue: Catalogue, benchmarks: Mapping[str, float]) -> list[KnownScore]:
    """Measurements by published averages in percent.

    Raises:
        CatalogueError: a name is not known, a value is not in percent, or two averages are of the
            same questions.
    """
    rows = []
    found = {label: _test(catalogue, label) for label in benchmarks}
    _refuse_overlaps(catalogue, found)
    for label, percent in benchmarks.items():
        if not 0.0 <= percent <= 100.0 or 0.0 < percent < 1.0:
            raise CatalogueError(f"{label}: {percent} is not in percent; give 1 to 100, or 0")
        test = found[label]
        design = np.zeros(2 * len(catalogue.tasks))
        design[: len(catalogue.tasks)] = catalogue.test_slope[test] * catalogue.test_weights[test]
        value, noise = _logit(percent / 100.0, _QUESTIONS)
        noise += float(catalogue.test_misfit[test])
        offset = float(catalogue.test_intercept[test])
        rows.append(KnownScore(label, value, offset, design, noise))
    return rows


def _logit(mean: float, prompts: float) -> tuple[float, float]:
    """The logit of a mean score, shrunk by half a prompt towards one half, and its variance."""
    share = (mean * prompts + 0.5) / (prompts + 1.0)
    return float(np.log(share / (1.0 - share))), 1.0 / ((prompts + 1.0) * share * (1.0 - share))


def _test(catalogue: Catalogue, label: str) -> int:
    """The place of the test that a name means; ``livebench.X`` is X of the newest release."""
    if label in catalogue.test_name:
        return catalogue.test_name.index(label)
    source, _, part = label.partition(".")
    dated = [
        (name, at)
        for at, name in enumerate(catalogue.test_name)
        if source == LIVEBENCH and name.startswith(f"{LIVEBENCH}_") and name.endswith(f".{part}")
    ]
    if dated:
        return max(dated)[1]
    short = (
        f"{LIVEBENCH}.{one.partition('.')[2]}"
        for one in catalogue.test_name
        if one.startswith(f"{LIVEBENCH}_")
    )
    choices = tuple(dict.fromkeys((*short, *catalogue.test_name)))
    raise CatalogueError(f"no benchmark {label!r}{nearest(label, choices)}")


def _refuse_overlaps(catalogue: Catalogue, found: Mapping[str, int]) -> None:
    """Refuse two names of one test, and averages of different grain over one source's questions."""
    grains: dict[str, dict[str, str]] = {}
    named: dict[int, str] = {}
    for label, test in found.items():
        if test in named:
            raise CatalogueError(f"{named[test]} and {label} are one benchmark; give one of them")
        named[test] = label
        name = catalogue.test_name[test]
        source = LIVEBENCH if name.startswith(LIVEBENCH) else name.partition(".")[0]
        grain = "task" if catalogue.test_measured[test] else "category"
        grain = "average" if name.endswith(".average") else grain
        of_source = grains.setdefault(source, {})
        of_source.setdefault(grain, label)
        if len(of_source) > 1:
            one, other = of_source.values()
            raise CatalogueError(f"{one} and {other} share questions; give only the finer ones")
