"""The check for regret: five folds of every source against its best single model.

That model is the one that is the best in the folds that were trained on, and, as the stricter bar,
the best in hindsight. The artifact's own scores are left out as a prior, because its catalogue has
seen some of the sources.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from routoo.predictor.artifact import Artifact
from routoo_export.errors import OutcomeError
from routoo_export.evaluation.bootstrap import Estimate
from routoo_export.evaluation.own.judge import (
    THIS,
    choice_figures,
    cross_validate,
    known_before,
    true_costs,
)
from routoo_export.outcomes.registry import registry
from routoo_export.outcomes.sources import read_source
from routoo_export.training.own.train import OwnPrompts

_ASKED_SHARE: Final = 0.95
"""Models that fewer of a source's prompts were put to are left out."""
_ROUNDING: Final = 1.0e-6


@dataclass(frozen=True, slots=True)
class Regret:
    """Five folds of one source.

    The figures are those of ``OwnFigures`` that speak of choices, by method and by name; those at
    a cost are missing where costs are not known.

    Attributes:
        prompts: Their number.
        models: Their number.
        over_known: Figures over the best single model of the folds that were trained on.
        over_hindsight: Figures over the best single model in hindsight.
    """

    prompts: int
    models: int
    over_known: dict[str, dict[str, Estimate]]
    over_hindsight: dict[str, dict[str, Estimate]]

    @property
    def regrets(self) -> bool:
        """Whether choices are below the best single model of the folds that were trained on.

        By more than one standard error, at that model's cost where costs are known.
        """
        return _below(self.over_known[THIS])

    @property
    def regrets_in_hindsight(self) -> bool:
        """The same of the best single model in hindsight."""
        return _below(self.over_hindsight[THIS])


def _below(figures: dict[str, Estimate]) -> bool:
    at_cost = figures.get("full_cost_points", figures["points"])
    return at_cost.value < -at_cost.se - _ROUNDING


def checked_sources(names: Sequence[str]) -> tuple[str, ...]:
    """The sources ``names``, or else all that have prompts.

    Raises:
        OutcomeError: there is no such source, or it has no prompts.
    """
    known = [entry.name for entry in registry().sources if entry.prompt is not None]
    for name in names:
        if registry().named(name).name not in known:
            raise OutcomeError(f"source {name!r} has no prompts; choose one of {', '.join(known)}")
    return tuple(dict.fromkeys(names)) or tuple(known)


def regret_of(data: Path, name: str, artifact: Artifact) -> Regret:
    """Judge one source of the data folder.

    Raises:
        OutcomeError: its file is missing or does not fit, or cannot be trained on.
    """
    return regret(OwnPrompts.read(read_source(data, name).outcomes, artifact))


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
    held, cost_usd = cross_validate(own, prior=False), true_costs(own, None)
    return Regret(
        len(own.outcomes.prompts),
        int(kept.sum()),
        known_before(own, held, cost_usd),
        choice_figures(own, held, cost_usd),
    )
