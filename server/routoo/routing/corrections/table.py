"""A table of what answers have told: lengths per predictor, model and kind of prompt, and times."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from routoo.routing.corrections.factors import HIGHEST_TIME, LOWEST_TIME, Factors
from routoo.routing.corrections.ratio import Ratio
from routoo.routing.corrections.speed import USUAL_TOKENS, Speed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from routoo.routing.corrections.speed import Declared, LearningTerms, TimedAnswer, Times

# So many answers are assumed that agree with the prediction, and, of a kind of prompt, with the
# factor of the whole model.
_ASSUMED_OF_MODEL = 2.0
_ASSUMED_OF_KIND = 8.0
MOST_CELLS: Final = 20_000
"""Most entries of lengths. One more removes those of the predictor that was the first to come;
where there is one predictor alone, it teaches nothing."""
MOST_SPEEDS: Final = 2_000
"""Most models whose times are kept. One more removes the one that was the first to come."""
_NOTHING = Ratio()
_UNTIMED = Speed()

Key = tuple[str, str, str]
"""The version of a predictor, the name of a model, and a kind of task; an empty kind: all of them.
"""


class Layout(NamedTuple):
    """What factors are asked for.

    Attributes:
        predictor: the version of the predictor.
        models: [m], the names of a pool's models.
        kinds: [k], the predictor's kinds of task.
        declared: [m], the times that the pool declares; empty: no times are asked for.
    """

    predictor: str
    models: tuple[str, ...]
    kinds: tuple[str, ...]
    declared: tuple[Declared, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The length and the times of one answer, beside what was predicted.

    Attributes:
        predictor: the version of the predictor.
        model: the name in the pool.
        kind: the kind of task; empty: not known.
        predicted_tokens: as the predictor told, before any correction or limit.
        tokens: output tokens as billed; None: not told, or of no use.
        limit_tokens: the length at which the answer was cut off; infinite: there was none.
        times: its times; None: not told.
    """

    predictor: str
    model: str
    kind: str
    predicted_tokens: float
    tokens: float | None
    limit_tokens: float
    times: TimedAnswer | None = None


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
        latencies: of the time that the pool declares of a usual answer.
        kinds: of the lengths by kind of task; those that answers told of.
        times: its times now.
    """

    lengths: LearnedFactor
    latencies: LearnedFactor
    kinds: Mapping[str, LearnedFactor]
    times: Times


@dataclass(frozen=True, slots=True)
class Table:
    """All that answers have told; a value that is never changed.

    Attributes:
        cells: lengths.
        speeds: times, by the name of a model.
    """

    cells: Mapping[Key, Ratio] = field(default_factory=dict)
    speeds: Mapping[str, Speed] = field(default_factory=dict)

    @property
    def time_s(self) -> float:
        """The time of the newest answer with times, in seconds since 1970; 0: there is none."""
        return max((speed.time_s for speed in self.speeds.values()), default=0.0)

    def learned(self, answers: Iterable[Answer], terms: LearningTerms) -> Self:
        """Returns the table with further answers, in their order."""
        cells, speeds = dict(self.cells), dict(self.speeds)
        for answer in answers:
            _learn_length(cells, answer, terms.memory)
            if answer.times is not None:
                speed = speeds.get(answer.model, _UNTIMED)
                speeds[answer.model] = speed.learned(answer.times, terms)
                if len(speeds) > MOST_SPEEDS:
                    del speeds[next(iter(speeds))]
        return type(self)(cells, speeds)

    def only(self, wanted: Callable[[str], bool]) -> Self:
        """Returns the table without the models that are not wanted."""
        if all(wanted(key[1]) for key in self.cells) and all(map(wanted, self.speeds)):
            return self
        return type(self)(
            {key: cell for key, cell in self.cells.items() if wanted(key[1])},
            {model: speed for model, speed in self.speeds.items() if wanted(model)},
        )

    def factors(self, layout: Layout, terms: LearningTerms, time_s: float) -> Factors:
        """Returns the factors in force at a time, in seconds since 1970."""
        models, kinds = layout.models, layout.kinds
        found = Factors.neutral(models, kinds)
        lengths = found.lengths.copy()
        for column, model in enumerate(models):
            whole, of_kinds = self._lengths(layout.predictor, model, kinds)
            lengths[:, column] = whole.factor
            for kind, length in of_kinds.items():
                lengths[kinds.index(kind), column] = length.factor
        latencies, firsts = found.latencies.copy(), found.firsts.copy()
        percentiles = found.percentiles.copy()
        for column, declared in enumerate(layout.declared):
            if models[column] in self.speeds:
                times = self.times(models[column], declared, terms, time_s)
                first = _factor(times.first_token_ms, declared.first_token_ms)
                each = _factor(times.per_token_ms, declared.per_token_ms)
                latencies[:, column], firsts[column] = each, _bounded(first / each)
                percentiles[:, column] = list(map(_bounded, times.percentiles))
        return Factors(models, kinds, lengths, latencies, firsts, percentiles)

    def of_model(
        self, layout: Layout, column: int, terms: LearningTerms, time_s: float
    ) -> ModelCorrection:
        """Returns what is known at a time of one model of a layout that has declared times."""
        declared, model = layout.declared[column], layout.models[column]
        whole, kinds = self._lengths(layout.predictor, model, layout.kinds)
        times = self.times(model, declared, terms, time_s)
        latency = _factor(
            times.first_token_ms + USUAL_TOKENS * times.per_token_ms,
            declared.first_token_ms + USUAL_TOKENS * declared.per_token_ms,
        )
        return ModelCorrection(whole, LearnedFactor(latency, times.reports), kinds, times)

    def times(self, model: str, declared: Declared, terms: LearningTerms, time_s: float) -> Times:
        """Returns what an answer of a model needs at a time, in seconds since 1970."""
        return self.speeds.get(model, _UNTIMED).at(time_s, terms).times(declared, terms)

    def plain(self) -> dict[str, list[Any]]:
        """Returns the table as plain values, which ``read`` takes."""
        return {
            "lengths": [[*key, list(astuple(cell))] for key, cell in self.cells.items()],
            "speeds": [[model, speed.plain()] for model, speed in self.speeds.items()],
        }

    @classmethod
    def read(cls, values: Any) -> Self:
        """Reads plain values.

        Raises:
            ValueError: they are no table.
        """
        try:
            cells = {
                (_name(predictor), _name(model), _name(kind)): Ratio.read(lengths)
                for predictor, model, kind, lengths in values["lengths"][:MOST_CELLS]
            }
            speeds = {
                _name(model): Speed.read(speed) for model, speed in values["speeds"][:MOST_SPEEDS]
            }
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"no table of corrections: {error}") from None
        return cls(cells, speeds)

    def _lengths(
        self, predictor: str, model: str, kinds: Collection[str]
    ) -> tuple[LearnedFactor, dict[str, LearnedFactor]]:
        """Returns the factors of a model's lengths: of all kinds together, and of each."""
        whole = self.cells.get((predictor, model, ""), _NOTHING)
        found = {}
        for kind in kinds:
            cell = self.cells.get((predictor, model, kind))
            if cell is not None:
                found[kind] = LearnedFactor(_of_kind(whole, cell), cell.answers)
        return LearnedFactor(_of_model(whole), whole.answers), found


