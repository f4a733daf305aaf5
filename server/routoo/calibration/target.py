"""Targets of a calibration: a share, a cost or a score; and the position that reaches one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from routoo.errors import InfeasibleError

if TYPE_CHECKING:
    from routoo.selector.arrays import FloatArray

TargetKind = Literal["strong_share", "target_cost", "target_score"]
# Sums over a sample in two orders may differ in their last bits.
_SAME = 1e-12


@dataclass(frozen=True, slots=True)
class Target:
    """One wanted result.

    Attributes:
        kind: strong_share: the part of the prompts for the expensive model, at most. target_cost:
            mean predicted USD per prompt, at most. target_score: mean predicted score, at least.
        value: the wanted figure.
    """

    kind: TargetKind
    value: float

    @property
    def option(self) -> str:
        """The option of the command line, for messages."""
        return "--" + self.kind.replace("_", "-")


@dataclass(frozen=True, slots=True)
class Positions:
    """Results of k values of a setting.

    Attributes:
        shares: float64 [k], the part of the prompts for the expensive model.
        costs_usd: float64 [k], mean predicted cost.
        scores: float64 [k], mean predicted score.
    """

    shares: FloatArray
    costs_usd: FloatArray
    scores: FloatArray

    def best_for(self, target: Target) -> int:
        """Returns the index of the position that meets the target best.

        For a share that is the largest allowed one, for a cost the highest score, then the least
        cost, and for a score the least cost, then the highest score.

        Raises:
            InfeasibleError: the target is out of reach; tells the reachable range.
        """
        if target.kind == "strong_share":
            self._check(target, self.shares, "shares", at_most=bool(self.shares.max() < 1.0))
            allowed = self.shares <= target.value + _SAME
            order = (self.costs_usd, -self.shares)
        elif target.kind == "target_cost":
            self._check(target, self.costs_usd, "mean costs in USD", at_most=False)
            allowed = self.costs_usd <= target.value * (1.0 + _SAME)
            order = (self.costs_usd, -self.scores)
        else:
            self._check(target, -self.scores, "mean scores", at_most=False)
            allowed = self.scores >= target.value - _SAME
            order = (-self.scores, self.costs_usd)
        ranked = np.lexsort((*order, ~allowed))
        return int(ranked[0])

    def _check(self, target: Target, figures: FloatArray, noun: str, *, at_most: bool) -> None:
        sign = -1.0 if target.kind == "target_score" else 1.0
        wanted = sign * target.value
        low, high = sorted((sign * float(figures.min()), sign * float(figures.max())))
        if wanted < figures.min() - _SAME or (at_most and wanted > figures.max() + _SAME):
            raise InfeasibleError(
                f"{target.option} {target.value:g} is out of reach on these prompts; reachable"
                f" {noun}: {low:.6g} to {high:.6g}"
            )
