"""Learns corrections of predicted lengths and latencies from answers, in a thread of its own.

A decision reads the factors in force as one reference. Answers wait in a queue; once in an interval
the thread adds them to the table, and replaces the factors when one of them has moved by so much
that it matters. It does so as well when an hour begins, and some time after the last answer: what
is usual of a model's times depends on the hour, and what was of late fades.
"""

from __future__ import annotations

from collections import deque
from math import inf, isnan
from time import monotonic, time
from typing import TYPE_CHECKING, NamedTuple

import structlog

from routoo.engine.corrections.upkeep import MOST_WAITING, TableUpkeep
from routoo.routing.corrections.speed import LearningTerms, TimedAnswer
from routoo.routing.corrections.table import Answer, Layout, Table, usable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prometheus_client import Counter

    from routoo.config.sections.corrections import CorrectionSettings
    from routoo.engine.corrections.file import CorrectionFile
    from routoo.engine.corrections.repricing import Repricing
    from routoo.engine.corrections.shared import SharedTable
    from routoo.routing.corrections.factors import Factors
    from routoo.routing.corrections.table import ModelCorrection
    from routoo.routing.decision import Decision

_log = structlog.get_logger("routoo.corrections")
# So many predictors and pools are remembered: the one in use, its fallback, and those of a reload.
_MOST_LAYOUTS = 6

# Without answers, factors are looked at this often: the hour may be another.
_IDLE_INTERVAL_S = 20.0


class ToldAnswer(NamedTuple):
    """What a report told of an answer; None: not told.

    Attributes:
        decision: the decision.
        column: the model that answered.
        tokens: output tokens as billed.
        latency_ms: time to the last token.
        first_token_ms: time to the first token.
        timed_out: whether nobody waited longer than ``latency_ms``.
        time_s: when it was reported, in seconds since 1970.
    """

    decision: Decision
    column: int
    tokens: float | None
    latency_ms: float | None
    first_token_ms: float | None
    timed_out: bool
    time_s: float