def _learn_length(cells: dict[Key, Ratio], answer: Answer, memory: float) -> None:
    if answer.tokens is None:
        return
    whole_key = (answer.predictor, answer.model, "")
    kind_key = (answer.predictor, answer.model, answer.kind)
    keys = (whole_key, kind_key) if answer.kind else (whole_key,)
    if len(cells) + len(keys) > MOST_CELLS and any(key not in cells for key in keys):
        _remove_oldest(cells, answer.predictor)
        if len(cells) + len(keys) > MOST_CELLS:
            return
    whole = cells.get(whole_key, _NOTHING)
    if answer.kind:
        cell = cells.get(kind_key, _NOTHING)
        cells[kind_key] = _with_length(cell, answer, answer.tokens, _of_kind(whole, cell), memory)
    cells[whole_key] = _with_length(whole, answer, answer.tokens, _of_model(whole), memory)


def _factor(learned_ms: float, declared_ms: float) -> float:
    """Returns a factor of a declared time; what is declared to take no time takes none."""
    if declared_ms <= 0.0:
        return 1.0
    return _bounded(learned_ms / declared_ms)


def _bounded(factor: float) -> float:
    return min(max(factor, LOWEST_TIME), HIGHEST_TIME)


def _of_model(ratio: Ratio) -> float:
    return ratio.factor(1.0, _ASSUMED_OF_MODEL)


def _of_kind(whole: Ratio, kind: Ratio) -> float:
    return kind.factor(_of_model(whole), _ASSUMED_OF_KIND)


def _with_length(
    ratio: Ratio, answer: Answer, tokens: float, factor: float, memory: float
) -> Ratio:
    """Adds an answer's length.

    An answer that was cut off, or may have been, tells less: it counts as the limit over the
    expected length, if that is less than 1. Cut off, its length is taken for the limit and as much
    again as was expected, by the law of an exponential, which does not remember; but at most four
    times the limit, for nobody knows how it would have gone on. So short limits do not teach that
    answers are short.
    """
    limit = answer.limit_tokens
    predicted = max(answer.predicted_tokens, 1.0)
    expected = factor * predicted
    if tokens >= limit:
        tokens = limit + min(expected, 3.0 * limit)
    weight = min(1.0, limit / expected)
    return ratio.add(predicted, tokens, factor, memory=memory, weight=weight)


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a name is no text")
    return value


def _remove_oldest(cells: dict[Key, Ratio], predictor: str) -> None:
    """Removes the entries of the first predictor that is another one."""
    oldest = next((key[0] for key in cells if key[0] != predictor), predictor)
    if oldest != predictor:
        for key in [key for key in cells if key[0] == oldest]:
            del cells[key]


def usable(figure: float | None) -> float | None:
    """Returns a told figure; None where it is 0 or less, or no number, and teaches nothing."""
    return figure if figure is not None and math.isfinite(figure) and figure > 0 else None
