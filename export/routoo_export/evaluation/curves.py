"""Cost-quality curves and the figures that are read off them.

A curve has one operating point per price of a sweep; between neighbours it is linear, because a
router may take either with a probability. All figures are computed per row of resampled weights.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.evaluation.bootstrap import FloatArray, Resamples
from routoo_export.evaluation.metrics import IntArray, first_crossings

ARENA_BETA: Final = 0.1
ARENA_LOWEST_COST_USD: Final = 0.0044
ARENA_HIGHEST_COST_USD: Final = 200.0
_PROMPTS_AT_ONCE: Final = 4096
_ROUNDING: Final = 1.0e-9


@dataclass(frozen=True, slots=True)
class Truth:
    """True outcomes of a pool, without missing values.

    Attributes:
        scores: True scores, [n, m].
        cost_usd: True costs in USD, [n, m].
        reference: Column of the reference model.
    """

    scores: FloatArray
    cost_usd: FloatArray
    reference: int


@dataclass(frozen=True, slots=True)
class Curve:
    """Curves of p points, one per row of r resamples; the cost rises along a row.

    Attributes:
        cost_usd: Mean cost in USD per prompt, [r, p].
        score: Mean score per prompt, [r, p].
    """

    cost_usd: FloatArray
    score: FloatArray

    @classmethod
    def of(cls, choices: NDArray[np.integer], truth: Truth, resamples: Resamples) -> "Curve":
        """The curve of the models chosen at each of p prices, ``choices`` [p, n]."""
        weights = resamples.weights
        cost = np.zeros((len(weights), len(choices)))
        score = np.zeros_like(cost)
        for start in range(0, choices.shape[1], _PROMPTS_AT_ONCE):
            block = slice(start, start + _PROMPTS_AT_ONCE)
            weight = weights[:, block].astype(np.float64)
            chosen = choices[:, block]
            rows = np.arange(start, start + chosen.shape[1])
            cost += weight @ truth.cost_usd[rows, chosen].T
            score += weight @ truth.scores[rows, chosen].T
        total = weights.sum(axis=1, dtype=np.float64)[:, None]
        # The realised cost falls with the price except for prediction errors.
        order = np.argsort(cost, axis=1, kind="stable")
        return cls(
            np.take_along_axis(cost, order, axis=1) / total,
            np.take_along_axis(score, order, axis=1) / total,
        )

    def score_at(self, cost_usd: FloatArray) -> FloatArray:
        """Mean score [r] at a mean cost [r]; beyond an end of the curve, the score of that end."""
        columns = zip(cost_usd, self.cost_usd, self.score, strict=True)
        return np.array([np.interp(wanted, cost, score) for wanted, cost, score in columns])

    def best_score_to(self, cost_usd: FloatArray) -> FloatArray:
        """Best mean score [r] of all points up to a mean cost [r], including ``score_at`` it."""
        within = np.where(self.cost_usd <= cost_usd[:, None], self.score, -np.inf).max(axis=1)
        best: FloatArray = np.maximum(within, self.score_at(cost_usd))
        return best

    def cost_of(self, score: FloatArray) -> FloatArray:
        """Lowest mean cost [r] at which a mean score [r] is reached up to rounding; NaN = never."""
        return first_crossings(self.cost_usd, self.score, score - _ROUNDING)

    def improvement_in_quality(
        self, lowest_usd: FloatArray, lowest_score: FloatArray, highest_usd: FloatArray
    ) -> FloatArray:
        """AIQ (RouterBench, arXiv 2403.12031, section 3): the hull's mean score over a cost range.

        The range is the same for all routers that are compared: from the cheapest model, which
        every router can choose always and which therefore is a point of every curve, to the most
        expensive one.

        Args:
            lowest_usd: Mean cost of the cheapest model, [r].
            lowest_score: Its mean score, [r].
            highest_usd: Mean cost of the most expensive model, [r].
        """
        areas = []
        ends = zip(lowest_usd, lowest_score, highest_usd, strict=True)
        for row, (low, low_score, high) in enumerate(ends):
            cost, score = non_decreasing_hull(
                np.append(self.cost_usd[row], low), np.append(self.score[row], low_score)
            )
            inside = (cost > low) & (cost < high)
            x = np.concatenate([[low], cost[inside], [high]])
            area = np.trapezoid(np.interp(x, cost, score), x)
            areas.append(area / (high - low) if high > low else np.nan)
        return np.array(areas)


def non_decreasing_hull(cost_usd: FloatArray, score: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Vertices of the least concave, non-decreasing curve above the points [p], cheapest first.

    Andrew's monotone chain, then cut at the best score (RouterBench, arXiv 2403.12031).
    """
    order = np.lexsort((-score, cost_usd))
    kept: list[tuple[float, float]] = []
    for x, y in zip(cost_usd[order].tolist(), score[order].tolist(), strict=True):
        if kept and y <= kept[-1][1]:
            continue
        while len(kept) > 1 and _rise(kept[-2], (x, y)) >= _rise(kept[-2], kept[-1]):
            kept.pop()
        kept.append((x, y))
    points = np.array(kept)
    return points[:, 0], points[:, 1]


