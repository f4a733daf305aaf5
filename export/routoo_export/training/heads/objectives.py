"""The objective of training: the loss of an outcome, and the weight of each outcome."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Objective = Literal["log_loss", "squared"]
"""The loss of an outcome y at a predicted score p.

- log_loss: -y log p - (1 - y) log(1 - p).
- squared: 2 (p - y)^2, the Brier score scaled to the curvature of log-loss at p = 1/2, so that one
  set of ridges and auxiliary weights serves both.

The expectation of both is least at p = E[y], also where y is a pseudo-outcome outside [0, 1]:
log-loss on a logit z is softplus(z) - y z, linear in y. Log-loss needs fewer samples where good
choices seldom fail: Ayoub et al., "Switching the Loss Reduces the Cost in Batch RL", arXiv
2403.05385.
"""


@dataclass(frozen=True, slots=True)
class SoftLabels:
    """Weighted training targets of n prompts and m models.

    Attributes:
        scores: The target scores, float32 [n, m]; 0 where there is no outcome.
        present: The weight of each score, float32 [n, m], at least 0; 0 = no outcome.
        objective: The loss of a score.
    """

    scores: Tensor
    present: Tensor
    objective: Objective = "log_loss"

    @classmethod
    def of(
        cls,
        scores: NDArray[np.float64],
        weights: NDArray[np.float64] | None = None,
        objective: Objective = "log_loss",
    ) -> "SoftLabels":
        """Labels from ``scores`` [n, m], NaN = missing, and ``weights`` [n, m], None = 1 each."""
        present = ~np.isnan(scores)
        counted = present if weights is None else np.where(present, weights, 0.0)
        return cls(
            torch.from_numpy(np.where(present, scores, 0.0).astype(np.float32)),
            torch.from_numpy(counted.astype(np.float32)),
            objective,
        )

    def rows(self, index: Tensor) -> "SoftLabels":
        """The labels of the prompts ``index``, int64 [b]."""
        return SoftLabels(self.scores[index], self.present[index], self.objective)

    def losses(self, logits: Tensor) -> Tensor:
        """Weighted loss of each cell of ``logits`` [n, m], in their dtype."""
        scores, present = self.scores.to(logits.dtype), self.present.to(logits.dtype)
        return cell_losses(self.objective, logits, scores) * present

    def loss_sum(self, logits: Tensor) -> Tensor:
        """Summed weighted loss over the outcomes that exist."""
        return self.losses(logits).sum()


def cell_losses(objective: Objective, logits: Tensor, targets: Tensor) -> Tensor:
    """Unweighted losses of ``logits`` against ``targets``, of the same shape."""
    if objective == "log_loss":
        return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return 2.0 * (torch.sigmoid(logits) - targets).square()
