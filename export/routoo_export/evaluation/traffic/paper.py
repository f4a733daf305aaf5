"""The claims of the Routoo paper on models of 2025, whose calls were billed.

The outcomes are ParetoBandit's: three or four models, from an open one to Gemini 2.5 Pro. Each of
five folds is predicted by what was fitted to the other four, as ``routoo-export train --outcomes``
fits it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from routoo.predictor.artifact import Artifact
from routoo_export.errors import OutcomeError
from routoo_export.evaluation.bootstrap import Estimate, Resamples
from routoo_export.evaluation.curves import Curve, Gains, Truth
from routoo_export.evaluation.decisions import PoolPredictions
from routoo_export.evaluation.own.judge import HeldOut, cross_validate
from routoo_export.evaluation.reproduce import STRONG_CLAIMS, Claim
from routoo_export.outcomes.sources import read_source
from routoo_export.training.own.train import OwnPrompts

SOURCE: Final = "paretobandit_val"
LOW_SHARE: Final = 0.05
_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class PaperFigures:
    """The figures of one method.

    Attributes:
        cost_share: Share of the best single model's cost at which its mean score is reached.
        three_quarter_cost_points: Mean score at three quarters of its cost less its own, in points.
        full_cost_points: The same at its cost.
        low_cost_score: Mean score at LOW_SHARE of its cost.
        best_score: Best mean score at any cost.
    """

    cost_share: Estimate
    three_quarter_cost_points: Estimate
    full_cost_points: Estimate
    low_cost_score: Estimate
    best_score: Estimate


@dataclass(frozen=True, slots=True)
class PaperResult:
    """The claims on one pool.

    Attributes:
        prompts: Prompts with the outcomes of all models.
        best_single: The best single model.
        best_single_score: Its mean score.
        best_single_cost_usd: Its mean cost in USD.
        methods: Figures by method.
    """

    prompts: int
    best_single: str
    best_single_score: float
    best_single_cost_usd: float
    methods: Mapping[str, PaperFigures]

    def claims(self, method: str) -> list[tuple[Claim, Estimate, bool]]:
        """Each claim, its figure by ``method``, and whether it is reached."""
        figures = self.methods[method]
        found = [(claim, getattr(figures, claim.figure)) for claim in STRONG_CLAIMS]
        return [(claim, one, claim.reached(one.value)) for claim, one in found]


def judge_paper(data: Path, artifact: Artifact, source: str = SOURCE) -> PaperResult:
    """Judge the claims on a source with billed costs.

    Args:
        data: The data folder.
        artifact: An artifact of format 2, from whose rows the training starts.
        source: The source.

    Raises:
        OutcomeError: the source is missing, does not fit, or has no costs.
        ExportError: the artifact is of another format.
    """
    own = OwnPrompts.read(read_source(data, source).outcomes, artifact)
    # The artifact's catalogue has seen the source, so its scores are no prior here.
    return judge_held_out(own, cross_validate(own, prior=False))


def judge_held_out(own: OwnPrompts, held: HeldOut) -> PaperResult:
    """Judge predictions of prompts that were not fitted to.

    Raises:
        OutcomeError: no prompt has the costs of all models.
    """
    outcomes = own.outcomes
    figures: Any = outcomes.scores + outcomes.cost_usd
    whole = ~np.isnan(figures).any(axis=1)
    if not whole.any():
        raise OutcomeError("no prompt has scores and costs of all models; take another source")
    scores, cost_usd = outcomes.scores[whole], outcomes.cost_usd[whole]
    truth = Truth(scores, cost_usd, int(scores.mean(axis=0).argmax()))
    resamples = Resamples.draw(len(scores), _SEED)
    methods = {
        name: _figures(
            PoolPredictions(predicted[whole], held.cost_usd[name][whole]), truth, resamples
        )
        for name, predicted in held.scores.items()
        if name in held.cost_usd
    }
    at = truth.reference
    return PaperResult(
        prompts=len(scores),
        best_single=outcomes.models[at],
        best_single_score=float(scores[:, at].mean()),
        best_single_cost_usd=float(cost_usd[:, at].mean()),
        methods=methods,
    )


def _figures(predicted: PoolPredictions, truth: Truth, resamples: Resamples) -> PaperFigures:
    curve = Curve.of(predicted.sweep(), truth, resamples)
    gains = Gains.of(curve, truth, resamples)
    weights = resamples.weights.astype(np.float64)
    cost = weights @ truth.cost_usd[:, truth.reference] / weights.sum(axis=1)
    return PaperFigures(
        cost_share=Estimate.of(gains.cost_share),
        three_quarter_cost_points=Estimate.of(gains.three_quarter_cost_points),
        full_cost_points=Estimate.of(gains.full_cost_points),
        low_cost_score=Estimate.of(curve.score_at(LOW_SHARE * cost)),
        best_score=Estimate.of(curve.score.max(axis=1)),
    )
