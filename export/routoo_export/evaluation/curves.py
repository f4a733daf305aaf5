"""Cost-quality curves, and what is read off them.

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
    """True scores and costs in USD [n, m] of a pool without gaps, and the reference column."""

    scores: FloatArray
    cost_usd: FloatArray
    reference: int


@dataclass(frozen=True, slots=True)
class Curve:
    """Mean cost in USD and mean score per prompt, [r, p] each; cost rises along a row."""

    cost_usd: FloatArray
    score: FloatArray

    @classmethod
    def of(cls, choices: NDArray[np.integer], truth: Truth, resamples: Resamples) -> "Curve":
        """Of the models chosen at each of p prices, choices [p, n]."""
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
        # Realised cost falls with the price but for prediction errors.
        order = np.argsort(cost, axis=1, kind="stable")
        return cls(
            np.take_along_axis(cost, order, axis=1) / total,
            np.take_along_axis(score, order, axis=1) / total,
        )

    def score_at(self, cost_usd: FloatArray) -> FloatArray:
        """Mean score at a mean cost [r]; beyond the ends, that of the end."""
        columns = zip(cost_usd, self.cost_usd, self.score, strict=True)
        return np.array([np.interp(wanted, cost, score) for wanted, cost, score in columns])

    def best_score_to(self, cost_usd: FloatArray) -> FloatArray:
        """Best mean score of any point up to a mean cost [r], ``score_at`` it included."""
        within = np.where(self.cost_usd <= cost_usd[:, None], self.score, -np.inf).max(axis=1)
        best: FloatArray = np.maximum(within, self.score_at(cost_usd))
        return best

    def cost_of(self, score: FloatArray) -> FloatArray:
        """Lowest mean cost at which a mean score [r] is reached up to rounding; NaN = never."""
        return first_crossings(self.cost_usd, self.score, score - _ROUNDING)

    def improvement_in_quality(
        self, lowest_usd: FloatArray, lowest_score: FloatArray, highest_usd: FloatArray
    ) -> FloatArray:
        """AIQ (RouterBench, arXiv 2403.12031, section 3): the hull's mean score over a cost range.

        The range [r] is the same for all routers that are compared: from the cheapest model, which
        every router can fall back to and which therefore is a point of every curve, to the dearest.
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
    """What a curve says against one model of the pool, the reference; [r] each.

    cost_share: share of the reference's cost at which its mean score is matched; NaN = never.
    half_cost_points, three_quarter_cost_points, full_cost_points: mean score at that share of the
    reference's cost minus the reference's, in points (1/100). best_to_half_points: the same at the
    best point up to half; picked in hindsight, so optimistic. gap_closed: share of the gap between
    the reference and the oracle that is closed at the reference's cost; NaN = there is none. aiq:
    ``Curve.improvement_in_quality``, from the cheapest model's cost to the dearest one's.
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
    """Choices [len(columns), prompts] of always the same model; as a curve, their random mixes."""
    return np.repeat(columns[:, None], prompts, axis=1)


def arena_score(score: FloatArray, cost_usd: FloatArray) -> FloatArray:
    """RouterArena's score of a mean score in [0, 1] and a mean cost in USD per prompt.

    Weighted harmonic mean of accuracy A and normalised log cost C, ((1 + b) A C) / (b A + C) with
    C = (log2 c_max - log2 c) / (log2 c_max - log2 c_min), c in USD per 1,000 prompts, b = 0.1,
    c_min = 0.0044, c_max = 200 (arXiv 2510.00202; ``compute_arena_score`` in
    RouteWorks/RouterArena). Costs beyond the two ends count as the end.
    """
    ends = np.log2([ARENA_LOWEST_COST_USD, ARENA_HIGHEST_COST_USD])
    logs = np.log2(np.maximum(1000.0 * cost_usd, ARENA_LOWEST_COST_USD))
    cheapness = np.clip((ends[1] - logs) / (ends[1] - ends[0]), 0.0, 1.0)
    mixed = ARENA_BETA * score + cheapness
    won = (1.0 + ARENA_BETA) * score * cheapness
    found: FloatArray = np.zeros(won.shape)
    np.divide(won, mixed, out=found, where=mixed > 0)
    return found