class Corrector(TableUpkeep[Table, Answer, LearningTerms]):
    """Holds the factors in force; reading them and appending to ``told`` takes no lock.

    Args:
        settings: the section ``corrections``.
        counts: counts answers and faults by the label ``result``.
        file: keeps the table over a restart; None: nothing does.
        shared: the table of all replicas; None: there is none.
        clock_s: seconds on a clock that never goes back.
        time_s: seconds since 1970; a clock that may be set.

    Attributes:
        table: what is known now; a value that is never changed.
        in_force: the factors of each layout; replaced as a whole, never changed.
        told: answers that wait.
    """

    def __init__(
        self,
        settings: CorrectionSettings,
        counts: Counter,
        *,
        file: CorrectionFile | None = None,
        shared: SharedTable | None = None,
        clock_s: Callable[[], float] = monotonic,
        time_s: Callable[[], float] = time,
    ) -> None:
        super().__init__(
            "corrections",
            settings,
            counts,
            Table,
            log=_log,
            file=file,
            shared=shared,
            clock_s=clock_s,
        )
        self._learns = settings.learn
        self._terms = LearningTerms(
            settings.memory_reports, settings.prior_reports, settings.latency_half_life_s
        )
        self._time_s = time_s
        self.in_force: Mapping[Layout, Factors] = {}
        self._published: Mapping[Layout, Factors] = self.in_force
        self.told: deque[ToldAnswer] = deque(maxlen=MOST_WAITING)
        self._repricing: Repricing | None = None
        self._priced: tuple[Repricing, Factors] | None = None
        self._published_s = float("-inf")

    def factors(self, layout: Layout) -> Factors:
        """Returns the factors in force for a predictor's figures of a pool's models."""
        return self._factors(layout, self.table)

    def of_models(self, layout: Layout) -> list[ModelCorrection]:
        """Returns what is known of each model of a layout, with the numbers of answers."""
        table, now_s = self.table, self._now_s(self.table)
        return [
            table.of_model(layout, column, self._terms, now_s)
            for column in range(len(layout.models))
        ]

    def reprice(self, repricing: Repricing) -> None:
        """Passes the factors on to these prices from now on, and to no others."""
        self._repricing = repricing

    def step(self) -> None:
        answers = []
        while self.told:
            answer = answer_of(self.told.popleft())
            if answer is not None and self._learns:
                answers.append(answer)
        self.learn(answers)

    def learn(self, answers: Sequence[Answer]) -> None:
        """Does the work of ``step`` with these answers."""
        table = self.table.learned(answers, self._terms) if answers else self.table
        self._counts.labels("learned").inc(len(answers))
        table = self._matched(table, answers, self._terms)
        # A layout that ``factors`` has added meanwhile may have been made from an older table.
        is_old = self._clock_s() - self._published_s >= _IDLE_INTERVAL_S
        try:
            if table is not self.table or is_old or self.in_force is not self._published:
                self._publish(table)
            self._price(table)
        finally:
            self.table = table  # whoever sees an answer in it finds it in force
            self._save()

    def _factors(self, layout: Layout, table: Table) -> Factors:
        found = self.in_force.get(layout)
        if found is None:
            found = self._factors_now(layout, table)
            known = list(self.in_force.items())[1 - _MOST_LAYOUTS :]
            self.in_force = {**dict(known), layout: found}
        return found

    def _publish(self, table: Table) -> None:
        for layout, before in tuple(self.in_force.items()):
            after = self._factors_now(layout, table)
            if not after.is_near(before):
                self.in_force = {**self.in_force, layout: after}
        self._published, self._published_s = self.in_force, self._clock_s()

    def _factors_now(self, layout: Layout, table: Table) -> Factors:
        return table.factors(layout, self._terms, self._now_s(table))

    def _now_s(self, table: Table) -> float:
        """Returns the time; where nothing is to be learned, that of the newest answer."""
        return self._time_s() if self._learns else table.time_s

    def _price(self, table: Table) -> None:
        repricing, priced = self._repricing, self._priced
        if repricing is None:
            return
        factors = self._factors(Layout(repricing.predictor, repricing.models, ()), table)
        if priced is None or priced[0] is not repricing:
            as_they_are = factors.changes_nothing
        else:
            as_they_are = factors is priced[1]
        if not as_they_are:
            repricing.take(factors)
        self._priced = (repricing, factors)


def answer_of(told: ToldAnswer) -> Answer | None:
    """Returns what an answer teaches; None: nothing.

    A request with an estimate of its own teaches no length: it may be of another kind than others.
    One that nobody waited for teaches that it takes longer than that.
    """
    batch, row, column = told.decision.batch, told.decision.row, told.column
    estimates = batch.estimates
    if estimates.plain_tokens is None or estimates.max_output_tokens is None:
        return None
    tokens, latency_ms = usable(told.tokens), usable(told.latency_ms)
    tasks, pool = estimates.tasks, batch.pool
    limit = min(float(estimates.max_output_tokens[row]), float(pool.max_output_tokens[column]))
    times = None
    if latency_ms is not None:
        times = TimedAnswer(
            declared=pool.declared[column],
            expected_tokens=float(estimates.output_tokens[row, column]) / told.decision.answers,
            tokens=None if tokens is None else tokens / told.decision.answers,
            latency_ms=latency_ms,
            first_token_ms=usable(told.first_token_ms),
            timed_out=told.timed_out,
            time_s=told.time_s,
        )
    if isnan(estimates.max_output_tokens[row]):
        limit, tokens = inf, None
    if told.timed_out:
        tokens = None
    if tokens is None and times is None:
        return None
    return Answer(
        predictor=batch.versions.predictor,
        model=pool.names[column],
        kind="" if tasks is None else estimates.task_names[int(tasks[row])],
        predicted_tokens=float(estimates.plain_tokens[row, column]),
        tokens=tokens,
        limit_tokens=limit,
        times=times,
    )
