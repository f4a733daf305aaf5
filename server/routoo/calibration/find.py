"""Settings of each policy that reach a target on a sample, with the results they achieve."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from routoo.calibration.cascade import learn
from routoo.calibration.cascade_file import rule_values
from routoo.calibration.guarantee import prove
from routoo.calibration.pair import find_limit
from routoo.calibration.prices import find_mean_cost
from routoo.calibration.results import Achieved, Mean
from routoo.selector.cascade import Rule
from routoo.selector.policies.base import Case
from routoo.selector.policies.pair import advantage
from routoo.selector.policies.quality_gap import QualityGap
from routoo.selector.policies.threshold import Threshold

if TYPE_CHECKING:
    from routoo.calibration.sample import PromptSample
    from routoo.calibration.target import Target
    from routoo.routing.money.operating_point import PricedSample
    from routoo.routing.pool import Pool
    from routoo.selector.guarantee import Promise

# Limits that every advantage is above, and that none is above.
_EVERYTHING, _NOTHING = -2.0, 2.0


@dataclass(frozen=True, slots=True)
class Grounds:
    """The data of a calibration.

    Attributes:
        sample: the prompts.
        pool: the models, m of them.
        priced: the predictor's own calibration sample at the pool's prices.
        price: score per USD that is in force under the present configuration.
        predictor_version: version of the predictor.
    """

    sample: PromptSample
    pool: Pool
    priced: PricedSample
    price: float
    predictor_version: str

    def case(self) -> Case:
        """Returns the sample as a policy takes it."""
        n = len(self.sample)
        return Case(
            scores=self.sample.scores,
            costs_usd=self.sample.costs_usd,
            mask=self.sample.mask,
            prices=np.full(n, self.price),
            max_quality_gaps=np.full(n, np.nan),
            tickets=np.arange(n, dtype=np.int64),
        )


@dataclass(frozen=True, slots=True)
class Found:
    """Settings that were found.

    Attributes:
        settings: nested, as in the file.
        achieved: their results on the sample, as lines of text.
        figures: the results for JSON.
    """

    settings: dict[str, Any]
    achieved: list[str]
    figures: dict[str, Any]

    @classmethod
    def of(cls, policy: dict[str, Any], achieved: Achieved, pool: Pool) -> Found:
        return cls({"policy": policy}, achieved.lines(pool.names), achieved.as_dict(pool.names))


def find_threshold(grounds: Grounds, strong: int, weak: int, target: Target) -> Found:
    """Finds the threshold of RouteLLM's rule.

    Args:
        grounds: the data.
        strong: column of the strong model.
        weak: column of the weak model.
        target: the wanted result.

    Raises:
        InfeasibleError: the target is out of reach; tells the reachable range.
    """
    case, names = grounds.case(), grounds.pool.names
    policy = Threshold(strong, weak, 0.0)
    ends = (
        replace(policy, threshold=_EVERYTHING).choose(case),
        replace(policy, threshold=_NOTHING).choose(case),
    )
    gains = advantage(case, strong, weak)
    limit = round(find_limit(grounds.sample, gains, ends, target, least=-1.0), 4)
    choice = replace(policy, threshold=limit).choose(case)
    section = {"strong": names[strong], "weak": names[weak], "threshold": limit}
    return Found.of(
        {"name": "threshold", "threshold": section},
        Achieved.by(grounds.sample, choice),
        grounds.pool,
    )


def find_quality_gap(grounds: Grounds, large: int, small: int, target: Target) -> Found:
    """Finds the tolerance of Hybrid LLM's rule.

    Args:
        grounds: the data.
        large: column of the large model.
        small: column of the small model.
        target: the wanted result.

    Raises:
        InfeasibleError: the target is out of reach; tells the reachable range.
    """
    case, names = grounds.case(), grounds.pool.names
    policy = QualityGap(small, large, 0.0)
    ends = (
        replace(policy, tolerance=_EVERYTHING).choose(case),
        replace(policy, tolerance=_NOTHING).choose(case),
    )
    gains = advantage(case, large, small)
    limit = round(find_limit(grounds.sample, gains, ends, target, least=0.0), 4)
    choice = replace(policy, tolerance=limit).choose(case)
    section = {"small": names[small], "large": names[large], "tolerance": limit}
    return Found.of(
        {"name": "quality_gap", "quality_gap": section},
        Achieved.by(grounds.sample, choice),
        grounds.pool,
    )


def find_lp(grounds: Grounds, target: Target) -> Found:
    """Finds the mean cost that the policy ``lp`` sets its price for.

    Raises:
        InfeasibleError: the target is out of reach; tells the reachable range.
    """
    setting = find_mean_cost(grounds.sample, grounds.priced, target)
    found = Found.of(
        {"name": "lp", "max_mean_cost_usd": setting.max_mean_cost_usd},
        Achieved.by(grounds.sample, setting.choice),
        grounds.pool,
    )
    return replace(
        found,
        achieved=[*found.achieved, f"shadow price: {setting.price:.6g} score per USD"],
        figures={**found.figures, "shadow_price": setting.price},
    )


def find_guarantee(grounds: Grounds, reference: int, promise: Promise) -> Found:
    """Finds the cheapest price that is proven to keep a promise.

    Args:
        grounds: the data.
        reference: column of the model that quality is compared with.
        promise: the drop that is allowed, and the chance that the proof is wrong.

    Raises:
        PromptsFileError: a label is missing.
        InfeasibleError: nothing is proven; tells how many labels it would take.
    """
    sample, pool = grounds.sample, grounds.pool
    proven = prove(sample, pool, grounds.priced, reference, promise)
    drop = Mean.of(-proven.differences)
    assert drop is not None  # noqa: S101 - every label is there
    section = {
        "reference": pool.names[reference],
        "max_drop": promise.max_drop,
        "confidence": round(1.0 - promise.alpha, 12),
        "labels_sha256": sample.sha256,
        "price": proven.price,
        "predictor_version": grounds.predictor_version,
        "pool_digest": pool.digest,
    }
    found = Found.of(
        {"name": "guarantee", "guarantee": section}, Achieved.by(sample, proven.choice), pool
    )
    lines = [
        f"drop against {pool.names[reference]}: {drop.value:.4f} (standard error {drop.se:.2g})",
        f"p-value of a drop of more than {promise.max_drop:g}: {proven.p_value:.2g}",
        f"predicted cost: {proven.cost_share:.1%} of sending everything to the reference",
    ]
    return replace(
        found,
        achieved=[*lines, *found.achieved],
        figures={
            **found.figures,
            "drop": drop.as_dict(),
            "p_value": proven.p_value,
            "cost_share": proven.cost_share,
        },
    )


def find_cascade(grounds: Grounds, beside: int | None) -> Found:
    """Learns the rule for ``Escalate``, and judges it at the price in force.

    Args:
        grounds: the data.
        beside: column of the cheap model that agreement is measured against; None: not known.

    Raises:
        InfeasibleError: there is no signal to learn from, or an agreement is neither 1 nor 0.
    """
    names = grounds.pool.names
    fitted = learn(grounds.sample, grounds.price, beside)
    lines, figures = [], []
    for one in fitted:
        line = f"{one.kind} of {names[one.kept]}: learned from {one.rows:,} answers"
        held_out = one.held_out
        if held_out is not None:
            line += (
                f"; on held-out ones, at {held_out.price:.6g} score per USD,"
                f" {held_out.escalated.value:.1%} are escalated, which takes the mean score from"
                f" {held_out.kept_score.value:.4f} to {held_out.score.value:.4f} (standard error"
                f" {held_out.score.se:.2g}) for {held_out.extra_usd.value:.3g} USD a prompt more"
            )
        lines.append(line)
        figures.append(
            {
                "signal": one.kind,
                "answered_by": names[one.kept],
                "rows": one.rows,
                "held_out": None
                if held_out is None
                else {
                    "price": held_out.price,
                    "escalated": held_out.escalated.as_dict(),
                    "kept_score": held_out.kept_score.as_dict(),
                    "score": held_out.score.as_dict(),
                    "extra_usd": held_out.extra_usd.as_dict(),
                },
            }
        )
    rule = Rule(
        {(one.kind, one.kept): one.correction for one in fitted},
        tuple(one.plan for one in fitted if one.plan is not None),
    )
    values = rule_values(rule, grounds.pool, grounds.predictor_version)
    return Found(values, lines, {"corrections": figures})
