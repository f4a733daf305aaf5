"""Prices that follow the corrections: what a sample costs changes with the predicted lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routoo.pricing.presets import PresetPrices
    from routoo.pricing.prices import Pricing
    from routoo.routing.corrections.factors import Factors
    from routoo.routing.money.operating_point import PricedSample


@dataclass(frozen=True, slots=True)
class Repricing:
    """Solves the price of the calibration sample again at corrected lengths.

    Attributes:
        pricing: takes on the price and the costs.
        sample: the sample at the predicted lengths.
        max_mean_cost_usd: the mean cost per request that the price has to keep to.
        predictor: the version of the predictor that the sample is of.
        models: the names of the pool's models.
        presets: take on their points of the curve; None: there are none.
    """

    pricing: Pricing
    sample: PricedSample
    max_mean_cost_usd: float
    predictor: str
    models: tuple[str, ...]
    presets: PresetPrices | None = None

    def take(self, factors: Factors) -> None:
        """Takes on factors, of which those over all kinds of task count."""
        sample = self.sample.corrected(factors)
        self.pricing.recost(sample.nearest_price(self.max_mean_cost_usd), sample.costs_usd)
        if self.presets is not None:
            self.presets.take(sample.presets())
