"""Settings whose values have to fit each other."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from routoo.config.sections.budget import BudgetSettings
from routoo.config.sections.exploration import ExploreSettings

BUDGET = {"name": "all", "usd": 1.0, "per": "1h"}


def test_a_budget_is_spent_evenly_within_a_part_of_its_period() -> None:
    found = BudgetSettings(**BUDGET, even_within="5m").terms()
    assert found.even_ns == 300 * 1_000_000_000
    assert BudgetSettings(**BUDGET).terms().even_ns == 0


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"even_within": "1h"}, "shorter than per, 1h"),
        ({"even_within": "soon"}, "a whole number and s, m, h or d"),
        ({"even_within": "5m", "window": "sliding"}, "sliding budget is spent evenly already"),
        ({"even_within": "5m", "pacing": False}, "needs a budget with a price"),
        ({"even_within": "5m", "pays_for": "exploration"}, "needs a budget with a price"),
    ],
)
def test_a_budget_that_cannot_be_spent_evenly_says_why(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        BudgetSettings(**{**BUDGET, **values})


def test_unknown_models_are_explored_at_least_as_often_as_others() -> None:
    explore = {"share": 0.02, "budget": "exploring"}
    assert ExploreSettings(**explore).unknown_times == 1.0
    assert ExploreSettings(**explore, unknown_share=0.2).unknown_times == pytest.approx(10.0)
    with pytest.raises(ValidationError, match="at least share"):
        ExploreSettings(**explore, unknown_share=0.01)
