"""A table of the lengths and latencies told of answers, per predictor, model and kind of prompt."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from routoo.routing.corrections.factors import Factors
from routoo.routing.corrections.ratio import Ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

# So many answers are assumed that agree with the prediction, and, of a kind of prompt, with the
# factor of the whole model.
_ASSUMED_OF_MODEL = 2.0
_ASSUMED_OF_KIND = 8.0
MOST_CELLS = 20_000
"""Most entries of a table. One more removes those of the predictor that was the first to come;
where there is one predictor alone, it teaches nothing."""
_NOTHING = Ratio()

Key = tuple[str, str, str]
"""The version of a predictor, the name of a model, and a kind of task; an empty kind: all of them.
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """The length and the latency of one answer, beside what was predicted.

    Attributes:
        predictor: the version of the predictor.
        model: the name in the pool.
        kind: the kind of task; empty: not known.
        predicted_tokens: as the predictor told, before any correction or limit.
        tokens: output tokens as billed; None: not told, or of no use.
        limit_tokens: the length at which the answer was cut off; infinite: there was none.
        predicted_ms: time to the last token by the pool's figures, for the tokens that came.
        latency_ms: time to the last token; None: not told.
    """

    predictor: str
    model: str
    kind: str
    predicted_tokens: float
    tokens: float | None
    limit_tokens: float
    predicted_ms: float
    latency_ms: float | None


@dataclass(frozen=True, slots=True)
class Learned:
    """What is known of one model, or of one kind of prompt on it."""

    lengths: Ratio = _NOTHING
    latencies: Ratio = _NOTHING

    def learned(self, answer: Answer, length: float, latency: float, memory: float) -> Learned:
        """Returns the cell with one more answer; ``length`` and ``latency``: its factors so far."""
        return Learned(
            _with_length(self.lengths, answer, length, memory),
            _with_latency(self.latencies, answer, latency, memory),
        )


@dataclass(frozen=True, slots=True)
class LearnedFactor:
    """A factor in force, and the number of answers that it was learned from."""

    factor: float
    answers: int


@dataclass(frozen=True, slots=True)
class ModelCorrection:
    """The corrections of one model.

    Attributes:
        lengths: of its predicted lengths.
        latencies: of its predicted latencies.
        kinds: of the lengths and the latencies by kind of task; those that answers told of.
    """

    lengths: LearnedFactor
    latencies: LearnedFactor
    kinds: Mapping[str, tuple[LearnedFactor, LearnedFactor]]


