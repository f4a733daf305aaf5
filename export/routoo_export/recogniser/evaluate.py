"""Judgement of what is recognised: tasks, calibration, lengths, beside the plainest recipe."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union

from routoo_export.outcomes.kinds import TASK_KINDS
from routoo_export.outcomes.taxonomy import shipped_taxonomy
from routoo_export.recogniser.examples import Example

FloatArray = NDArray[np.float32]

BINS: Final = 10
FACTOR: Final = 3.0


@dataclass(frozen=True, slots=True)
class Recognition:
    """Figures over n prompts.

    Attributes:
        prompts: n.
        kind: Share whose kind is the likeliest.
        among_three: Share whose kind is among the three likeliest.
        group: Share whose group is the likeliest.
        calibration_error: Expected calibration error of the likeliest kind, in ten bins.
        log_loss: Mean negative log likelihood of the kind.
    """

    prompts: int
    kind: float
    among_three: float
    group: float
    calibration_error: float
    log_loss: float

    @classmethod
    def of(cls, tasks: FloatArray, kinds: NDArray[np.int64]) -> "Recognition":
        """Judge probabilities [n, t] by the true kinds [n]."""
        names = shipped_taxonomy().groups
        groups = np.unique(names, return_inverse=True)[1]
        of_group = np.stack([tasks[:, groups == at].sum(axis=1) for at in range(groups.max() + 1)])
        ranked = np.argsort(-tasks, axis=1, kind="stable")
        sure, right = tasks.max(axis=1), ranked[:, 0] == kinds
        bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
        count = np.bincount(bins, minlength=BINS)
        apart = np.bincount(bins, sure - right, minlength=BINS)
        likelihood = tasks[np.arange(len(kinds)), kinds]
        return cls(
            prompts=len(kinds),
            kind=float(right.mean()),
            among_three=float((ranked[:, :3] == kinds[:, None]).any(axis=1).mean()),
            group=float((of_group.argmax(axis=0) == groups[kinds]).mean()),
            calibration_error=float(np.abs(apart).sum() / count.sum()),
            log_loss=float(-np.log(np.maximum(likelihood, 1e-12)).mean()),
        )


def error_by_chance(tasks: FloatArray, draws: int = 500) -> float:
    """The calibration error that these probabilities [n, t] have on average if all are true.

    Few prompts in a bin are right more or less often than they should by chance alone, so that even
    perfect probabilities have an error; on 150 prompts it is about 0.07.
    """
    random = np.random.default_rng(0)
    passed = tasks.cumsum(axis=1)
    errors = []
    for _ in range(draws):
        kinds = (passed < random.random((len(tasks), 1)) * passed[:, -1:]).sum(axis=1)
        errors.append(Recognition.of(tasks, kinds).calibration_error)
    return float(np.mean(errors))


@dataclass(frozen=True, slots=True)
class LengthFigures:
    """How near expected lengths are to those that were written down.

    Attributes:
        within_factor: Share within a factor of three.
        of_sum: The sum of the expected lengths over the sum of the true ones.
        constant_within_factor: The share for one length for all, the true mean of the logarithms.
    """

    within_factor: float
    of_sum: float
    constant_within_factor: float

    @classmethod
    def of(cls, expected: FloatArray, true: NDArray[np.int64]) -> "LengthFigures":
        """Judge expected tokens [n] by true ones [n]."""
        off = np.abs(np.log(expected / true))
        typical = np.log(true).mean()
        return cls(
            within_factor=float((off <= np.log(FACTOR)).mean()),
            of_sum=float(expected.sum() / true.sum()),
            constant_within_factor=float((np.abs(np.log(true) - typical) <= np.log(FACTOR)).mean()),
        )


def plain_recipe(trained_on: Sequence[Example], judged: Sequence[Example]) -> FloatArray:
    """Probabilities [n, t] by TF-IDF of characters and words and a logistic regression."""
    features = make_union(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, min_df=2),
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
    )
    model = make_pipeline(features, LogisticRegression(C=10.0, max_iter=100, tol=1e-3))
    model.fit([one.text for one in trained_on], [one.kind for one in trained_on])
    found = np.zeros((len(judged), len(TASK_KINDS)), np.float32)
    found[:, model.classes_] = model.predict_proba([one.text for one in judged])
    return found
