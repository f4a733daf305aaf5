"""The table of the catalogue, and its file: an npz without pickles."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from routoo_export.errors import CatalogueError

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All that is known of m models on t tasks, and of the j tests behind it.

    A file has one array per attribute, names as fixed-width unicode, and ``format``.

    Attributes:
        names: Canonical names, ``provider/name`` or ``provider/name@effort``, str [m].
        tasks: Kinds of task, str [t].
        release: Year of release with the month as a fraction, NaN = unknown, float64 [m].
        score_mean: Expected score on a user's typical prompt, in (0, 1), float64 [m, t].
        score_var: Its variance, float64 [m, t].
        log_tokens: Natural log of the expected visible output tokens, float64 [m, t].
        log_reasoning_tokens: That of the hidden reasoning tokens; 0 = none, float64 [m, t].
        log_tokens_std: Standard deviation of the log of both together, float64 [m, t].
        prompts: Graded prompts behind the score, parts of mixed tests by their weights,
            float64 [m, t].
        benchmarks: Published averages behind it, int64 [m, t].
        ability_mean: Posterior mean abilities in logits, float64 [m, t].
        ability_cov: Their covariances over the tasks, float32 [m, t, t].
        test_name: Names of the tests, str [j].
        test_weights: Part of each task in each test, float64 [j, t].
        test_intercept: Logit of the mean score of ability 0, float64 [j].
        test_slope: Logits per unit of ability, float64 [j].
        test_misfit: Variance in logits that neither ability nor sampling explains, what tests of a
            family share included, float64 [j].
        test_measured: Whether the test is a measurement of the table; otherwise it is an average of
            such, fitted afterwards, bool [j].
        prior_mean: Prior mean abilities, float64 [m, t].
        prior_cov: Prior covariance of a model's abilities, float64 [t, t].
        prior_coefficients: Effects of ``measurements.REGRESSORS`` on its mean, float64 [p, t].
        reference_offset: Logit of the score on users' prompts of ability 0, float64 [t].
        reference_slope: Logits per unit of ability, float64 [].
        transfer_var: Variance in logits between benchmarks and users' prompts, float64 [].
        effort_share: Correlation of two effort levels of one model, float64 [].
    """

    names: tuple[str, ...]
    tasks: tuple[str, ...]
    release: NDArray[np.float64]
    score_mean: NDArray[np.float64]
    score_var: NDArray[np.float64]
    log_tokens: NDArray[np.float64]
    log_reasoning_tokens: NDArray[np.float64]
    log_tokens_std: NDArray[np.float64]
    prompts: NDArray[np.float64]
    benchmarks: NDArray[np.int64]
    ability_mean: NDArray[np.float64]
    ability_cov: NDArray[np.float32]
    test_name: tuple[str, ...]
    test_weights: NDArray[np.float64]
    test_intercept: NDArray[np.float64]
    test_slope: NDArray[np.float64]
    test_misfit: NDArray[np.float64]
    test_measured: NDArray[np.bool_]
    prior_mean: NDArray[np.float64]
    prior_cov: NDArray[np.float64]
    prior_coefficients: NDArray[np.float64]
    reference_offset: NDArray[np.float64]
    reference_slope: float
    transfer_var: float
    effort_share: float

    def __post_init__(self) -> None:
        models, tasks, tests = len(self.names), len(self.tasks), len(self.test_name)
        shapes = {
            "release": (models,),
            "ability_cov": (models, tasks, tasks),
            "test_weights": (tests, tasks),
            "test_intercept": (tests,),
            "test_slope": (tests,),
            "test_misfit": (tests,),
            "test_measured": (tests,),
            "prior_cov": (tasks, tasks),
            "reference_offset": (tasks,),
        } | dict.fromkeys(_PER_MODEL_AND_TASK, (models, tasks))
        for name, shape in shapes.items():
            found = getattr(self, name).shape
            if found != shape:
                raise CatalogueError(
                    f"catalogue: {name} has shape {found}, not {shape}; build it anew"
                )

    def row(self, name: str) -> int:
        """The place of a model.

        Raises:
            CatalogueError: the catalogue has no such model; the message names the nearest.
        """
        if name not in self.names:
            raise CatalogueError(f"the catalogue has no model {name!r}{nearest(name, self.names)}")
        return self.names.index(name)


_PER_MODEL_AND_TASK: Final = (
    "score_mean",
    "score_var",
    "log_tokens",
    "log_reasoning_tokens",
    "log_tokens_std",
    "prompts",
    "benchmarks",
    "ability_mean",
    "prior_mean",
)


def nearest(name: str, known: tuple[str, ...]) -> str:
    """Words that name the known names that are nearest to ``name``, for the end of a message."""
    from difflib import get_close_matches  # noqa: PLC0415 - only errors need it

    found = get_close_matches(name, known, n=3, cutoff=0.4)
    return f"; the nearest are {', '.join(found)}" if found else ""


def write_catalogue(path: Path, catalogue: Catalogue, *, compact: bool = False) -> None:
    """Write a catalogue; its bytes depend on nothing but the catalogue.

    Args:
        path: The file.
        catalogue: The catalogue.
        compact: Write numbers in float32, for a file that ships: 7 digits and about 1 MB.
    """
    arrays = {one.name: np.asarray(getattr(catalogue, one.name)) for one in fields(Catalogue)}
    if compact:
        arrays = {
            name: values.astype(np.float32) if values.dtype == np.float64 else values
            for name, values in arrays.items()
        }
    arrays["format"] = np.asarray(FORMAT)
    np.savez_compressed(path, allow_pickle=False, **arrays)


def read_catalogue(path: Path) -> Catalogue:
    """Read a catalogue.

    Raises:
        CatalogueError: the file is missing, of another format, or lacks an array.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise CatalogueError(f"{path}: not a catalogue ({error}); build it anew") from error
    if int(arrays.pop("format", -1)) != FORMAT:
        raise CatalogueError(f"{path}: not a catalogue of format {FORMAT}; build it anew")
    missing = sorted({one.name for one in fields(Catalogue)} - arrays.keys())
    if missing:
        raise CatalogueError(f"{path}: {missing[0]} is missing; build it anew")
    for name, values in arrays.items():
        if values.dtype.kind == "f" and name != "release" and not np.isfinite(values).all():
            raise CatalogueError(f"{path}: {name} has values that are not finite; build it anew")
    names = {name: tuple(arrays[name].tolist()) for name in ("names", "tasks", "test_name")}
    for name in arrays.keys() - {"ability_cov"}:
        if arrays[name].dtype == np.float32:
            arrays[name] = arrays[name].astype(np.float64)
    numbers = {
        name: float(arrays[name]) for name in ("reference_slope", "transfer_var", "effort_share")
    }
    return Catalogue(**{**arrays, **names, **numbers})
