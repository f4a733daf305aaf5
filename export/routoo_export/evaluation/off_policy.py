"""Off-policy evaluation: the value of a policy, estimated from the log of another policy.

A log has for each decision the chosen action, its reward and its propensity. The evaluated policy
is given by its probabilities, float64 [n, m], of the same m actions on the same n prompts. It must
not choose actions that the logging policy never chose: the estimates are not valid for these.
Rewards are any numbers: scores, or scores minus price times cost. Estimators and their names: Dudik
et al., arXiv 1103.4601; the self-normalised one: Swaminathan and Joachims, NeurIPS 2015. Standard
errors are over prompts, from the variance of the summands (SNIPS: delta method).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PolicyValue:
    """Mean reward per prompt and its standard error."""

    value: float
    se: float


@dataclass(frozen=True, slots=True)
class LoggedFeedback:
    """A log of n decisions.

    Attributes:
        chosen: The chosen action, int64 [n].
        rewards: Its reward, float64 [n].
        propensities: The probability with which it was chosen, float64 [n] in (0, 1].
    """

    chosen: NDArray[np.int64]
    rewards: FloatArray
    propensities: FloatArray

    def importance(self, policy: FloatArray) -> FloatArray:
        """Probability [n] of the logged choice under ``policy`` [n, m], over its propensity."""
        ratio: FloatArray = policy[np.arange(len(self.chosen)), self.chosen] / self.propensities
        return ratio


def greedy(choices: NDArray[np.int64], actions: int) -> FloatArray:
    """The policy [n, actions] that always takes ``choices`` [n]."""
    policy = np.zeros((len(choices), actions))
    policy[np.arange(len(choices)), choices] = 1.0
    return policy


def ips_value(log: LoggedFeedback, policy: FloatArray) -> PolicyValue:
    """Inverse-propensity scoring: unbiased, with high variance where propensities are small."""
    return _mean(log.importance(policy) * log.rewards)


def snips_value(log: LoggedFeedback, policy: FloatArray) -> PolicyValue:
    """Self-normalised inverse-propensity scoring: biased, with less variance.

    A constant added to all rewards adds itself to the value.

    Raises:
        ValueError: the policy takes no logged choice at all.
    """
    weights = log.importance(policy)
    total = float(weights.sum())
    if total <= 0.0:
        raise ValueError("the policy never takes a logged choice; log with more exploration")
    value = float(weights @ log.rewards) / total
    spread = float(np.sqrt(np.square(weights * (log.rewards - value)).sum()))
    return PolicyValue(value, spread / total)


def dr_value(log: LoggedFeedback, policy: FloatArray, direct: FloatArray) -> PolicyValue:
    """Doubly robust estimate: the policy's value under ``direct``, corrected by the logged rewards.

    Args:
        log: The logged decisions.
        policy: Probabilities of the evaluated policy, [n, m].
        direct: Rewards [n, m] predicted by a model that was not trained on these rows.
    """
    predicted = direct[np.arange(len(log.chosen)), log.chosen]
    corrections = log.importance(policy) * (log.rewards - predicted)
    return _mean((policy * direct).sum(axis=1) + corrections)


def _mean(values: FloatArray) -> PolicyValue:
    return PolicyValue(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))
