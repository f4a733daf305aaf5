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
        too_much = False
        if target.kind == "strong_share":
            figures, noun, allowed = self.shares, "shares", self.shares <= target.value + _SAME
            # More than every prompt is within reach, except where a limit keeps some back.
            most = float(figures.max())
            too_much = most < 1.0 and target.value > most + _SAME
            order = (self.costs_usd, -self.shares)
        elif target.kind == "target_cost":
            figures, noun = self.costs_usd, "mean costs in USD"
            # Costs may be far below a dollar, so the tolerance is a part of them.
            allowed = self.costs_usd <= target.value * (1.0 + _SAME)
            order = (self.costs_usd, -self.scores)
        else:
            figures, noun, allowed = self.scores, "mean scores", self.scores >= target.value - _SAME
            order = (-self.scores, self.costs_usd)
        if too_much or not allowed.any():
            raise InfeasibleError(
                f"{target.option} {target.value:g} is out of reach on these prompts; reachable"
                f" {noun}: {figures.min():.6g} to {figures.max():.6g}"
            )
        ranked = np.lexsort((*order, ~allowed))
        return int(ranked[0])
