"""The tasks of a team's own prompts, as rows by which the graph recognises them.

Named topics come from the outcomes' domains: their rows are a multinomial logistic regression on
the hidden units. Without domains they are the kinds of task that the artifact knows. Each topic is
split along directions d of the hidden units into the 2^d combinations of two sides; the logits of
a combination add up, so that the graph's softmax is the product of the topic's probability and of
one logistic function per direction. A topic as a whole has a row that only a caller who names it
reaches.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from routoo.telemetry.decision_log.prompts.reader import LIFT
from routoo_export.errors import ExportError

FloatArray = NDArray[np.float64]

LEAST_DOMAIN_PROMPTS: Final = 20
LEAST_KIND_SHARE: Final = 0.01
MOST_ROWS: Final = 256
"""Topics times combinations of sides."""
TOLD_OFFSET: Final = 12.0
"""Logits by which a row that has to be named lies below the recognised ones; a caller who names it
adds 40."""
_INVERSE_PENALTIES: Final = (1.0, 10.0, 100.0)
_FEWEST_CLASSES: Final = 2
_SPREAD: Final = 8.0


@dataclass(frozen=True, slots=True)
class Standardised:
    """Hidden units with mean 0 and one deviation, and the way back to rows of the graph.

    Attributes:
        mean: [u].
        scale: What a unit less its mean is divided by; infinite for one that does not vary, [u].
        constant: The unit that is 1 for every prompt and carries the biases.
    """

    mean: FloatArray
    scale: FloatArray
    constant: int

    @classmethod
    def of(cls, hidden: FloatArray) -> "Standardised":
        """Take means and deviations from hidden units [n, u].

        Raises:
            ExportError: no unit is 1 for every prompt.
        """
        spread = hidden.std(axis=0)
        always = np.flatnonzero((spread < 1e-3) & (np.abs(hidden.mean(axis=0) - 1.0) < 1e-2))
        if not always.size:
            raise ExportError(
                "the graph has no unit for biases; train from an artifact of `routoo-export`"
            )
        scale = np.where(spread > 1e-3, _SPREAD * np.maximum(spread, 1e-3), np.inf)
        return cls(hidden.mean(axis=0), scale, int(always[-1]))

    def units(self, hidden: FloatArray) -> FloatArray:
        """Standardised units [n, u]."""
        found: FloatArray = (hidden - self.mean) / self.scale
        return found

    def rows(self, weights: FloatArray, biases: FloatArray) -> FloatArray:
        """Rows [k, u] for hidden units, of weights [k, u] for standardised units and biases [k]."""
        found: FloatArray = weights / self.scale
        found[:, self.constant] += biases - found @ self.mean
        return found


@dataclass(frozen=True, slots=True)
class OwnTopics:
    """Topics, and the directions that split them.

    Attributes:
        names: The k topics.
        rows: Their rows, [k, u].
        directions: Rows of the d directions, [d, u]; a prompt's side is a logistic function.
        constant: The unit that carries the biases.
    """

    names: tuple[str, ...]
    rows: FloatArray
    directions: FloatArray
    constant: int

    @property
    def sides(self) -> FloatArray:
        """The combinations of sides, of -1 and 1, [2^d, d]."""
        d = len(self.directions)
        return np.array(list(product((-1.0, 1.0), repeat=d))).reshape(2**d, d)

    def shares(self, hidden: FloatArray) -> FloatArray:
        """Probabilities of the topics, [n, k]."""
        return np.asarray(softmax(hidden @ self.rows.T, axis=1))

    def tilts(self, hidden: FloatArray) -> FloatArray:
        """The expected side of each direction, in (-1, 1), [n, d]."""
        return np.asarray(np.tanh(0.5 * hidden @ self.directions.T))

    def row_shares(self, hidden: FloatArray) -> FloatArray:
        """Probabilities of all combinations of topic and sides, [n, k * 2^d]."""
        of_sides = np.prod((1.0 + self.tilts(hidden)[:, None] * self.sides) / 2.0, axis=2)
        found: FloatArray = self.shares(hidden)[:, :, None] * of_sides[:, None]
        return found.reshape(len(hidden), -1)

    def graph_rows(self) -> tuple[tuple[str, ...], FloatArray]:
        """Names and rows [k * 2^d, u] of all combinations, those of a topic together."""
        sides = self.sides
        if not len(self.directions):
            return self.names, self.rows
        along = 0.5 * sides @ self.directions
        names = tuple(f"{name}/{at + 1}" for name in self.names for at in range(len(sides)))
        rows = self.rows[:, None] + along[None]
        return names, rows.reshape(len(names), -1)


@dataclass(frozen=True, slots=True)
class Named:
    """The topics of n prompts as their outcomes name them.

    Attributes:
        names: The q topics.
        codes: Place of each prompt's topic among them, int64 [n].
    """

    names: tuple[str, ...]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, labels: Sequence[str]) -> "Named":
        """Number the labels of n prompts."""
        names, codes = np.unique(np.array(labels, dtype=np.str_), return_inverse=True)
        return cls(tuple(names.tolist()), codes.astype(np.int64))

    def rows(self, at: NDArray[np.int64]) -> "Named":
        """Those of the prompts ``at``; the topics stay."""
        return Named(self.names, self.codes[at])

    def shares(self) -> FloatArray:
        """1 where the prompt is of the topic, [n, q]."""
        return np.eye(len(self.names))[self.codes]


def hidden_from_view(rows: FloatArray, constant: int) -> FloatArray:
    """The same rows with logits so low that they have no share unless they are named."""
    found = rows.copy()
    found[:, constant] -= TOLD_OFFSET
    return found


def lifted(rows: FloatArray, constant: int) -> FloatArray:
    """The same rows with logits so high that the graph takes no prompt for one of no task.

    A prompt's traits count less the more unusual the graph finds it, and one of its two measures is
    how low all logits are. It was scaled for the artifact's own tasks; raised alike, the logits of
    other rows have the same probabilities, and the other measure decides.
    """
    found = rows.copy()
    found[:, constant] += LIFT
    return found


def domain_labels(domains: Sequence[str | None], kinds: Sequence[str]) -> tuple[str, ...] | None:
    """The topic of each prompt: its domain, or its kind of task where the domain has few prompts.

    Args:
        domains: Domain of each prompt, [n]; None = none.
        kinds: Likeliest kind of task of each, [n].

    Returns:
        Topics, [n]; None where the domains do not tell prompts apart.
    """
    counts = Counter(domain for domain in domains if domain is not None)
    large = {domain for domain, count in counts.items() if count >= LEAST_DOMAIN_PROMPTS}
    if not large:
        return None
    found = [d if d in large else k for d, k in zip(domains, kinds, strict=True)]
    few = Counter(found)
    most = few.most_common(1)[0][0]
    kept = tuple(topic if few[topic] >= LEAST_DOMAIN_PROMPTS else most for topic in found)
    return kept if len(set(kept)) >= _FEWEST_CLASSES else None


@dataclass(frozen=True, slots=True)
class TopicCandidate:
    """Topics by which prompts may be recognised.

    Attributes:
        topics: The topics.
        kinds: Their places among the artifact's kinds of task, int64 [k]; None = they are others.
        named: Topics of the prompts that ``topics`` were learnt from; None = of none.
        inverse_penalty: Of the regression by which they were learnt.
    """

    topics: OwnTopics
    kinds: NDArray[np.int64] | None = None
    named: Named | None = None
    inverse_penalty: float = 1.0

    @classmethod
    def of_kinds(
        cls, names: Sequence[str], rows: FloatArray, tasks: FloatArray, constant: int
    ) -> "TopicCandidate":
        """The kinds of task that make up at least LEAST_KIND_SHARE of the prompts.

        Args:
            names: The artifact's tasks, [t].
            rows: Their rows, [t, u].
            tasks: Probabilities, [n, t].
            constant: The unit that carries the biases.
        """
        share = tasks.mean(axis=0)
        kept = np.flatnonzero(share >= min(LEAST_KIND_SHARE, float(share.max())))
        named = tuple(names[at] for at in kept.tolist())
        return cls(OwnTopics(named, rows[kept], np.zeros((0, rows.shape[1])), constant), kept)

    @classmethod
    def of_domains(cls, named: Named, hidden: FloatArray) -> "TopicCandidate":
        """Learn the rows of named topics.

        The penalty is the one of the greatest likelihood on every fifth prompt of each topic, which
        is left out for that.

        Args:
            named: Topic of each prompt; at least two of them occur.
            hidden: Hidden units, [n, u].
        """
        units, codes = Standardised.of(hidden).units(hidden), named.codes
        order = np.argsort(codes, kind="stable")
        out = np.zeros(len(codes), dtype=np.bool_)
        out[order[::5]] = True

        def loss(inverse_penalty: float) -> float:
            weights, biases = _logistic(units[~out], codes[~out], len(named.names), inverse_penalty)
            logs = log_softmax(units[out] @ weights.T + biases, axis=1)
            return -float(logs[np.arange(len(logs)), codes[out]].mean())

        best = min(_INVERSE_PENALTIES, key=loss)
        return cls(_domain_topics(named, hidden, best), None, named, best)

    def learnt_on(self, rows: NDArray[np.int64], hidden: FloatArray) -> OwnTopics:
        """The topics as learnt from the prompts ``rows`` alone, whose hidden units [r, u] are."""
        if self.named is None:
            return self.topics
        named = self.named.rows(rows)
        if len(np.unique(named.codes)) < _FEWEST_CLASSES:
            return self.topics
        return _domain_topics(named, hidden, self.inverse_penalty)


def _domain_topics(named: Named, hidden: FloatArray, inverse_penalty: float) -> OwnTopics:
    scale = Standardised.of(hidden)
    learnt = _logistic(scale.units(hidden), named.codes, len(named.names), inverse_penalty)
    rows = scale.rows(*learnt)
    return OwnTopics(named.names, rows, np.zeros((0, rows.shape[1])), scale.constant)


def _logistic(
    units: FloatArray, codes: NDArray[np.int64], classes: int, inverse_penalty: float
) -> tuple[FloatArray, FloatArray]:
    """Weights [classes, u] and biases [classes] of a multinomial logistic regression."""
    model = LogisticRegression(C=inverse_penalty, max_iter=200, tol=1e-3)
    with warnings.catch_warnings():
        # Stopping after so many steps is intended.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(units, codes)
    weights, biases = np.asarray(model.coef_), np.asarray(model.intercept_)
    if len(model.classes_) == _FEWEST_CLASSES:  # one row stands for both
        weights, biases = np.vstack([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
    spread, offsets = np.zeros((classes, units.shape[1])), np.full(classes, -TOLD_OFFSET)
    spread[model.classes_], offsets[model.classes_] = weights, biases
    return spread, offsets
