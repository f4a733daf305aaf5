"""Conversion of a model's prices to protobuf."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.tariffs.rates import KINDS
from routoo.v1 import info_pb2

if TYPE_CHECKING:
    from routoo.routing.arms.model import ModelSpec
    from routoo.routing.arms.sold_prices import TokenPrices


def prices_message(spec: ModelSpec) -> info_pb2.Prices:
    """Converts all prices of a model."""
    return info_pb2.Prices(
        usd_per_1m=_rates(spec),
        usd_per_image=spec.usd_per_image or 0.0,
        usd_per_request=spec.usd_per_request or 0.0,
        tiers=[
            info_pb2.PriceTier(above_input_tokens=tier.above_input_tokens, usd_per_1m=_rates(tier))
            for tier in spec.tiers
        ],
        service_tiers=spec.service_tiers,
        hours=[
            info_pb2.PriceHours(
                start=one.start, end=one.end, multiplier=one.multiplier, days=one.days
            )
            for one in spec.hours
        ],
        status=spec.price_status,
        source=spec.price_source,
    )


def _rates(prices: TokenPrices) -> info_pb2.TokenPrices:
    rates = prices.rates
    return info_pb2.TokenPrices(**{kind: getattr(rates, kind) for kind in KINDS})