@dataclass(frozen=True, slots=True)
class Table:
    """All that answers have told; a value that is never changed."""

    cells: Mapping[Key, Learned] = field(default_factory=dict)

    def learned(self, answers: Iterable[Answer], memory: float) -> Self:
        """Returns the table with further answers, in their order.

        Args:
            answers: the answers.
            memory: the number of answers after which an old one counts 1/e.
        """
        cells = dict(self.cells)
        for answer in answers:
            whole_key = (answer.predictor, answer.model, "")
            kind_key = (answer.predictor, answer.model, answer.kind)
            keys = (whole_key, kind_key) if answer.kind else (whole_key,)
            if len(cells) + len(keys) > MOST_CELLS and any(key not in cells for key in keys):
                cells = _without_oldest(cells, answer.predictor)
                if len(cells) + len(keys) > MOST_CELLS:
                    continue
            whole = cells.get(whole_key, _EMPTY)
            if answer.kind:
                cell = cells.get(kind_key, _EMPTY)
                cells[kind_key] = cell.learned(
                    answer,
                    _of_kind(whole.lengths, cell.lengths),
                    _of_kind(whole.latencies, cell.latencies),
                    memory,
                )
            cells[whole_key] = whole.learned(
                answer, _of_model(whole.lengths), _of_model(whole.latencies), memory
            )
        return type(self)(cells)

    def only(self, wanted: Callable[[Key], bool]) -> Self:
        """Returns the table without the entries whose key is not wanted."""
        if all(map(wanted, self.cells)):
            return self
        return type(self)({key: cell for key, cell in self.cells.items() if wanted(key)})

    def factors(self, predictor: str, models: Sequence[str], kinds: Sequence[str]) -> Factors:
        """Returns the factors for a predictor's figures of m models and k kinds of task."""
        lengths = np.ones((len(kinds) + 1, len(models)))
        latencies = np.ones((len(kinds) + 1, len(models)))
        for column, model in enumerate(models):
            found = self.of_model(predictor, model, kinds)
            lengths[:, column] = found.lengths.factor
            latencies[:, column] = found.latencies.factor
            for kind, (length, latency) in found.kinds.items():
                row = kinds.index(kind)
                lengths[row, column], latencies[row, column] = length.factor, latency.factor
        return Factors(tuple(models), tuple(kinds), lengths, latencies)

    def of_model(self, predictor: str, model: str, kinds: Collection[str]) -> ModelCorrection:
        """Returns what is known of one model, of these kinds of task alone."""
        whole = self.cells.get((predictor, model, ""), _EMPTY)
        found = {}
        for kind in kinds:
            cell = self.cells.get((predictor, model, kind))
            if cell is not None:
                found[kind] = (
                    LearnedFactor(_of_kind(whole.lengths, cell.lengths), cell.lengths.answers),
                    LearnedFactor(
                        _of_kind(whole.latencies, cell.latencies), cell.latencies.answers
                    ),
                )
        return ModelCorrection(
            LearnedFactor(_of_model(whole.lengths), whole.lengths.answers),
            LearnedFactor(_of_model(whole.latencies), whole.latencies.answers),
            found,
        )

    def plain(self) -> list[list[Any]]:
        """Returns the table as plain values, which ``read`` takes."""
        return [
            [*key, list(astuple(cell.lengths)), list(astuple(cell.latencies))]
            for key, cell in self.cells.items()
        ]

    @classmethod
    def read(cls, values: Any) -> Self:
        """Reads plain values.

        Raises:
            ValueError: they are no table.
        """
        try:
            cells = {
                (_name(predictor), _name(model), _name(kind)): Learned(
                    Ratio.read(lengths), Ratio.read(latencies)
                )
                for predictor, model, kind, lengths, latencies in values[:MOST_CELLS]
            }
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"no table of corrections: {error}") from None
        return cls(cells)


_EMPTY = Learned()


def _of_model(ratio: Ratio) -> float:
    return ratio.factor(1.0, _ASSUMED_OF_MODEL)


def _of_kind(whole: Ratio, kind: Ratio) -> float:
    return kind.factor(_of_model(whole), _ASSUMED_OF_KIND)


def _with_length(ratio: Ratio, answer: Answer, factor: float, memory: float) -> Ratio:
    """Adds an answer's length.

    An answer that was cut off, or may have been, tells less: it counts as the limit over the
    expected length, if that is less than 1. Cut off, its length is taken for the limit and as much
    again as was expected, by the law of an exponential, which does not remember; but at most four
    times the limit, for nobody knows how it would have gone on. So short limits do not teach that
    answers are short.
    """
    tokens, limit = answer.tokens, answer.limit_tokens
    if tokens is None:
        return ratio
    predicted = max(answer.predicted_tokens, 1.0)
    expected = factor * predicted
    if tokens >= limit:
        tokens = limit + min(expected, 3.0 * limit)
    weight = min(1.0, limit / expected)
    return ratio.add(predicted, tokens, factor, memory=memory, weight=weight)


def _with_latency(ratio: Ratio, answer: Answer, factor: float, memory: float) -> Ratio:
    latency_ms = answer.latency_ms
    if latency_ms is None or answer.predicted_ms <= 0.0:
        return ratio
    return ratio.add(answer.predicted_ms, latency_ms, factor, memory=memory)


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a name is no text")
    return value


def _without_oldest(cells: dict[Key, Learned], predictor: str) -> dict[Key, Learned]:
    """Returns the entries without those of the first predictor that is another one."""
    oldest = next((key[0] for key in cells if key[0] != predictor), predictor)
    if oldest == predictor:
        return cells
    return {key: cell for key, cell in cells.items() if key[0] != oldest}


def usable(figure: float | None) -> float | None:
    """Returns a told figure; None where it is 0 or less, or no number, and teaches nothing."""
    return figure if figure is not None and math.isfinite(figure) and figure > 0 else None
