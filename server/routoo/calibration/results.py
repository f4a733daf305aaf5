"""Results of a choice of models on a sample: means with their standard errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from routoo.calibration.sample import PromptSample
    from routoo.selector.arrays import FloatArray, IndexArray


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over prompts.

    Attributes:
        value: the mean.
        se: its standard error; NaN for a single prompt.
        n: number of prompts that have the figure.
    """

    value: float
    se: float
    n: int

    @classmethod
    def of(cls, figures: FloatArray) -> Mean | None:
        """Returns the mean of the figures, [n], that are finite; None where none is."""
        known = figures[np.isfinite(figures)]
        if not known.size:
            return None
        spread = float(known.std(ddof=1)) if known.size > 1 else float("nan")
        return cls(float(known.mean()), spread / math.sqrt(known.size), int(known.size))

    def as_dict(self) -> dict[str, float | int | None]:
        """Returns the mean for JSON."""
        return {"mean": self.value, "se": self.se if np.isfinite(self.se) else None, "n": self.n}


@dataclass(frozen=True, slots=True)
class Achieved:
    """Scores and costs of n prompts, each at its chosen model.

    Attributes:
        score: predicted score.
        cost_usd: predicted cost.
        true_score: true score of the labelled prompts; None without labels.
        true_cost_usd: true cost of the labelled prompts; None without labels.
        shares: float64 [m], the part of the prompts that each model gets.
    """

    score: Mean
    cost_usd: Mean
    true_score: Mean | None
    true_cost_usd: Mean | None
    shares: FloatArray

    @classmethod
    def by(cls, sample: PromptSample, choice: IndexArray) -> Achieved:
        """Returns the results when each of the n prompts goes to its ``choice``, int [n]."""
        rows = np.arange(len(choice))
        score = Mean.of(sample.scores[rows, choice])
        cost = Mean.of(sample.costs_usd[rows, choice])
        assert score is not None  # noqa: S101 - predicted figures are finite, and n >= 1
        assert cost is not None  # noqa: S101 - finite, too
        return cls(
            score=score,
            cost_usd=cost,
            true_score=Mean.of(sample.true_scores[rows, choice]),
            true_cost_usd=Mean.of(sample.true_costs_usd[rows, choice]),
            shares=np.bincount(choice, minlength=sample.scores.shape[1]) / len(choice),
        )

    def lines(self, names: tuple[str, ...]) -> list[str]:
        """Returns the results as text, one figure per line."""
        found = [
            f"predicted mean score: {_shown(self.score)}",
            f"predicted mean cost: {_shown(self.cost_usd, 'USD')}",
        ]
        if self.true_score is not None:
            found.append(f"labelled mean score: {_shown(self.true_score)}")
        if self.true_cost_usd is not None:
            found.append(f"labelled mean cost: {_shown(self.true_cost_usd, 'USD')}")
        busiest = np.argsort(-self.shares, kind="stable")
        shares = [f"{names[j]} {self.shares[j]:.1%}" for j in busiest if self.shares[j] > 0.0]
        return [*found, f"shares: {', '.join(shares)}"]

    def as_dict(self, names: tuple[str, ...]) -> dict[str, object]:
        """Returns the results for JSON."""
        return {
            "predicted_score": self.score.as_dict(),
            "predicted_cost_usd": self.cost_usd.as_dict(),
            "labelled_score": self.true_score.as_dict() if self.true_score else None,
            "labelled_cost_usd": self.true_cost_usd.as_dict() if self.true_cost_usd else None,
            "shares": dict(zip(names, self.shares.tolist(), strict=True)),
        }


def _shown(mean: Mean, unit: str = "") -> str:
    error = f" (standard error {mean.se:.2g})" if np.isfinite(mean.se) else ""
    return f"{f'{mean.value:.4g} {unit}'.rstrip()}{error} over {mean.n:,} prompts"
