"""Prices of presets beside those that the service has to keep to."""

from __future__ import annotations

import numpy as np
import pytest

from routoo.pricing.presets import PresetPrices
from routoo.pricing.prices import MEAN_COST, budget_constraint
from routoo.selector.lp.presets import PresetPoint

POINTS = [PresetPoint("economy", 200.0, 1e-5, 0.5), PresetPoint("quality", 2.0, 1e-2, 0.9)]
BUDGET = (budget_constraint("all"),)


@pytest.mark.parametrize(
    ("policy", "price", "set_by", "keeps", "expected"),
    [
        ("lp", 50.0, (MEAN_COST,), False, (50.0, (MEAN_COST,))),
        ("economy", 50.0, (MEAN_COST,), False, (200.0, ("policy:economy",))),
        # The default of the settings is no limit: the preset stands in for it, below it, too.
        ("quality", 50.0, (MEAN_COST,), False, (2.0, ("policy:quality",))),
        ("quality", 50.0, (MEAN_COST,), True, (50.0, (MEAN_COST,))),
        ("economy", 50.0, (MEAN_COST,), True, (200.0, ("policy:economy",))),
        ("quality", 50.0, BUDGET, False, (50.0, BUDGET)),
        ("economy", 50.0, BUDGET, False, (200.0, ("policy:economy",))),
        ("quality", 0.0, (), False, (2.0, ("policy:quality",))),
    ],
)
def test_the_greater_price_counts(
    policy: str, price: float, set_by: tuple[str, ...], *, keeps: bool, expected: object
) -> None:
    prices = PresetPrices(POINTS, keeps_mean_cost=keeps)
    assert prices.of(policy, price, set_by) == expected
    rows, names = prices.of_rows(["lp", policy], np.array([1.0, price]), [BUDGET, set_by])
    assert (rows[0], names[0]) == (1.0, BUDGET)
    assert (rows[1], names[1]) == expected


def test_other_points_are_taken_on_as_a_whole() -> None:
    prices = PresetPrices(POINTS, keeps_mean_cost=False)
    prices.take([PresetPoint("quality", 3.0, 1e-2, 0.8)])
    assert prices.of("quality", 0.0, ()) == (3.0, ("policy:quality",))
    assert prices.of("economy", 1.0, BUDGET) == (1.0, BUDGET)
    assert [one.name for one in prices.points] == ["quality"]


def test_rows_without_a_preset_stay_as_they_are() -> None:
    prices, names = np.array([1.0, 2.0]), [BUDGET, ()]
    presets = PresetPrices(POINTS, keeps_mean_cost=False)
    for policies in (["lp", "best"], ["lp", "lp"]):
        found = presets.of_rows(policies, prices, names)
        assert (found[0].tolist(), found[1]) == ([1.0, 2.0], names)


def test_rows_that_are_alike_are_priced_as_each_alone() -> None:
    presets = PresetPrices(POINTS, keeps_mean_cost=False)
    for prices in ([3.0, 3.0], [3.0, 1.0]):
        found, names = presets.of_rows(["quality"] * 2, np.array(prices), [BUDGET] * 2)
        alone = [presets.of("quality", price, BUDGET) for price in prices]
        assert list(zip(found.tolist(), names, strict=True)) == alone
