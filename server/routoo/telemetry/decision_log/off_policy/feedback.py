"""Estimators of the value of a policy from the log of another one.

A log has for each decision the chosen action, its reward where it was graded, and its propensity.
The estimates hold where the logging policy could have chosen what the evaluated policy chooses.
Rewards are any numbers: scores, costs, or scores minus price times cost. Estimators and their
names: Dudik et al., arXiv 1103.4601; the self-normalised one: Swaminathan and Joachims, NeurIPS
2015; weights above a limit, for which the model alone counts: Wang, Agarwal and Dudik, arXiv
1612.01205 (SWITCH). Standard errors are over decisions, from the variance of the summands (SNIPS:
delta method).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from routoo.selector.arrays import FloatArray, IndexArray


@dataclass(frozen=True, slots=True)
class PolicyValue:
    """An estimated mean reward per decision.

    Attributes:
        value: the estimate.
        se: its standard error.
        terms: float64 [n], what the decisions add: their mean is ``value``, and their spread gives
            ``se``.
    """

    value: float
    se: float
    terms: FloatArray


@dataclass(frozen=True, slots=True)
class LoggedFeedback:
    """A log of n decisions beside a policy that decides the same requests.

    Attributes:
        rewards: float64 [n], the reward of the logged action; NaN: not known.
        propensities: float64 [n] in (0, 1], the probability with which the logging policy chose
            this action and its reward became known.
        matched: float64 [n] in [0, 1], the probability with which the evaluated policy chooses the
            logged action.
        most_weight: the weight above which a decision does not count.
    """

    rewards: FloatArray
    propensities: FloatArray
    matched: FloatArray
    most_weight: float = float("inf")

    @classmethod
    def of(
        cls,
        chosen: IndexArray,
        rewards: FloatArray,
        propensities: FloatArray,
        policy: FloatArray,
        most_weight: float = float("inf"),
    ) -> Self:
        """Makes the log beside a policy that is given by its probabilities, float64 [n, m].

        ``chosen``: int [n], the column of the logged action.
        """
        return cls(rewards, propensities, policy[np.arange(len(chosen)), chosen], most_weight)

    @property
    def known(self) -> NDArray[np.bool_]:
        """The decisions whose rewards are known, bool [n]."""
        return np.isfinite(self.rewards)

    @property
    def ratios(self) -> FloatArray:
        """The importance of each known decision, float64 [n]; 0 where the reward is not known."""
        found: FloatArray = np.where(self.known, self.matched / self.propensities, 0.0)
        return found

    @property
    def weights(self) -> FloatArray:
        """The ratios [n], 0 for those above ``most_weight``."""
        ratios = self.ratios
        found: FloatArray = np.where(ratios > self.most_weight, 0.0, ratios)
        return found

    def residuals(self, predicted: FloatArray) -> FloatArray:
        """Rewards less ``predicted`` [n], float64 [n]; 0 where the reward is not known."""
        found: FloatArray = np.where(self.known, self.rewards - predicted, 0.0)
        return found


def greedy(choices: IndexArray, actions: int) -> FloatArray:
    """Returns the policy, float64 [n, actions], that always takes ``choices`` [n]."""
    policy = np.zeros((len(choices), actions))
    policy[np.arange(len(choices)), choices] = 1.0
    return policy


def effective_sample_size(weights: FloatArray) -> float:
    """Returns Kish's effective sample size (sum w)^2 / sum w^2, in equally weighted rows."""
    squares = float(np.square(weights).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0.0 else 0.0


def ips_value(log: LoggedFeedback) -> PolicyValue:
    """Estimates by inverse propensities: unbiased, with high variance where they are small."""
    return mean_value(log.weights * log.residuals(np.zeros(len(log.rewards))))


def snips_value(log: LoggedFeedback) -> PolicyValue:
    """Estimates by self-normalised inverse propensities: biased, with less variance.

    A constant added to all rewards adds itself to the value.

    Raises:
        ValueError: the policy takes no logged choice at all.
    """
    weights = log.weights
    total = float(weights.sum())
    if total <= 0.0:
        raise ValueError("the policy never takes a logged choice; log with more exploration")
    rewards = log.residuals(np.zeros(len(weights)))
    value = float(weights @ rewards) / total
    scale = len(weights) / total
    terms: FloatArray = value + scale * weights * (rewards - value)
    spread = float(np.sqrt(np.square(weights * (rewards - value)).sum()))
    return PolicyValue(value, spread / total, terms)


def dr_value(log: LoggedFeedback, expected: FloatArray, predicted: FloatArray) -> PolicyValue:
    """Doubly robust estimate: the policy's value under a model, corrected by the logged rewards.

    It is right on average where the propensities or the model's predictions are.

    Args:
        log: the logged decisions.
        expected: the model's rewards of the policy's actions, float64 [n].
        predicted: the model's rewards of the logged actions, float64 [n]. The model was not
            trained on these decisions.
    """
    return mean_value(expected + log.weights * log.residuals(predicted))


def mean_value(terms: FloatArray) -> PolicyValue:
    """Returns the mean of independent terms [n], n >= 2, with its standard error."""
    se = float(terms.std(ddof=1)) / len(terms) ** 0.5 if len(terms) > 1 else float("nan")
    return PolicyValue(float(terms.mean()), se, terms)
