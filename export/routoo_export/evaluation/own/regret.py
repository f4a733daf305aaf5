"""The check for regret: five folds of every source against its best single model in hindsight.

The artifact's own scores are left out as a prior, because its catalogue has seen some of the
sources.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from routoo.predictor.artifact import Artifact
from routoo_export.errors import OutcomeError
from routoo_export.evaluation.bootstrap import Estimate
from routoo_export.evaluation.own.judge import (
    RECOGNISED,
    THIS,
    choice_figures,
    cross_validate,
    true_costs,
)
from routoo_export.outcomes.registry import registry
from routoo_export.outcomes.sources import read_source
from routoo_export.training.own.train import FEWEST_PROMPTS, OwnPrompts

_ASKED_SHARE: Final = 0.95
"""Models that fewer of a source's prompts were put to are left out."""


@dataclass(frozen=True, slots=True)
class Regret:
    """Five folds of one source; points (1/100) over its best single model in hindsight.

    Attributes:
        prompts: Their number.
        models: Their number.
        points: Of the choice by predicted score.
        full_cost_points: At that model's cost; None = costs are not known.
        plain_points: As ``points``, of empirical-Bayes means by recognised task.
        plain_full_cost_points: As ``full_cost_points``, of the same.
    """

    prompts: int
    models: int
    points: Estimate
    full_cost_points: Estimate | None
    plain_points: Estimate
    plain_full_cost_points: Estimate | None

    @property
    def regrets(self) -> bool:
        """Whether the router is below the best single model by more than one standard error."""
        at_cost = self.full_cost_points or self.points
        return at_cost.value < -at_cost.se


def regrets(data: Path, artifact: Artifact) -> Iterator[tuple[str, Regret]]:
    """Judge each source of the registry that has prompts.

    Raises:
        OutcomeError: a file is missing or does not fit.
    """
    for entry in registry().sources:
        if entry.prompt is None:
            continue
        outcomes = read_source(data, entry.name).outcomes
        if len(outcomes.prompts) < FEWEST_PROMPTS:
            continue
        yield entry.name, regret(OwnPrompts.read(outcomes, artifact))


def regret(own: OwnPrompts) -> Regret:
    """Judge one set of outcomes.

    Raises:
        OutcomeError: no two models were asked nearly all prompts.
    """
    asked = (~np.isnan(own.outcomes.scores)).mean(axis=0)
    kept = np.asarray(asked >= _ASKED_SHARE * asked.max(), np.bool_)
    if kept.sum() < 2:
        raise OutcomeError(
            "no two models were asked the same prompts; bring outcomes of several models"
        )
    own = own.models(kept)
    found = choice_figures(own, cross_validate(own, prior=False), true_costs(own, None))
    this, plain = found[THIS], found[RECOGNISED]
    return Regret(
        len(own.outcomes.prompts),
        int(kept.sum()),
        this["points"],
        this.get("full_cost_points"),
        plain["points"],
        plain.get("full_cost_points"),
    )
