"""Learns corrections of predicted lengths and latencies from answers, in a thread of its own.

A decision reads the factors in force as one reference. Answers wait in a queue; once in an interval
the thread adds them to the table, and replaces the factors when one of them has moved by so much
that it matters. It does so as well when an hour begins, and some time after the last answer: what
is usual of a model's times depends on the hour, and what was of late fades.
"""

from __future__ import annotations

import threading
from collections import deque
from math import inf, isnan
from time import monotonic, time
from typing import TYPE_CHECKING, NamedTuple

import structlog

from routoo.engine.corrections.encoding import SharingError
from routoo.routing.corrections.speed import LearningTerms, TimedAnswer
from routoo.routing.corrections.table import Answer, Layout, Table, usable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from prometheus_client import Counter

    from routoo.config.sections.corrections import CorrectionSettings
    from routoo.engine.corrections.file import CorrectionFile
    from routoo.engine.corrections.repricing import Repricing
    from routoo.engine.corrections.shared import SharedTable
    from routoo.routing.corrections.factors import Factors
    from routoo.routing.corrections.table import ModelCorrection
    from routoo.routing.decision import Decision

_log = structlog.get_logger("routoo.corrections")
_MOST_WAITING = 10_000
# The table is forced to the disk this often at most.
_SAVE_INTERVAL_S = 5.0
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


class Corrector:
    """Holds the factors in force; reading them and appending to ``told`` takes no lock.

    ``step`` is the thread's work; with the thread started, nobody else may call it.

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
        self._settings = settings
        self._terms = LearningTerms(
            settings.memory_reports, settings.prior_reports, settings.latency_half_life_s
        )
        self._time_s = time_s
        self._counts = counts
        self._file = file
        self._shared = shared
        self._clock_s = clock_s
        self.table = Table() if file is None else file.read()
        if file is not None and file.damaged:
            counts.labels("file_damaged").inc()
        self.in_force: Mapping[Layout, Factors] = {}
        self._published: Mapping[Layout, Factors] = self.in_force
        self.told: deque[ToldAnswer] = deque(maxlen=_MOST_WAITING)
        self._unsent: list[Answer] = []
        self._models: frozenset[str] | None = None
        self._repricing: Repricing | None = None
        self._priced: tuple[Repricing, Factors] | None = None
        self._saved = self.table
        self._saved_s = self._shared_s = self._published_s = float("-inf")
        self._failing: set[str] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

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

    def keep_models(self, models: Collection[str]) -> None:
        """Forgets, at the next step, all models but these; not those that replicas share."""
        self._models = frozenset(models)

    def reprice(self, repricing: Repricing) -> None:
        """Passes the factors on to these prices from now on, and to no others."""
        self._repricing = repricing

    def start(self) -> None:
        """Learns in a thread until ``close``."""
        self._thread = threading.Thread(target=self._run, name="routoo-corrections", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Learns what waits, keeps the table, and ends the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._saved_s = self._shared_s = float("-inf")
        self._try_step()
        if self._shared is not None:
            self._shared.close()

    def step(self) -> None:
        """Learns the answers that wait, shares and keeps the table, and replaces the factors."""
        answers = []
        while self.told:
            answer = answer_of(self.told.popleft())
            if answer is not None and self._settings.learn:
                answers.append(answer)
        self.learn(answers)

    def learn(self, answers: Sequence[Answer]) -> None:
        """Does the work of ``step`` with these answers."""
        table = self.table.learned(answers, self._terms) if answers else self.table
        self._counts.labels("learned").inc(len(answers))
        if self._shared is not None:
            self._unsent += answers
            self._counts.labels("dropped").inc(max(0, len(self._unsent) - _MOST_WAITING))
            del self._unsent[_MOST_WAITING:]
            table = self._exchanged(table)
        elif self._models is not None:
            models, self._models = self._models, None
            table = table.only(lambda model: model in models)
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
        return self._time_s() if self._settings.learn else table.time_s

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

    def _run(self) -> None:
        while not self._stop.wait(self._settings.interval_s):
            self._try_step()

    def _try_step(self) -> None:
        try:
            self.step()
        except Exception:  # noqa: BLE001 - the thread must live on
            _log.exception("corrections could not be learned")

    def _exchanged(self, table: Table) -> Table:
        now_s = self._clock_s()
        if self._shared is None or now_s - self._shared_s < self._settings.share_interval_s:
            return table
        self._shared_s = now_s
        try:
            news = self._shared.exchange(table, self._unsent, self._terms)
        except SharingError as error:
            self._fault("redis_failed", str(error))
            return table
        self._unsent = []
        self._recovered("redis_failed")
        return table if news is None else news

    def _save(self) -> None:
        now_s = self._clock_s()
        if (
            self._file is None
            or self.table is self._saved
            or now_s - self._saved_s < _SAVE_INTERVAL_S
        ):
            return
        self._saved_s = now_s
        try:
            self._file.write(self.table)
        except OSError as error:
            self._fault("file_failed", error.strerror or str(error))
            return
        self._saved = self.table
        self._recovered("file_failed")

    def _fault(self, kind: str, reason: str) -> None:
        self._counts.labels(kind).inc()
        if kind not in self._failing:
            self._failing.add(kind)
            _log.error("corrections stay in this process for now", cause=kind, detail=reason)

    def _recovered(self, kind: str) -> None:
        if kind in self._failing:
            self._failing.discard(kind)
            _log.info("corrections are kept again", cause=kind)


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
