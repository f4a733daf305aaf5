"""Two-tier selection: whether a better model is worth its cost after an answer has been seen.

A signal in the answer corrects the predicted scores, each model's on the log-odds scale:
logit p = logit(predicted score) + intercept + slope x (signal - centre). The correction concerns
the model that answered (agreement: it is probably right) and the others (disagreement: the prompt
is hard for them, too). A model is asked next when its corrected score exceeds that of the answer at
hand by more than the price of its cost: the rule of FrugalGPT's cascade (Chen et al. 2023, arXiv
2305.05176) and of cascade routing (Dekoninck et al. 2024, arXiv 2410.10347) at a shadow price
instead of a fixed threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from routoo.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray

SignalKind = Literal["agreement", "margin", "logprobs", "check"]
SIGNAL_KINDS: tuple[SignalKind, ...] = ("agreement", "margin", "logprobs", "check")
# Scores and checks nearer to 0 or 1 than this are set to this distance before their log-odds.
CLIP = 0.005


@dataclass(frozen=True, slots=True)
class Correction:
    """The correction of m models' scores by one kind of signal in the answer of one model.

    Attributes:
        centre: mean of the signal's feature where the correction was learned.
        intercepts: float64 [m]; NaN for models that nothing was learned about.
        slopes: float64 [m]; NaN for models that nothing was learned about.
    """

    centre: float
    intercepts: FloatArray
    slopes: FloatArray

    def apply(self, scores: FloatArray, feature: FloatArray) -> FloatArray:
        """Correct predicted scores [n, m] by the signal's feature [n]; NaN where unknown."""
        shift = self.intercepts + np.outer(feature - self.centre, self.slopes)
        return np.asarray(expit(log_odds(scores) + shift), np.float64)


@dataclass(frozen=True, slots=True)
class CascadePlan:
    """A plan that asks two cheap models first; their agreement then decides the next step.

    Attributes:
        kept: column of the model whose answer is kept where no better model is asked.
        beside: column of the other one.
        correction: correction of the scores by their agreement, 1 or 0.
        chance: weights of the chance of agreement: its log-odds are the first of them plus the
            other two times the log-odds of the two models' predicted scores.
    """

    kept: int
    beside: int
    correction: Correction
    chance: tuple[float, float, float]

    def agreement(self, scores: FloatArray) -> FloatArray:
        """Return the chance that the two agree, float64 [n], by predicted scores [n, m]."""
        first, of_kept, of_beside = self.chance
        odds = log_odds(scores[:, [self.kept, self.beside]])
        return np.asarray(expit(first + of_kept * odds[:, 0] + of_beside * odds[:, 1]), np.float64)

    def worth(
        self, scores: FloatArray, costs_usd: FloatArray, mask: BoolArray, prices: FloatArray
    ) -> FloatArray:
        """Return the gain of the plan over the best single model, in score minus price times cost.

        Both are estimated from the corrected scores, weighted by the chance of agreement.

        Args:
            scores: float64 [n, m], predicted.
            costs_usd: float64 [n, m], predicted.
            mask: bool [n, m], eligible cells.
            prices: float64 [n], score per USD.

        Returns:
            float64 [n]; -inf where one of the two models is not eligible.
        """
        pair = [self.kept, self.beside]
        worth = np.full(len(scores), -np.inf)
        rows = np.flatnonzero(mask[:, pair].all(axis=1))
        scores, mask = scores[rows], mask[rows]
        known = mask & np.isfinite(self.correction.slopes)
        agree, differ = (
            self.correction.apply(scores, np.full(len(rows), one)) for one in (1.0, 0.0)
        )
        chance = self.agreement(scores)[:, None]
        money = prices[rows, None] * np.where(mask, costs_usd[rows], 0.0)
        later = money.copy()
        later[:, pair] = 0.0

        def best(net: FloatArray) -> FloatArray:
            return np.asarray(np.where(known, net, -np.inf).max(axis=1), np.float64)

        alone = best(chance * agree + (1.0 - chance) * differ - money)
        after = chance[:, 0] * best(agree - later) + (1.0 - chance[:, 0]) * best(differ - later)
        worth[rows] = after - money[:, pair].sum(axis=1) - alone
        return worth


@dataclass(frozen=True, slots=True)
class Rule:
    """All corrections and plans, as learned on one sample.

    Attributes:
        corrections: by kind of signal and column of the model that answered.
        plans: plans that start with two cheap models.
    """

    corrections: Mapping[tuple[SignalKind, int], Correction]
    plans: tuple[CascadePlan, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The decision, for n answers, to keep each or to ask another model.

    Attributes:
        choice: int [n], the model to ask next, or the one whose answer is kept.
        gains: float64 [n], its corrected score minus that of the answer at hand, 0 where kept.
        extra_usd: float64 [n], cost of asking it, 0 where kept.
    """

    choice: IndexArray
    gains: FloatArray
    extra_usd: FloatArray


def log_odds(scores: npt.NDArray[np.floating]) -> FloatArray:
    """Return the logit of scores in [0, 1], kept finite by ``CLIP``."""
    return np.asarray(logit(np.clip(scores, CLIP, 1.0 - CLIP)), np.float64)


def feature_of(kind: SignalKind, value: float | Sequence[float]) -> float:
    """Return the feature of a signal: the one number that a correction uses.

    Args:
        kind: agreement (share of other cheap models' answers that agree, in [0, 1]), margin
            (probability of the first token's best minus its second best, in [0, 1]), logprobs
            (natural logarithms of the answer's token probabilities: their mean), check (the
            caller's own grade of the answer, in [0, 1]: its log-odds).
        value: the signal.

    Raises:
        InvalidRequestError: out of range, or no logarithms.
    """
    if kind == "logprobs":
        logs = np.asarray(value, np.float64)
        if not logs.size or not np.isfinite(logs).all() or (logs > 0.0).any():
            raise InvalidRequestError(
                "has to be a list of finite numbers of at most 0", field="logprobs"
            )
        return float(logs.mean())
    number = float(np.asarray(value, np.float64))
    if not 0.0 <= number <= 1.0:
        raise InvalidRequestError(f"is {number:g}; it has to be in [0, 1]", field=kind)
    return float(log_odds(np.array(number))) if kind == "check" else number


def judge(
    scores: FloatArray,
    costs_usd: FloatArray,
    mask: BoolArray,
    kept: IndexArray,
    price: float | FloatArray,
) -> Verdicts:
    """Decide at a price, for n answers, whether another model is asked.

    Args:
        scores: float64 [n, m], corrected; NaN where unknown.
        costs_usd: float64 [n, m], cost of asking now; 0 where the answer is at hand.
        mask: bool [n, m], the models that may be asked.
        kept: int [n], the model whose answer is at hand.
        price: score per USD, one for all or float64 [n].
    """
    rows = np.arange(len(kept))
    at_hand = scores[rows, kept]
    prices = np.broadcast_to(price, kept.shape)[:, None]
    net = scores - at_hand[:, None] - prices * costs_usd
    net = np.where(mask & np.isfinite(net), net, -np.inf)
    net[rows, kept] = 0.0
    most = net.max(axis=1, keepdims=True)
    # A model that gains nothing is not asked; of models that tie, the cheaper one is.
    ties = np.where(net == most, costs_usd, np.inf)
    choice = np.where(most[:, 0] > 0.0, ties.argmin(axis=1), kept)
    asked = choice != kept
    return Verdicts(
        choice=choice,
        gains=np.where(asked, scores[rows, choice] - at_hand, 0.0),
        extra_usd=np.where(asked, costs_usd[rows, choice], 0.0),
    )
