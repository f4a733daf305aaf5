"""Learns scores from reported ones, in a thread of its own.

A decision reads what is in force as one reference. Reports wait in a queue; once in an interval the
thread adds them to the table, and replaces what is in force where it has moved by so much that it
matters. A report counts once: its decision takes no second one.
"""

from __future__ import annotations

import threading
from collections import deque
from math import isnan
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

import structlog

from routoo.engine.corrections.encoding import SharingError
from routoo.routing.corrections.scores.ability import GradedAnswer
from routoo.routing.corrections.scores.table import AbilityTable, AbilityTerms

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from prometheus_client import Counter

    from routoo.config.sections.learning import LearningSettings
    from routoo.engine.corrections.file import TableFile
    from routoo.engine.corrections.shared import SharedValue
    from routoo.routing.corrections.scores.in_force import LearnedScores
    from routoo.routing.corrections.scores.table import ModelAbility
    from routoo.routing.decision import Decision

_log = structlog.get_logger("routoo.learning")
_MOST_WAITING = 10_000
# The table is forced to the disk this often at most.
_SAVE_INTERVAL_S = 5.0
_MOST_PLACES = 6


class ScoreLayout(NamedTuple):
    """Where learned scores are used.

    Attributes:
        predictor: the version of the predictor.
        models: [m], names in the pool.
        kinds: [k], the predictor's kinds of task.
    """

    predictor: str
    models: tuple[str, ...]
    kinds: tuple[str, ...]


class ToldScore(NamedTuple):
    """A reported score.

    Attributes:
        decision: the decision that was followed.
        column: the model that answered.
        score: in [0, 1].
        confined: whether the caller that told it may speak for its tenant alone.
    """

    decision: Decision
    column: int
    score: float
    confined: bool


class LearningState(NamedTuple):
    """What is known of the learning, for people.

    Attributes:
        version: of what is in force; empty: it changes nothing.
        frozen: whether reports change nothing.
        generation: of the settings.
        reports: the number of reports that taught of all tenants' scores.
    """

    version: str
    frozen: bool
    generation: int
    reports: int


