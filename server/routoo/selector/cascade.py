"""Two-tier selection: is a better model worth its cost, now that an answer has been seen?

What the answer showed (a signal) corrects the predicted scores, each model's on the log-odds scale:
logit p = logit(predicted score) + intercept + slope x (signal - centre). The correction tells of
the model that answered (agreement: it is probably right) and of the others (disagreement: the
prompt is hard for them, too). A model is asked next when its corrected score beats that of the
answer at hand by more than the price of its cost: the rule of FrugalGPT's cascade (Chen et al.
2023, arXiv 2305.05176) and of cascade routing (Dekoninck et al. 2024, arXiv 2410.10347) at a shadow
price instead of a fixed threshold.
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
# Scores and checks nearer to 0 and 1 than this are not told apart on the log-odds scale.
CLIP = 0.005


@dataclass(frozen=True, slots=True)
class Correction:
    """What one kind of signal, seen in the answer of one model, says about m models.

    Attributes:
        centre: mean of the signal's feature where the correction was learned.
        intercepts: float64 [m]; NaN for models that nothing was learned about.
        slopes: float64 [m], likewise.
    """

    centre: float
    intercepts: FloatArray
    slopes: FloatArray

    def apply(self, scores: FloatArray, feature: FloatArray) -> FloatArray:
        """Corrects predicted scores [n, m] by the signal's feature [n]; NaN where unknown."""
        shift = self.intercepts + np.outer(feature - self.centre, self.slopes)
        return np.asarray(expit(log_odds(scores) + shift), np.float64)


@dataclass(frozen=True, slots=True)
class CascadePlan:
    """Two cheap models answer, and whether they agree decides what comes next.

    Attributes:
        kept: column of the model whose answer is kept where nothing better is asked.
        beside: column of the other one.
        correction: what their agreement, 1 or 0, says.
        chance: of agreement: log-odds are the first of these three plus the other two times the
            log-odds of the two models' predicted scores.
    """

    kept: int
    beside: int
    correction: Correction
    chance: tuple[float, float, float]

    def agreement(self, scores: FloatArray) -> FloatArray:
        """How likely the two agree, float64 [n], by predicted scores [n, m]."""
        first, of_kept, of_beside = self.chance
        odds = log_odds(scores[:, [self.kept, self.beside]])
        return np.asarray(expit(first + of_kept * odds[:, 0] + of_beside * odds[:, 1]), np.float64)

    def worth(
        self, scores: FloatArray, costs_usd: FloatArray, mask: BoolArray, prices: FloatArray
    ) -> FloatArray:
        """How much the plan is worth beyond the best single model, in score, float64 [n].

        Both by the same beliefs: the corrected scores, weighted by the chance of agreement; -inf
        where one of the two models is not eligible.

        Args:
            scores: float64 [n, m], predicted.
            costs_usd: float64 [n, m], predicted.
            mask: bool [n, m], eligible cells.
            prices: float64 [n], score per USD.
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
    """What signals say.

    Attributes:
        corrections: by kind of signal and column of the model that answered.
        plans: ways to begin with two cheap models.
    """

    corrections: Mapping[tuple[SignalKind, int], Correction]
    plans: tuple[CascadePlan, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Whether n answers are kept.

    Attributes:
        choice: int [n], the model to ask next, or the one whose answer is kept.
        gains: float64 [n], its corrected score minus that of the answer at hand, 0 where kept.
        extra_usd: float64 [n], what asking it costs.
    """

    choice: IndexArray
    gains: FloatArray
    extra_usd: FloatArray


def log_odds(scores: npt.NDArray[np.floating]) -> FloatArray:
    """Logit of scores in [0, 1], finite."""
    return np.asarray(logit(np.clip(scores, CLIP, 1.0 - CLIP)), np.float64)


def feature_of(kind: SignalKind, value: float | Sequence[float]) -> float:
    """The one number that a signal is corrected by.

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
    """Decides n answers at a price.

    Args:
        scores: float64 [n, m], corrected; NaN where unknown.
        costs_usd: float64 [n, m], what asking costs from now on; 0 where the answer is at hand.
        mask: bool [n, m], the models that may be asked.
        kept: int [n], the model whose answer is at hand.
        price: score per USD, one or [n].
    """
    rows = np.arange(len(kept))
    at_hand = scores[rows, kept]
    prices = np.broadcast_to(price, kept.shape)[:, None]
    net = scores - at_hand[:, None] - prices * costs_usd
    net = np.where(mask & np.isfinite(net), net, -np.inf)
    net[rows, kept] = 0.0
    most = net.max(axis=1, keepdims=True)
    # A gain of nothing is no reason to ask; of equals the cheaper one.
    ties = np.where(net == most, costs_usd, np.inf)
    choice = np.where(most[:, 0] > 0.0, ties.argmin(axis=1), kept)
    asked = choice != kept
    return Verdicts(
        choice=choice,
        gains=np.where(asked, scores[rows, choice] - at_hand, 0.0),
        extra_usd=np.where(asked, costs_usd[rows, choice], 0.0),
    )
