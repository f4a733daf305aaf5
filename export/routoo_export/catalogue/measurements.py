"""All measurements of models by tests, as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.catalogue.livebench import (
    LiveBenchRelease,
    LiveBenchTokens,
    livebench_tests,
    read_releases,
    read_tokens,
)
from routoo_export.catalogue.names import ModelFacts, parse_name, read_facts
from routoo_export.catalogue.outcome_tests import outcome_tests
from routoo_export.catalogue.scores import MeanLengths, MeanScores
from routoo_export.errors import OutcomeError
from routoo_export.outcomes.kinds import TASK_KINDS
from routoo_export.outcomes.registry import registry

# The products are there because their likelihood is 30 nats higher, and left-out sources are
# predicted better: small models and thinking have gained more with the years than large ones.
REGRESSORS: Final = (
    "release",
    "release_unknown",
    "log_params",
    "params_unknown",
    "thinking",
    "release * log_params",
    "release * thinking",
)
# Outcomes that stand in another source too.
_REPEATED: Final = ("mmlu_joined",)
_RELEASE_CENTRE: Final = 2025.0
_LOG_PARAMS_CENTRE: Final = np.log(30.0)


@dataclass(frozen=True, slots=True)
class Measurements:
    """n measurements of m models (rows of the catalogue) by j tests.

    Attributes:
        names: Canonical name of each model, [m], sorted.
        base: Place of each model's base model, int64 [m].
        effort: Place of each model's base and effort level, int64 [m].
        regressors: Values of REGRESSORS, float64 [m, p].
        test_name: Name of each test, [j].
        test_source: Source of each test, [j].
        test_weights: Part of each kind of task in each test, float64 [j, t].
        test_family: Place of each test's family, int64 [j].
        test_graded: Whether the test's prompts are known one by one, bool [j].
        row: Model of each measurement, int64 [n].
        test: Test of each measurement, int64 [n].
        score: Mean score, float64 [n].
        logit: Its logit, shrunk by half a prompt towards one half, float64 [n].
        variance: Variance of the logit by the choice of prompts, float64 [n].
        prompts: Prompts behind each measurement, int64 [n].
    """

    names: tuple[str, ...]
    base: NDArray[np.int64]
    effort: NDArray[np.int64]
    regressors: NDArray[np.float64]
    test_name: tuple[str, ...]
    test_source: tuple[str, ...]
    test_weights: NDArray[np.float64]
    test_family: NDArray[np.int64]
    test_graded: NDArray[np.bool_]
    row: NDArray[np.int64]
    test: NDArray[np.int64]
    score: NDArray[np.float64]
    logit: NDArray[np.float64]
    variance: NDArray[np.float64]
    prompts: NDArray[np.int64]

    def choose(self, keep: NDArray[np.bool_]) -> "Measurements":
        """The measurements of the mask [n]; models and tests stay as they are."""
        return replace(
            self,
            row=self.row[keep],
            test=self.test[keep],
            score=self.score[keep],
            logit=self.logit[keep],
            variance=self.variance[keep],
            prompts=self.prompts[keep],
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is read of the data folder.

    Attributes:
        tests: Mean scores on tests.
        lengths: Visible output lengths on tests.
        tokens: Output tokens on LiveBench.
        releases: LiveBench's releases.
        facts: Release and size of models by canonical name.
    """

    tests: list[MeanScores]
    lengths: list[MeanLengths]
    tokens: LiveBenchTokens
    releases: list[LiveBenchRelease]
    facts: dict[str, ModelFacts]


def read_evidence(data: Path, *, shipping: bool) -> Evidence:
    """Read all sources of the data folder.

    Args:
        data: The data folder.
        shipping: Only sources whose licence allows shipping.

    Raises:
        OutcomeError: a file is missing or does not fit.
    """
    releases = read_releases(data)
    tests, lengths = livebench_tests(releases), []
    for source in registry().sources:
        # Without prompts there is no split, and the reader of sources refuses the file.
        if source.prompt is None or source.name in _REPEATED or (shipping and not source.ships):
            continue
        of_source, lengths_of_source = outcome_tests(data, source.name)
        tests += of_source
        lengths += lengths_of_source
    return Evidence(tests, lengths, read_tokens(data), releases, read_facts(data))


def gather(tests: Sequence[MeanScores], facts: Mapping[str, ModelFacts]) -> Measurements:
    """Bring tests into arrays.

    Args:
        tests: The tests.
        facts: Release and size by canonical name; models may be missing.

    Raises:
        OutcomeError: there are no tests, or a score is outside of [0, 1].
    """
    if not tests:
        raise OutcomeError("no tests; give at least one source of scores")
    for test in tests:
        if not np.all((test.mean >= 0.0) & (test.mean <= 1.0)):
            raise OutcomeError(f"{test.name}: a mean score is not in [0, 1]; correct the source")
    names = sorted({model for test in tests for model in test.models})
    place = {name: at for at, name in enumerate(names)}
    parsed = [parse_name(name) for name in names]
    families = sorted({test.family for test in tests})
    weights = np.zeros((len(tests), len(TASK_KINDS)))
    for at, test in enumerate(tests):
        for task, weight in test.weights.items():
            weights[at, TASK_KINDS.index(task)] = weight
    score = np.concatenate([test.mean for test in tests])
    prompts = np.concatenate([test.prompts for test in tests])
    shrunk = (score * prompts + 0.5) / (prompts + 1.0)
    own = np.concatenate([test.item_variance for test in tests])
    # A model that got everything right has no variance of its own; one item more would have some.
    own = np.maximum(own, 0.3 * shrunk * (1.0 - shrunk))
    return Measurements(
        names=tuple(names),
        base=_places([one.base for one in parsed]),
        effort=_places([f"{one.base}@{one.effort}" for one in parsed]),
        regressors=regressors(names, facts),
        test_name=tuple(test.name for test in tests),
        test_source=tuple(test.source for test in tests),
        test_weights=weights,
        test_family=np.array([families.index(test.family) for test in tests]),
        test_graded=np.array([test.graded for test in tests]),
        row=np.array([place[model] for test in tests for model in test.models]),
        test=np.repeat(np.arange(len(tests)), [len(test.models) for test in tests]),
        score=score,
        logit=np.log(shrunk / (1.0 - shrunk)),
        variance=own / (prompts * (shrunk * (1.0 - shrunk)) ** 2),
        prompts=prompts,
    )


def regressors(names: Sequence[str], facts: Mapping[str, ModelFacts]) -> NDArray[np.float64]:
    """The values of REGRESSORS of models, float64 [m, p]; an unknown fact is 0 and marked."""
    values = np.zeros((len(names), len(REGRESSORS)))
    for at, name in enumerate(names):
        parsed = parse_name(name)
        known = facts.get(name) or facts.get(parsed.base) or ModelFacts(None, None)
        release, params = known.release, known.params_b
        years = 0.0 if release is None else release - _RELEASE_CENTRE
        size = 0.0 if params is None else (np.log(params) - _LOG_PARAMS_CENTRE) / 2.0
        values[at] = (
            years,
            float(release is None),
            size,
            float(params is None),
            parsed.level,
            years * size,
            years * parsed.level,
        )
    return values


def _places(labels: Sequence[str]) -> NDArray[np.int64]:
    return np.unique(np.array(labels), return_inverse=True)[1].astype(np.int64)
