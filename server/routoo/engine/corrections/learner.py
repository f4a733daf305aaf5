"""Learns scores from reported ones, in a thread of its own.

A decision reads what is in force as one reference. Reports wait in a queue; once in an interval the
thread adds them to the table, and replaces what is in force where it has moved by so much that it
matters. A report counts once: its decision takes no second one.
"""

from __future__ import annotations

from collections import deque
from math import isnan
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

import structlog

from routoo.engine.corrections.upkeep import MOST_WAITING, TableUpkeep
from routoo.routing.corrections.scores.ability import GradedAnswer
from routoo.routing.corrections.scores.table import AbilityTable, AbilityTerms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prometheus_client import Counter

    from routoo.config.sections.learning import LearningSettings
    from routoo.engine.corrections.file import TableFile
    from routoo.engine.corrections.shared import SharedValue
    from routoo.routing.corrections.scores.in_force import LearnedScores
    from routoo.routing.corrections.scores.table import ModelAbility
    from routoo.routing.decision import Decision

_log = structlog.get_logger("routoo.learning")
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


class Learner(TableUpkeep[AbilityTable, GradedAnswer, AbilityTerms]):
    """Holds the scores in force; reading them and appending to ``told`` takes no lock.

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

    settings: LearningSettings

    def __init__(
        self,
        settings: LearningSettings,
        counts: Counter,
        *,
        file: TableFile[AbilityTable] | None = None,
        shared: SharedValue[AbilityTable, GradedAnswer, AbilityTerms] | None = None,
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(
            "learned scores",
            settings,
            counts,
            AbilityTable,
            log=_log,
            file=file,
            shared=shared,
            clock_s=clock_s,
        )
        self.in_force: Mapping[ScoreLayout, LearnedScores] = {}
        self._published: object = None
        self.told: deque[ToldScore] = deque(maxlen=MOST_WAITING)

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

    def step(self) -> None:
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
        table = self._matched(table, answers, terms)
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
