"""The watch on the promise of policy ``guarantee``.

Where graded answers refute the promise, the reference answers until there is a new calibration.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import structlog

from routoo.routing.estimates import costs_usd_of
from routoo.routing.exploring import certain
from routoo.selector.policies.lp import decide
from routoo.selector.reason import Reason
from routoo.selector.sequential.drop import DropEvidence, drops_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.engine.trials.state_file import StateFile
    from routoo.routing.decision import Chosen, Decision, Prepared
    from routoo.routing.outcome import OutcomeReport
    from routoo.routing.request import PromptRequest
    from routoo.selector.arrays import IndexArray
    from routoo.selector.policies.guarantee import Guarantee

_log = structlog.get_logger("routoo.guarantee")

Unit = tuple[str, str]
"""A tenant and a kind of task."""
EVERYTHING: Unit = ("*", "*")
"""The unit of all traffic."""
# Further tenants and tasks are watched as part of all traffic only.
_MOST_UNITS = 1000
_WRITTEN_EVERY = 100


@dataclass(frozen=True, slots=True)
class WatchTerms:
    """The terms of a promise that is watched.

    Attributes:
        policy: the policy, with the reference and its share.
        version: its name and the digest of its settings, as decisions have it.
        names: the names by which requests ask for it; empty stands for the policy in force.
        proof: identifies the calibration that has proven the promise.
        max_drop: the drop that is promised not to be exceeded.
        alpha: the chance of a false alarm, in each unit.
    """

    policy: Guarantee
    version: str
    names: frozenset[str]
    proof: str
    max_drop: float
    alpha: float


@dataclass(frozen=True, slots=True)
class UnitState:
    """What graded answers say of the promise to one tenant and kind of task.

    Attributes:
        unit: both; ``EVERYTHING`` for all traffic.
        graded: graded answers.
        mean_drop: the estimated drop in mean score against the reference.
        e_value: the evidence against the promise; 1 / alpha refutes it.
        is_broken: whether it was refuted, so that the reference answers.
    """

    unit: Unit
    graded: int
    mean_drop: float
    e_value: float
    is_broken: bool


@dataclass(slots=True)
class ProofEvidence:
    """The evidence of one proof, which a reload that does not change the proof carries over.

    Attributes:
        proof: identifies the calibration.
        units: the evidence of each tenant and kind of task.
        broken: those to whom the promise was refuted.
        lock: held where the units are changed.
    """

    proof: str
    units: dict[Unit, DropEvidence] = field(default_factory=dict)
    broken: frozenset[Unit] = frozenset()
    lock: threading.Lock = field(default_factory=threading.Lock)

    def with_share(self, share: float) -> ProofEvidence:
        """Returns the evidence for a share: with another one, only what is refuted stays."""
        if all(one.share == share for one in self.units.values()):
            return self
        kept = {unit: one for unit, one in self.units.items() if unit in self.broken}
        return ProofEvidence(self.proof, kept, self.broken)


class PromiseWatch:
    """Takes graded answers, and turns choices to the reference where the promise is refuted.

    Thread-safe; a choice reads one attribute as long as nothing is refuted.

    Args:
        terms: the terms of the promise.
        file: keeps the evidence over a restart; None: it begins anew.
        before: the watch before a reload; None: there was none.

    Attributes:
        evidence: what graded answers have told.
    """

    def __init__(
        self, terms: WatchTerms, file: StateFile | None, before: PromiseWatch | None = None
    ) -> None:
        self._terms = terms
        self._file = file
        self._unwritten = 0
        self.evidence = ProofEvidence(terms.proof)
        if before is not None and before.evidence.proof == terms.proof:
            self.evidence = before.evidence.with_share(terms.policy.share)
        elif file is not None:
            self._restore(file)

    @property
    def is_broken(self) -> bool:
        """Whether the promise was refuted anywhere."""
        return bool(self.evidence.broken)

    def instead(
        self, chosen: Chosen, requests: Sequence[PromptRequest], prepared: Prepared
    ) -> Chosen:
        """Puts the reference in place of the policy's choice where the promise is refuted.

        Where the reference is not eligible, the policy's choice stays.

        Args:
            chosen: the choice of the policies for n prompts.
            requests: the n requests.
            prepared: the input of that choice.
        """
        broken = self.evidence.broken
        if not broken:
            return chosen
        terms, estimates = self._terms, prepared.estimates
        refuted = np.array(
            [
                one.policy in terms.names
                and (
                    EVERYTHING in broken
                    or (one.tenant, _task(estimates.tasks, estimates.task_names, row)) in broken
                )
                for row, one in enumerate(requests)
            ],
            np.bool_,
        )
        reference = terms.policy.reference
        turned = (chosen.choice != reference) | (chosen.reasons == Reason.GUARANTEE_SHARE)
        fallen = refuted & prepared.case.mask[:, reference] & turned
        if not fallen.any():
            return chosen
        return replace(
            chosen,
            choice=np.where(fallen, reference, chosen.choice),
            reasons=np.where(fallen, np.int8(Reason.GUARANTEE_BROKEN), chosen.reasons),
            fallen=fallen,
            odds=certain(chosen.odds, fallen),
        )

    def reported(self, outcome: OutcomeReport, decision: Decision) -> None:
        """Takes the grade of an answer, if the promise holds for its decision."""
        drop = self._drop(outcome, decision)
        if drop is None:
            return
        estimates = decision.batch.estimates
        unit = (decision.tenant, _task(estimates.tasks, estimates.task_names, decision.row))
        with self.evidence.lock:
            for one in (EVERYTHING, unit):
                self._add(one, drop)
            self._unwritten += 1
            if self._unwritten >= _WRITTEN_EVERY:
                self._write()

    def states(self) -> list[UnitState]:
        """Returns what is known of each tenant and kind of task, all traffic first."""
        with self.evidence.lock:
            evidence = self.evidence
            return [
                UnitState(
                    unit, one.graded, one.mean_drop, one.e_value, is_broken=unit in evidence.broken
                )
                for unit, one in evidence.units.items()
            ]

    def close(self) -> None:
        """Writes what was not written yet."""
        with self.evidence.lock:
            self._write()

    def _drop(self, outcome: OutcomeReport, decision: Decision) -> float | None:
        """Returns the estimated drop on one prompt; None: its answer tells nothing of the promise.

        The choice is made again, which tells the model that the policy prefers. Where the choice
        was not left to the draw, as in a loop of tool calls or at an unsure prompt, only one of the
        two could have answered, and nothing is learned. An answer of another model than that, or
        than the drawn reference, is one that a budget changed, see ``_of_refused``.
        """
        batch, row, policy = decision.batch, decision.row, self._terms.policy
        if outcome.score is None or batch.policy_versions[row] != self._terms.version:
            return None
        rows, reference = slice(row, row + 1), policy.reference
        estimates, mask = batch.estimates, batch.mask[rows]
        if batch.reasons[row] == Reason.GUARANTEE_BROKEN or not mask[0, reference]:
            return None
        scores, costs_usd = estimates.scores[rows], estimates.costs_usd[rows]
        if batch.sessions is not None:  # the policy weighs no turns
            figures = estimates.rows(np.array([row]))
            costs_usd = costs_usd_of(
                batch.pool, figures.input_tokens, figures.output_tokens, figures.priced_s
            )
        preferred = int(decide(scores, costs_usd, mask, policy.price)[0])
        ticket = int(decision.decision_id.rpartition("-")[2], 16)
        is_drawn = policy.drawn(np.array([ticket], np.int64))
        is_refused = batch.choices[row] != (reference if is_drawn[0] else preferred)
        if preferred == reference:
            return None if is_refused else 0.0
        score: float | None = None
        odds = 1.0 if batch.odds is None else batch.odds[row]
        if is_refused and np.isnan(odds):
            costs = estimates.costs_usd[row]
            is_cheaper = bool(costs[reference] < costs[preferred])
            score = _of_refused(by_reference=bool(is_drawn[0]), reference_is_cheaper=is_cheaper)
        elif not is_refused and odds in (policy.share, 1.0 - policy.share):
            score = outcome.score
        if score is None:
            return None
        graded = np.array([score], np.float64)
        drops = drops_of(graded, is_drawn, scores[:, preferred], scores[:, reference], policy.share)
        return float(drops[0])

    def _add(self, unit: Unit, drop: float) -> None:
        evidence, terms = self.evidence, self._terms
        found = evidence.units.get(unit)
        if found is None:
            if len(evidence.units) >= _MOST_UNITS:
                return
            found = evidence.units[unit] = DropEvidence(terms.max_drop, terms.policy.share)
        if unit in evidence.broken:
            return
        found.add(drop)
        if found.is_broken(terms.alpha):
            evidence.broken |= {unit}
            tenant, task = unit
            _log.error(
                "the promise of policy guarantee is refuted; the reference answers until there is"
                " a new calibration",
                tenant=tenant,
                task=task,
                graded=found.graded,
                drop=round(found.mean_drop, 4),
                max_drop=terms.max_drop,
            )
            self._write()

    def _write(self) -> None:
        self._unwritten = 0
        if self._file is not None:
            evidence = self.evidence
            units = [
                {"tenant": unit[0], "task": unit[1], "broken": unit in evidence.broken}
                | {"evidence": one.values()}
                for unit, one in evidence.units.items()
            ]
            self._file.write({"proof": evidence.proof, "units": units})

    def _restore(self, file: StateFile) -> None:
        """Reads the evidence of the same proof; that of a changed share begins anew."""
        values = file.read()
        if values.get("proof") != self._terms.proof:
            return
        units: dict[Unit, DropEvidence] = {}
        broken = set()
        try:
            for one in values["units"]:
                unit = (str(one["tenant"]), str(one["task"]))
                units[unit] = DropEvidence.restored(one["evidence"])
                if one["broken"]:
                    broken.add(unit)
        except (KeyError, TypeError, ValueError) as error:
            file.put_aside(str(error))
            return
        found = ProofEvidence(self._terms.proof, units, frozenset(broken))
        self.evidence = found.with_share(self._terms.policy.share)


def _of_refused(*, by_reference: bool, reference_is_cheaper: bool) -> float | None:
    """Returns the score that an answer counts with which a budget did not pay; None: with none.

    Leaving out the reference's refused answers alone would leave its predicted scores unchecked
    just where it cannot be paid for. With the score that speaks least for a drop, the estimate is
    never above the true drop on average, so that the bound on false alarms holds. A budget that
    cannot pay the preferred model cannot pay a reference that costs as much either: then neither
    answers, and both are left out.

    Args:
        by_reference: whether the reference was drawn.
        reference_is_cheaper: whether it costs less than the preferred model.
    """
    if by_reference:
        return 0.0
    return 1.0 if reference_is_cheaper else None


def _task(tasks: IndexArray | None, names: Sequence[str], row: int) -> str:
    return "" if tasks is None else names[int(tasks[row])]
