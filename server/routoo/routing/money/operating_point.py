"""The operating point of a service on the cost-quality curve of its calibration sample."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from routoo.errors import ConfigError, InfeasibleError
from routoo.routing.corrections.factors import corrected_tokens
from routoo.routing.estimates import costs_usd_of
from routoo.selector.lp.frontier import frontier, price_for_mean_cost
from routoo.selector.lp.presets import preset_points
from routoo.selector.policies.base import Case
from routoo.selector.policies.lp import Lp, round_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from routoo.predictor.artifact import CalibrationSample
    from routoo.routing.corrections.factors import Factors
    from routoo.routing.pool import Pool
    from routoo.selector.lp.presets import PresetPoint
    from routoo.selector.policies.base import Policy

# A vertex of the curve is the choice just above its price, see ``Frontier.price``.
_ABOVE = 1.0 + 1e-9


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One point of the cost-quality curve.

    Attributes:
        mean_cost_usd: mean predicted cost per request.
        mean_score: mean predicted score.
        price: predicted score per USD.
        shares: float64 [m], the fraction of the sample that each model gets.
    """

    mean_cost_usd: float
    mean_score: float
    price: float
    shares: NDArray[np.float64]


class PricedSample:
    """The calibration sample at a pool's prices.

    Args:
        sample: r prompts, on all models of the predictor.
        pool: the m models.
        columns: [m], the pool's models among the sample's columns.

    Attributes:
        scores: float64 [r, m].
        costs_usd: float64 [r, m], at the mean prices of a week.
        mean_output_tokens: float64 [m], the mean predicted length of an answer.
        evidence: [m], graded prompts behind a model's scores; None: not known.
        averages: [m], published averages behind them; None: not known.
    """

    def __init__(self, sample: CalibrationSample, pool: Pool, columns: NDArray[np.intp]) -> None:
        scores, output_tokens = sample.scores[:, columns], sample.output_tokens[:, columns]
        if pool.arms is not None:
            offsets = pool.arms.offsets
            scores, output_tokens = offsets.scores(scores), offsets.tokens(output_tokens)
        self.scores = round_scores(scores)
        self._pool = pool
        self._input_tokens = sample.input_tokens
        self._output_tokens = np.rint(output_tokens)
        self.mean_output_tokens = self._output_tokens.mean(axis=0)
        self.costs_usd = costs_usd_of(pool, self._input_tokens, self._output_tokens, None)
        evidence, averages = (
            None if values is None else values[columns].tolist()
            for values in (sample.evidence, sample.averages)
        )
        self.evidence: list[float] | None = evidence
        self.averages: list[float] | None = averages
        self._mask = np.ones(self.scores.shape, np.bool_)

    def corrected(self, factors: Factors) -> Self:
        """Returns the sample at corrected lengths; the kinds of its prompts are not told apart."""
        if factors.changes_nothing:
            return self
        again = copy(self)
        tokens = corrected_tokens(self._output_tokens, factors.lengths[-1])
        again.mean_output_tokens = tokens.mean(axis=0)
        again.costs_usd = costs_usd_of(self._pool, self._input_tokens, tokens, None)
        return again

    def price_for(self, max_mean_cost_usd: float) -> float:
        """Returns the shadow price of the LP over the sample under a mean cost per request.

        Raises:
            ConfigError: even the cheapest models cost more.
        """
        try:
            return price_for_mean_cost(self.scores, self.costs_usd, self._mask, max_mean_cost_usd)
        except InfeasibleError as error:
            raise ConfigError(f"policy.max_{error}") from None

    def nearest_price(self, max_mean_cost_usd: float) -> float:
        """Returns ``price_for``; where even the cheapest models cost more, the price of these."""
        try:
            return self.price_for(max_mean_cost_usd)
        except ConfigError:
            cheapest = frontier(self.scores, self.costs_usd, self._mask, points=2).price[0]
            return float(cheapest) * _ABOVE

    def presets(self) -> list[PresetPoint]:
        """Returns the points of the curve that have a name, the cheapest first."""
        return preset_points(self.scores, self.costs_usd, self._mask)

    def point_at(self, price: float, policy: Policy | None = None) -> CurvePoint:
        """Returns the sample's mean cost and score when a policy decides it at a price.

        Args:
            price: predicted score per USD.
            policy: decides; None: the policy ``lp``.
        """
        n = len(self.scores)
        rows = np.arange(n)
        case = Case(
            scores=self.scores,
            costs_usd=self.costs_usd,
            mask=self._mask,
            prices=np.full(n, price),
            max_quality_gaps=np.full(n, np.nan),
            tickets=rows.astype(np.int64),
        )
        choice = (policy or Lp()).choose(case)
        return CurvePoint(
            mean_cost_usd=float(self.costs_usd[rows, choice].mean()),
            mean_score=float(self.scores[rows, choice].mean()),
            price=price,
            shares=np.bincount(choice, minlength=self.scores.shape[1]) / len(choice),
        )

    def curve(self, points: int) -> list[CurvePoint]:
        """Returns the curve from the cheapest point to the best.

        Args:
            points: most vertices of it, at least 2.
        """
        vertices = frontier(self.scores, self.costs_usd, self._mask, points=points)
        return [self.point_at(price * _ABOVE) for price in vertices.price.tolist()]