class Learner:
    """Holds the scores in force; reading them and appending to ``told`` takes no lock.

    ``step`` is the thread's work; with the thread started, nobody else may call it.

    Args:
        settings: the section ``learning``.
        counts: counts reports and faults by the label ``result``.
        file: keeps the table over a restart; None: nothing does.
        shared: the table of all replicas; None: there is none.
        clock_s: seconds on a clock that never goes back.

    Attributes:
        settings: may be replaced; they hold from the next step.
        table: what is known now; a value that is never changed.
        in_force: by place; replaced as a whole, never changed.
        told: reports that wait.
    """

    def __init__(
        self,
        settings: LearningSettings,
        counts: Counter,
        *,
        file: TableFile[AbilityTable] | None = None,
        shared: SharedValue[AbilityTable, GradedAnswer, AbilityTerms] | None = None,
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        self.settings = settings
        self._counts = counts
        self._file = file
        self._shared = shared
        self._clock_s = clock_s
        self.table = AbilityTable() if file is None else file.read()
        if file is not None and file.damaged:
            counts.labels("file_damaged").inc()
        self.in_force: Mapping[ScoreLayout, LearnedScores] = {}
        self._published: object = None
        self.told: deque[ToldScore] = deque(maxlen=_MOST_WAITING)
        self._unsent: list[GradedAnswer] = []
        self._models: frozenset[str] | None = None
        self._saved = self.table
        self._saved_s = self._shared_s = float("-inf")
        self._failing: set[str] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def scores(self, place: ScoreLayout) -> LearnedScores:
        """Returns what is in force at a place."""
        found = self.in_force.get(place)
        if found is None:
            found = self.table.in_force(*place, self._terms)
            known = list(self.in_force.items())[1 - _MOST_PLACES :]
            self.in_force = {**dict(known), place: found}
        return found

    def of_models(self, place: ScoreLayout) -> list[ModelAbility]:
        """Returns what is known of each model of a place."""
        table, terms = self.table, self._terms
        return [table.of_model(place.predictor, model, terms) for model in place.models]

    def state(self, place: ScoreLayout) -> LearningState:
        """Returns what is known of the learning."""
        found, settings = self.scores(place), self.settings
        table = self.table.of_generation(settings.generation)
        version = "" if found.changes_nothing else found.id
        return LearningState(version, settings.freeze, settings.generation, round(table.reports))

    def keep_models(self, models: Collection[str]) -> None:
        """Forgets, at the next step, all models but these; not those that replicas share."""
        self._models = frozenset(models)

    def start(self) -> None:
        """Learns in a thread until ``close``."""
        self._thread = threading.Thread(target=self._run, name="routoo-learning", daemon=True)
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
        """Learns the reports that wait, shares and keeps the table, and replaces the scores."""
        answers, settings = [], self.settings
        while self.told:
            answers.append(_answer_of(self.told.popleft()))
        if settings.freeze:
            self._counts.labels("frozen").inc(len(answers))
            answers = []
        terms = self._terms
        self._counts.labels("learned").inc(len(answers))
        is_stale = terms.generation != self.table.generation
        table = self.table.learned(answers, terms) if answers or is_stale else self.table
        if self._shared is not None:
            self._unsent += answers
            self._counts.labels("dropped").inc(max(0, len(self._unsent) - _MOST_WAITING))
            del self._unsent[_MOST_WAITING:]
            table = self._exchanged(table, terms)
        elif self._models is not None:
            models, self._models = self._models, None
            table = table.only(lambda model: model in models)
        # A place that ``scores`` has added meanwhile may have been made from an older table.
        if table is not self.table or self.in_force is not self._published:
            self._publish(table, terms)
        self.table = table  # whoever sees a report in it finds it in force
        self._save()

    @property
    def _terms(self) -> AbilityTerms:
        told = self.settings
        return AbilityTerms(
            told.half_life_reports, told.generation, told.tenants, told.tenants_teach
        )

    def _publish(self, table: AbilityTable, terms: AbilityTerms) -> None:
        for place, before in tuple(self.in_force.items()):
            after = table.in_force(*place, terms)
            if not after.is_near(before):
                self.in_force = {**self.in_force, place: after}
        self._published = self.in_force

    def _run(self) -> None:
        while not self._stop.wait(self.settings.interval_s):
            self._try_step()

    def _try_step(self) -> None:
        try:
            self.step()
        except Exception:  # noqa: BLE001 - the thread must live on
            _log.exception("scores could not be learned")

    def _exchanged(self, table: AbilityTable, terms: AbilityTerms) -> AbilityTable:
        now_s = self._clock_s()
        if self._shared is None or now_s - self._shared_s < self.settings.share_interval_s:
            return table
        self._shared_s = now_s
        try:
            news = self._shared.exchange(table, self._unsent, terms)
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
            _log.error("learned scores stay in this process for now", cause=kind, detail=reason)

    def _recovered(self, kind: str) -> None:
        if kind in self._failing:
            self._failing.discard(kind)
            _log.info("learned scores are kept again", cause=kind)


def _answer_of(told: ToldScore) -> GradedAnswer:
    """Returns what a report teaches: how its score differs from the one that was predicted."""
    batch, row, column = told.decision.batch, told.decision.row, told.column
    estimates = batch.estimates
    tasks, std = estimates.tasks, estimates.plain_std
    plain = estimates.scores if estimates.plain_scores is None else estimates.plain_scores
    std = estimates.score_std if std is None else std
    deviation = None if std is None else float(std[row, column])
    return GradedAnswer(
        predictor=batch.versions.predictor,
        model=batch.pool.names[column],
        kind="" if tasks is None else estimates.task_names[int(tasks[row])],
        tenant=told.decision.tenant,
        predicted=float(plain[row, column]),
        std=None if deviation is None or isnan(deviation) else deviation,
        score=told.score,
        confined=told.confined,
    )
