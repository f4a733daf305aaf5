"""Estimates whose scores follow what graded answers have taught."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from routoo.routing.corrections.scores.in_force import learned_scores, learned_std

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.routing.corrections.scores.in_force import LearnedScores
    from routoo.routing.estimates import Estimates


def with_learned(estimates: Estimates, learned: LearnedScores, tenants: Sequence[str]) -> Estimates:
    """Returns estimates with learned scores, beside those that were predicted.

    Args:
        estimates: of n prompts on m models, as predicted.
        learned: what is in force, for these models and the predictor's kinds of task.
        tenants: [n], whose prompts they are.
    """
    if learned.changes_nothing:
        return estimates
    odds, spread = learned.rows(estimates.tasks, tenants)
    plain, std = estimates.scores, estimates.score_std
    return replace(
        estimates,
        scores=learned_scores(plain, odds),
        score_std=None if std is None else learned_std(std, plain, odds, spread),
        plain_scores=plain,
        plain_std=std,
        score_odds=odds,
        learned=learned,
    )