def _rise(start: tuple[float, float], end: tuple[float, float]) -> float:
    return (end[1] - start[1]) / (end[0] - start[0])


@dataclass(frozen=True, slots=True)
class Gains:
    """Figures of a curve against one model of the pool, the reference; [r] each.

    Attributes:
        cost_share: Share of the reference's cost at which its mean score is matched; NaN = never.
        half_cost_points: Mean score at half of the reference's cost minus the reference's, in
            points (1/100).
        three_quarter_cost_points: The same difference at three quarters of its cost.
        full_cost_points: The same difference at its cost.
        best_to_half_points: The same difference at the best point up to half of its cost; chosen in
            hindsight, so optimistic.
        gap_closed: Share of the gap between the reference and the oracle that is closed at the
            reference's cost; NaN = there is no gap.
        aiq: ``Curve.improvement_in_quality``, from the cheapest model's cost to that of the most
            expensive one.
    """

    cost_share: FloatArray
    half_cost_points: FloatArray
    three_quarter_cost_points: FloatArray
    full_cost_points: FloatArray
    best_to_half_points: FloatArray
    gap_closed: FloatArray
    aiq: FloatArray

    @classmethod
    def of(cls, curve: Curve, truth: Truth, resamples: Resamples) -> "Gains":
        weights = resamples.weights.astype(np.float64)
        weights /= weights.sum(axis=1, keepdims=True)
        single_cost, single_score = weights @ truth.cost_usd, weights @ truth.scores
        cost, score = single_cost[:, truth.reference], single_score[:, truth.reference]
        oracle = weights @ truth.scores.max(axis=1)
        full = curve.score_at(cost)
        cheapest = int(single_cost[0].argmin())
        return cls(
            cost_share=curve.cost_of(score) / cost,
            half_cost_points=100.0 * (curve.score_at(0.5 * cost) - score),
            three_quarter_cost_points=100.0 * (curve.score_at(0.75 * cost) - score),
            full_cost_points=100.0 * (full - score),
            best_to_half_points=100.0 * (curve.best_score_to(0.5 * cost) - score),
            gap_closed=np.divide(
                full - score,
                oracle - score,
                out=np.full(len(full), np.nan),
                where=oracle - score > _ROUNDING,
            ),
            aiq=curve.improvement_in_quality(
                single_cost[:, cheapest], single_score[:, cheapest], single_cost.max(axis=1)
            ),
        )


def single_model_choices(columns: IntArray, prompts: int) -> IntArray:
    """Choices [len(columns), prompts] of one model for all prompts, for each of ``columns``.

    Their curve is that of the random mixes of two neighbours.
    """
    return np.repeat(columns[:, None], prompts, axis=1)


def arena_score(score: FloatArray, cost_usd: FloatArray) -> FloatArray:
    """RouterArena's score of a mean score in [0, 1] and a mean cost in USD per prompt.

    Weighted harmonic mean of accuracy A and normalised log cost C, ((1 + b) A C) / (b A + C) with
    C = (log2 c_max - log2 c) / (log2 c_max - log2 c_min), c in USD per 1,000 prompts, b = 0.1,
    c_min = 0.0044, c_max = 200 (arXiv 2510.00202; ``compute_arena_score`` in
    RouteWorks/RouterArena). A cost beyond one of the two ends counts as that end.
    """
    ends = np.log2([ARENA_LOWEST_COST_USD, ARENA_HIGHEST_COST_USD])
    logs = np.log2(np.maximum(1000.0 * cost_usd, ARENA_LOWEST_COST_USD))
    cheapness = np.clip((ends[1] - logs) / (ends[1] - ends[0]), 0.0, 1.0)
    mixed = ARENA_BETA * score + cheapness
    won = (1.0 + ARENA_BETA) * score * cheapness
    found: FloatArray = np.zeros(won.shape)
    np.divide(won, mixed, out=found, where=mixed > 0)
    return found
