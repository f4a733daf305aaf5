"""Decides the requests of an experiment: each by its arm, or by the candidate beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import monotonic_ns
from typing import TYPE_CHECKING

import structlog

from routoo.errors import PredictorError, RoutooError
from routoo.pricing.prices import FixedPricing
from routoo.routing.decision import Decision, Predicted
from routoo.routing.joint import JointConstraints

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.engine.accounting import Accounting
    from routoo.engine.decider import Decider
    from routoo.engine.trials.experiment import Experiment
    from routoo.engine.trials.promise_watch import PromiseWatch
    from routoo.predictor.base import Prediction, Predictor
    from routoo.pricing.presets import PresetPrices
    from routoo.routing.outcome import OutcomeReport
    from routoo.routing.request import PromptRequest

    Predict = Callable[[Sequence[PromptRequest], Predictor | None], Prediction]

_log = structlog.get_logger("routoo.experiment")


@dataclass(frozen=True, slots=True)
class Rival:
    """Another predictor, which decides the candidate's requests of an experiment.

    Attributes:
        predictor: the predictor.
        version: its version.
        price: score per USD that keeps to ``policy.max_mean_cost_usd`` by its own predictions.
        presets: the prices of the policies that are points of its own curve.
    """

    predictor: Predictor
    version: str
    price: float
    presets: PresetPrices


@dataclass(frozen=True, slots=True)
class Trials:
    """What is tried beside the decisions of an engine.

    Attributes:
        promise: watches the promise of policy ``guarantee``; None: nothing is watched.
        experiment: splits the requests; None: there is none.
        rival: the candidate's predictor; None: a policy is the candidate, or there is none.
    """

    promise: PromiseWatch | None = None
    experiment: Experiment | None = None
    rival: Rival | None = None

    @property
    def is_broken(self) -> bool:
        """Whether a promise was refuted, so that its reference answers."""
        return self.promise is not None and self.promise.is_broken

    def split(
        self,
        control: Decider,
        decider: Callable[..., Decider],
        accounting: Accounting,
        predict: Predict,
    ) -> ArmSplit | None:
        """Makes what decides the requests of the experiment; None: there is no experiment.

        Args:
            control: decides by what is in force.
            decider: makes another decider, given a predictor and the accounting.
            accounting: of the engine; where no budget sets a price, the rival has its own.
            predict: predicts requests.
        """
        if self.experiment is None:
            return None
        candidate, rival = control, self.rival
        if rival is not None:
            accounting = replace(accounting, presets=rival.presets)
            if isinstance(accounting.pricing, FixedPricing):
                accounting = replace(accounting, pricing=FixedPricing(rival.price))
            candidate = decider(predictor=rival.predictor, accounting=accounting)
        return ArmSplit(self.experiment, predict, control, rival, candidate)

    def listener(self) -> Callable[[OutcomeReport, Decision, float | None], None] | None:
        """Returns what takes outcomes; None: nothing is tried."""
        promise, experiment = self.promise, self.experiment
        if promise is None and experiment is None:
            return None

        def reported(outcome: OutcomeReport, decision: Decision, cost_usd: float | None) -> None:
            if promise is not None:
                promise.reported(outcome, decision)
            if experiment is not None:
                experiment.reported(outcome, decision, cost_usd)

        return reported

    def close(self) -> None:
        """Writes what the trials have learned."""
        for one in (self.promise, self.experiment):
            if one is not None:
                one.close()


class ArmSplit:
    """Decides requests by the arms of an experiment.

    Args:
        experiment: draws the arms and counts.
        predict: predicts requests, by the predictor in force or by another one.
        control: decides by what is in force.
        rival: the candidate's predictor; None: the candidate is a policy.
        candidate: decides by that predictor; ``control``, where the candidate is a policy.
    """

    def __init__(
        self,
        experiment: Experiment,
        predict: Predict,
        control: Decider,
        rival: Rival | None,
        candidate: Decider,
    ) -> None:
        self._experiment = experiment
        self._predict = predict
        self._control = control
        self._rival = None if rival is None else rival.predictor
        self._candidate = candidate

    def decide(
        self, requests: Sequence[PromptRequest], accepted_ns: Sequence[int]
    ) -> list[Decision | RoutooError]:
        """Decides each request by its arm; see ``Decider.decide``.

        While the candidate is in shadow, or after it was found worse, all are decided by what is in
        force. A request that the candidate's predictor fails on is, too, and is of no arm.
        """
        experiment = self._experiment
        if experiment.reverted:
            return self._by_control(requests, accepted_ns, None)
        drawn = [experiment.is_candidate(one) for one in requests]
        if experiment.in_shadow:
            replies = self._by_control(requests, accepted_ns, None)
            for row, is_candidate in enumerate(drawn):
                self._shadow(requests[row], replies[row], is_counted=is_candidate is True)
            return replies
        candidates = [row for row, one in enumerate(drawn) if one]
        names = {
            None: "",
            False: experiment.control_name,
            True: experiment.candidate_name,
        }
        trials = [names[one] for one in drawn]
        if self._rival is None:
            policy = experiment.terms.policy
            asked = [
                replace(one, policy=policy) if is_candidate else one
                for one, is_candidate in zip(requests, drawn, strict=True)
            ]
            replies = self._by_control(asked, accepted_ns, trials)
        elif not candidates:
            replies = self._by_control(requests, accepted_ns, trials)
        else:
            replies = self._by_both(requests, accepted_ns, trials, candidates)
        self._count(replies)
        return replies

    def _by_both(
        self,
        requests: Sequence[PromptRequest],
        accepted_ns: Sequence[int],
        trials: list[str],
        candidates: list[int],
    ) -> list[Decision | RoutooError]:
        """Decides the candidate's rows by its predictor, and the others by the one in force."""
        found: dict[int, Decision | RoutooError] = {}
        try:
            started_ns = monotonic_ns()
            asked = [requests[row] for row in candidates]
            prediction = self._predict(asked, self._rival)
        except PredictorError as error:
            _log.warning("the candidate's predictor failed", detail=str(error))
            trials = ["" if row in candidates else trial for row, trial in enumerate(trials)]
        else:
            predicted = Predicted(
                asked,
                prediction,
                [accepted_ns[row] for row in candidates],
                started_ns,
                monotonic_ns(),
                [trials[row] for row in candidates],
            )
            found = dict(zip(candidates, self._candidate.decide(predicted), strict=True))
        rest = [row for row in range(len(requests)) if row not in found]
        if rest:
            replies = self._by_control(
                [requests[row] for row in rest],
                [accepted_ns[row] for row in rest],
                [trials[row] for row in rest],
            )
            found |= dict(zip(rest, replies, strict=True))
        return [found[row] for row in range(len(requests))]

    def _by_control(
        self,
        requests: Sequence[PromptRequest],
        accepted_ns: Sequence[int],
        trials: list[str] | None,
    ) -> list[Decision | RoutooError]:
        started_ns = monotonic_ns()
        prediction = self._predict(requests, None)
        predicted = Predicted(requests, prediction, accepted_ns, started_ns, monotonic_ns(), trials)
        return self._control.decide(predicted)

    def _shadow(
        self, request: PromptRequest, reply: Decision | RoutooError, *, is_counted: bool
    ) -> None:
        """Decides a request again as the candidate would, and counts it; nothing is booked."""
        if not is_counted or not isinstance(reply, Decision):
            return
        policy = self._experiment.terms.policy
        asked = [replace(request, policy=policy)]
        other = None
        now_ns = monotonic_ns()
        try:
            prediction = self._predict(asked, self._rival)
            predicted = Predicted(asked, prediction, [now_ns], now_ns, monotonic_ns())
            dry = self._candidate.decide_jointly(predicted, JointConstraints(), is_dry=True)
            other = dry.decisions[0]
        except RoutooError as error:
            _log.warning("the candidate made no decision", detail=str(error))
        self._experiment.shadowed(reply, other)

    def _count(self, replies: Sequence[Decision | RoutooError]) -> None:
        counts = {self._experiment.candidate_name: 0, self._experiment.control_name: 0}
        for reply in replies:
            if isinstance(reply, Decision) and reply.batch.trials is not None:
                trial = reply.batch.trials[reply.row]
                if trial:
                    counts[trial] += 1
        candidates, controls = counts.values()
        self._experiment.decided(candidates, controls)
