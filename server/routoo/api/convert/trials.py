"""Messages of what is tried: an experiment, and the watch on a promise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.v1 import trials_pb2

if TYPE_CHECKING:
    from routoo.engine.trials.experiment import ArmReport, ExperimentReport, ShadowSums
    from routoo.engine.trials.split import Trials


def experiment_message(trials: Trials) -> trials_pb2.Experiment | None:
    """Converts what is known of an experiment; None: there is none."""
    if trials.experiment is None:
        return None
    report: ExperimentReport = trials.experiment.report()
    terms = report.terms
    return trials_pb2.Experiment(
        name=terms.name,
        candidate=terms.version,
        share=terms.share,
        by=terms.by,
        alpha=terms.alpha,
        control=_arm(report.control),
        candidate_arm=_arm(report.candidate),
        score_difference=_interval(report.quality_difference),
        cost_difference_usd=_interval(report.cost_difference_usd),
        verdict=report.verdict.value,
        reverted=report.reverted,
        in_shadow=report.in_shadow,
        shadow=_shadow(report.shadow),
    )


def promise_messages(trials: Trials) -> list[trials_pb2.PromiseEvidence]:
    """Converts what graded answers say of a promise; empty: nobody watches."""
    if trials.promise is None:
        return []
    return [
        trials_pb2.PromiseEvidence(
            tenant=one.unit[0],
            task=one.unit[1],
            graded=one.graded,
            mean_drop=one.mean_drop,
            e_value=one.e_value,
            broken=one.is_broken,
        )
        for one in trials.promise.states()
    ]


def _arm(arm: ArmReport) -> trials_pb2.ExperimentArm:
    return trials_pb2.ExperimentArm(
        decisions=arm.decisions,
        graded=arm.graded,
        mean_score=arm.quality,
        score_bounds=_interval(arm.quality_bounds),
        booked=arm.booked,
        mean_cost_usd=arm.cost_usd,
    )


def _shadow(sums: ShadowSums) -> trials_pb2.ExperimentShadow:
    made = max(1, sums.decisions - sums.failed)
    return trials_pb2.ExperimentShadow(
        decisions=sums.decisions,
        disagreements=sums.disagreements,
        failed=sums.failed,
        mean_score=sums.score / made,
        candidate_mean_score=sums.candidate_score / made,
        mean_cost_usd=sums.cost_usd / made,
        candidate_mean_cost_usd=sums.candidate_cost_usd / made,
    )


def _interval(bounds: tuple[float, float]) -> trials_pb2.Interval:
    low, high = bounds
    return trials_pb2.Interval(low=low, high=high)
