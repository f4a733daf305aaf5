"""Every price of a pool file is in the message about its model."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict

from routoo.api.convert.prices import prices_message
from routoo.routing.pool import ModelSpec
from routoo.tariffs.rates import KINDS
from support.tiny_pool import LARGE

RATES = {kind: float(number) for number, kind in enumerate(KINDS, 1)}
SOLD: dict[str, Any] = {
    **LARGE,
    **{f"usd_per_1m_{kind}_tokens": usd for kind, usd in RATES.items()},
    "usd_per_image": 0.25,
    "usd_per_request": 0.5,
    "tiers": [
        {
            "above_input_tokens": 200_000,
            **{f"usd_per_1m_{kind}_tokens": 2 * usd for kind, usd in RATES.items()},
        }
    ],
    "service_tiers": {"batch": 0.5, "priority": 2},
    "hours": [{"start": "16:30", "end": "00:30", "multiplier": 0.25, "days": ["mon", "sun"]}],
    "price_source": "the price page",
}


def told(**values: Any) -> dict[str, Any]:
    found: dict[str, Any] = MessageToDict(
        prices_message(ModelSpec.model_validate(values)), preserving_proto_field_name=True
    )
    return found


def test_all_prices_are_told() -> None:
    assert told(**SOLD) == {
        "usd_per_1m": RATES,
        "usd_per_image": 0.25,
        "usd_per_request": 0.5,
        "tiers": [
            {
                "above_input_tokens": 200_000,
                "usd_per_1m": {kind: 2 * usd for kind, usd in RATES.items()},
            }
        ],
        "service_tiers": {"batch": 0.5, "priority": 2.0},
        "hours": [{"start": "16:30", "end": "00:30", "multiplier": 0.25, "days": ["mon", "sun"]}],
        "status": "assumed",
        "source": "the price page",
    }


def test_a_price_that_is_not_sold_is_not_set() -> None:
    assert told(**LARGE)["usd_per_1m"] == {"input": 10.0, "output": 30.0}
