"""An experiment: which arm a request is of, and what its outcomes tell of the candidate."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from hashlib import blake2b
from itertools import count
from typing import TYPE_CHECKING, Any

import structlog

from routoo.selector.sequential.difference import DifferenceInterval
from routoo.selector.sequential.mean import MeanInterval

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from routoo.engine.trials.state_file import StateFile
    from routoo.routing.decision import Decision
    from routoo.routing.outcome import OutcomeReport
    from routoo.routing.request import PromptRequest

_log = structlog.get_logger("routoo.experiment")
_WRITTEN_EVERY = 100
_HASHED = 2.0**-64


class Verdict(StrEnum):
    """What the outcomes so far say of the candidate."""

    BETTER = "better"
    """Better by more than the margin at no more cost, or cheaper and not worse."""
    WORSE = "worse"
    """Worse by more than the margin, or more expensive and not shown to be better."""
    NOT_YET = "not yet"


@dataclass(frozen=True, slots=True)
class ExperimentTerms:
    """The terms of an experiment; the settings of the same names explain them.

    Attributes:
        version: identifies the candidate: a policy's name, or a predictor's version.
        policy: the policy that decides the candidate's requests; empty: the one in force.
    """

    name: str
    version: str
    policy: str
    share: float
    by: str
    alpha: float
    margin: float
    cost_margin: float
    max_cost_usd: float
    shadow_decisions: int
    reverts: bool

    @property
    def identity(self) -> dict[str, Any]:
        """What has to be the same for the figures to go on."""
        kept = ("name", "version", "share", "by", "alpha", "max_cost_usd")
        return {name: getattr(self, name) for name in kept}


@dataclass(slots=True)
class Arm:
    """The outcomes of one arm.

    Attributes:
        decisions: its decisions.
        quality: reported scores.
        cost: booked costs as parts of ``max_cost_usd``, at most 1.
        cost_usd: the sum of the booked costs.
    """

    decisions: int = 0
    quality: MeanInterval = field(default_factory=MeanInterval)
    cost: MeanInterval = field(default_factory=MeanInterval)
    cost_usd: float = 0.0

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Self:
        """Makes it again from plain values."""
        return cls(
            int(values["decisions"]),
            MeanInterval(**values["quality"]),
            MeanInterval(**values["cost"]),
            float(values["cost_usd"]),
        )


@dataclass(slots=True)
class ShadowSums:
    """The candidate's decisions that were only counted, beside those in force.

    Attributes:
        decisions: compared decisions.
        disagreements: those with another model.
        failed: decisions that the candidate could not make.
        score: sum of the scores in force, as the predictor in force predicts them.
        candidate_score: sum of the candidate's, as its own predictor does.
        cost_usd: sum of the predicted costs in force.
        candidate_cost_usd: sum of the candidate's.
    """

    decisions: int = 0
    disagreements: int = 0
    failed: int = 0
    score: float = 0.0
    candidate_score: float = 0.0
    cost_usd: float = 0.0
    candidate_cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class ArmReport:
    """What is known of one arm.

    Attributes:
        decisions: its decisions.
        graded: of these, the graded ones.
        quality: their mean score.
        quality_bounds: its interval, at the experiment's alpha.
        booked: outcomes with a cost.
        cost_usd: their mean cost.
    """

    decisions: int
    graded: int
    quality: float
    quality_bounds: tuple[float, float]
    booked: int
    cost_usd: float


@dataclass(frozen=True, slots=True)
class ExperimentReport:
    """What is known of an experiment.

    Attributes:
        terms: its terms.
        shadow: the decisions that were only counted.
        in_shadow: whether it still counts only.
        control: the arm in force.
        candidate: the other one.
        quality_difference: bounds of the candidate's mean score minus that in force.
        cost_difference_usd: bounds of the difference of the mean costs.
        verdict: what they say.
        reverted: whether the candidate was found worse and decides nothing any more.
    """

    terms: ExperimentTerms
    shadow: ShadowSums
    in_shadow: bool
    control: ArmReport
    candidate: ArmReport
    quality_difference: tuple[float, float]
    cost_difference_usd: tuple[float, float]
    verdict: Verdict
    reverted: bool


class Experiment:
    """Draws the arms, and keeps the sums of their outcomes. Thread-safe.

    Args:
        terms: the terms.
        file: keeps the sums over a restart; None: they begin anew.
        before: the experiment before a reload, whose sums go on if it is the same; None: none was.
    """

    def __init__(
        self, terms: ExperimentTerms, file: StateFile | None, before: Experiment | None = None
    ) -> None:
        self.terms = terms
        self.control_name = f"{terms.name}@{terms.version}/control"
        self.candidate_name = f"{terms.name}@{terms.version}/candidate"
        self._file = file
        self._lock = threading.Lock()
        self._numbers = count()
        self._unwritten = 0
        self._begin()
        if before is not None and before.terms.identity == terms.identity:
            values = before.values()
        else:
            values = {} if file is None else file.read()
        if values.get("identity") == terms.identity:
            try:
                self._restore(values)
            except (KeyError, TypeError, ValueError) as error:
                self._begin()
                if file is not None:
                    file.put_aside(str(error))

    def _begin(self) -> None:
        terms = self.terms
        self._arms = (Arm(), Arm())
        # Half of alpha for the quality, half for the cost.
        self._quality = DifferenceInterval(terms.alpha / 2.0, terms.share)
        self._cost = DifferenceInterval(terms.alpha / 2.0, terms.share)
        self._shadow = ShadowSums()
        self._reverted = False

    @property
    def reverted(self) -> bool:
        """Whether the candidate was found worse, and decides nothing any more."""
        return self._reverted

    @property
    def in_shadow(self) -> bool:
        """Whether the candidate's decisions are only counted yet."""
        return self._shadow.decisions < self.terms.shadow_decisions

    def is_candidate(self, request: PromptRequest) -> bool | None:
        """Draws the arm of a request; None: it is no part of the experiment.

        A request that names a policy is none, nor is one without the unit that is drawn by.
        """
        if request.policy or request.named:
            return None
        by = self.terms.by
        if by == "tenant":
            unit = request.tenant
        elif by == "session":
            unit = "" if request.session is None else request.session.id
        else:
            unit = str(next(self._numbers))
        if not unit:
            return None
        said = f"{self.terms.name} {unit}".encode("utf-8", "surrogatepass")
        drawn = int.from_bytes(blake2b(said, digest_size=8).digest()) * _HASHED
        return drawn < self.terms.share

    def shadowed(self, chosen: Decision, other: Decision | None) -> None:
        """Counts a decision in force, and the candidate's for the same request; None: it failed."""
        with self._lock:
            sums = self._shadow
            sums.decisions += 1
            if other is None:
                sums.failed += 1
                return
            sums.disagreements += chosen.name != other.name
            sums.score += chosen.batch.scores[chosen.row]
            sums.candidate_score += other.batch.scores[other.row]
            sums.cost_usd += chosen.batch.costs_usd[chosen.row]
            sums.candidate_cost_usd += other.batch.costs_usd[other.row]
            self._touched()

    def decided(self, candidates: int, controls: int) -> None:
        """Counts decisions of both arms."""
        with self._lock:
            self._arms[0].decisions += controls
            self._arms[1].decisions += candidates

    def reported(self, outcome: OutcomeReport, decision: Decision, cost_usd: float | None) -> None:
        """Takes an outcome of a decision, if it is of this experiment."""
        trials = decision.batch.trials
        trial = "" if trials is None else trials[decision.row]
        if trial not in {self.control_name, self.candidate_name}:
            return
        is_candidate = trial == self.candidate_name
        with self._lock:
            arm = self._arms[is_candidate]
            if outcome.score is not None:
                arm.quality.add(outcome.score)
                self._quality.add(outcome.score, is_candidate=is_candidate)
            if cost_usd is not None:
                part = min(cost_usd / self.terms.max_cost_usd, 1.0)
                arm.cost.add(part)
                arm.cost_usd += cost_usd
                self._cost.add(part, is_candidate=is_candidate)
            self._touched()
            if self.terms.reverts and not self._reverted and self._verdict() is Verdict.WORSE:
                self._reverted = True
                self._write()
                _log.error(
                    "the candidate is worse and decides nothing any more",
                    experiment=self.terms.name,
                    candidate=self.terms.version,
                    score_difference=self._quality_bounds(),
                    cost_difference_usd=self._cost_bounds_usd(),
                )

    def report(self) -> ExperimentReport:
        """Returns what is known so far."""
        with self._lock:
            return ExperimentReport(
                self.terms,
                ShadowSums(**asdict(self._shadow)),
                self.in_shadow,
                self._of_arm(self._arms[0]),
                self._of_arm(self._arms[1]),
                self._quality_bounds(),
                self._cost_bounds_usd(),
                self._verdict(),
                self._reverted,
            )

    def close(self) -> None:
        """Writes what was not written yet."""
        with self._lock:
            self._write()

    def _of_arm(self, arm: Arm) -> ArmReport:
        return ArmReport(
            arm.decisions,
            arm.quality.count,
            arm.quality.mean,
            arm.quality.bounds(self.terms.alpha),
            arm.cost.count,
            arm.cost_usd / arm.cost.count if arm.cost.count else 0.0,
        )

    def _quality_bounds(self) -> tuple[float, float]:
        return self._bounds(self._quality, self._arms[0].quality, self._arms[1].quality)

    def _cost_bounds_usd(self) -> tuple[float, float]:
        low, high = self._bounds(self._cost, self._arms[0].cost, self._arms[1].cost)
        return low * self.terms.max_cost_usd, high * self.terms.max_cost_usd

    def _bounds(
        self, drawn: DifferenceInterval, control: MeanInterval, candidate: MeanInterval
    ) -> tuple[float, float]:
        """Returns the bounds of a difference.

        Requests that were drawn one by one tell it together. Those of a session or a tenant are
        alike and always of one arm, so that each arm has an interval of its own, for the requests
        that it had.
        """
        if self.terms.by == "request":
            return drawn.bounds
        level = self.terms.alpha / 4.0
        (low, high), (low_other, high_other) = candidate.bounds(level), control.bounds(level)
        return low - high_other, high - low_other

    def _verdict(self) -> Verdict:
        quality_low, quality_high = self._quality_bounds()
        cost_low, cost_high = self._cost_bounds_usd()
        margin = self.terms.margin
        cost_margin = self.terms.cost_margin * self._arms[0].cost.mean * self.terms.max_cost_usd
        is_better, is_cheaper = quality_low > margin, cost_high < -cost_margin
        if quality_high < -margin or (cost_low > cost_margin and not is_better):
            return Verdict.WORSE
        if (is_better and cost_high <= cost_margin) or (is_cheaper and quality_low >= -margin):
            return Verdict.BETTER
        return Verdict.NOT_YET

    def _touched(self) -> None:
        self._unwritten += 1
        if self._unwritten >= _WRITTEN_EVERY:
            self._write()

    def _write(self) -> None:
        self._unwritten = 0
        if self._file is not None:
            self._file.write(self.values())

    def values(self) -> dict[str, Any]:
        """Returns the figures as plain values."""
        return {
            "identity": self.terms.identity,
            "arms": [asdict(arm) for arm in self._arms],
            "quality": self._quality.values(),
            "cost": self._cost.values(),
            "shadow": asdict(self._shadow),
            "reverted": self._reverted,
        }

    def _restore(self, values: Mapping[str, Any]) -> None:
        control, candidate = values["arms"]
        self._arms = (Arm.restored(control), Arm.restored(candidate))
        self._quality = DifferenceInterval.restored(values["quality"])
        self._cost = DifferenceInterval.restored(values["cost"])
        self._shadow = ShadowSums(**values["shadow"])
        self._reverted = bool(values["reverted"])
