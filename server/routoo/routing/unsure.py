"""Prompts that the predictor does not know, and the choice of their models.

A prompt is unsure where it is unlike the training prompts, or where its task is not clear. The
setting names a model for such prompts, or lets every model's mean score stand in for its predicted
one (shrinkage as far as it goes), so that constraints and prices still decide.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from routoo.config.sections.policy import SHRINK
from routoo.errors import ConfigError
from routoo.routing.exploring import certain
from routoo.selector.policies.lp import round_scores
from routoo.selector.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routoo.config.sections.policy import UnsureSettings
    from routoo.routing.decision import Chosen
    from routoo.routing.estimates import Estimates
    from routoo.routing.pool import Pool
    from routoo.selector.arrays import BoolArray, FloatArray


@dataclass(frozen=True, slots=True)
class Unsure:
    """The rule for prompts that the predictor does not know.

    Attributes:
        ood_above: prompts further from the training prompts are unsure; None: none are for that.
        confidence_below: prompts whose task is less probable are unsure; None: none are for that.
        model: column of the model that answers them; None: the mean scores decide.
        mean_scores: each model's mean score, where they decide; else empty.
    """

    ood_above: float | None
    confidence_below: float | None
    model: int | None
    mean_scores: tuple[float, ...] = ()

    @classmethod
    def build(
        cls,
        settings: UnsureSettings,
        pool: Pool,
        sample_scores: FloatArray,
        *,
        tells_ood: bool,
        tells_tasks: bool,
    ) -> Self:
        """Makes the rule of a setting.

        Args:
            settings: section ``policy.unsure``.
            pool: the m models.
            sample_scores: float64 [r, m], scores of the calibration sample.
            tells_ood: whether the predictor gives ``ood``.
            tells_tasks: whether it tells tasks apart.

        Raises:
            ConfigError: the pool lacks the model, or the predictor gives no such figure; one line.
        """
        for name, told, lacking in (
            ("ood_above", tells_ood, "how unlike its training prompts a prompt is"),
            ("confidence_below", tells_tasks, "tasks apart"),
        ):
            if getattr(settings, name) is not None and not told:
                raise ConfigError(
                    f"policy.unsure.{name}: the predictor does not tell {lacking}; leave it out, or"
                    " serve a predictor that does"
                )
        model, means = None, ()
        if settings.choose == SHRINK:
            means = tuple(round_scores(sample_scores.mean(axis=0)).tolist())
        else:
            model = pool.column(settings.choose, "policy.unsure.choose", ConfigError)
        return cls(settings.ood_above, settings.confidence_below, model, means)

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Self:
        """Makes the rule again from the values that ``logged`` returned."""
        return cls(**{**values, "mean_scores": tuple(values["mean_scores"])})

    def logged(self) -> dict[str, Any]:
        """Returns the attributes as plain values, for the decision log."""
        return asdict(self)

    def rows(self, estimates: Estimates) -> BoolArray:
        """Returns the unsure ones of n prompts, bool [n]; figures that are NaN make none unsure."""
        found = np.zeros(len(estimates.scores), np.bool_)
        if self.ood_above is not None and estimates.ood is not None:
            found |= estimates.ood > self.ood_above
        if self.confidence_below is not None and estimates.confidence is not None:
            found |= estimates.confidence < self.confidence_below
        return found

    def marked(self, estimates: Estimates) -> Estimates:
        """Returns the estimates with their unsure prompts, and with mean scores if they decide."""
        rows = self.rows(estimates)
        scores = estimates.scores
        if self.mean_scores and rows.any():
            scores = np.where(rows[:, None], np.array(self.mean_scores), scores)
        return replace(estimates, scores=scores, unsure=rows)

    def instead(self, chosen: Chosen, mask: BoolArray, rows: BoolArray) -> Chosen:
        """Puts the model in place of the policy's choice at unsure prompts.

        Where the model is not eligible the policy's choice stays.

        Args:
            chosen: the choice of the policies for n prompts.
            mask: bool [n, m], eligible cells.
            rows: bool [n], the unsure prompts.
        """
        taken = rows & (chosen.choice >= 0)
        choice, priced = chosen.choice, chosen.priced
        if self.model is not None:
            taken = rows & mask[:, self.model]
            choice = np.where(taken, self.model, choice)
            priced = priced & ~taken
        one_left = mask.sum(axis=1) == 1
        code = np.where(one_left, np.int8(Reason.ONLY_ELIGIBLE), np.int8(Reason.UNSURE))
        return replace(
            chosen,
            choice=choice,
            reasons=np.where(taken, code, chosen.reasons),
            priced=priced,
            odds=chosen.odds if self.model is None else certain(chosen.odds, taken),
        )
