"""The examples of ``docs/reference/what-a-call-costs.md`` cost what the page says."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from routoo.routing.pool import ModelSpec, Pool
from routoo.tariffs.tariff import cost_nano_usd
from routoo.tariffs.usage import Usage
from support.tiny_pool import SMALL

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "what-a-call-costs.md"
TEXTS = re.findall(
    r"^```yaml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


def test_the_page_has_its_examples() -> None:
    assert len(TEXTS) >= 10


@pytest.mark.parametrize("text", TEXTS)
def test_an_example_costs_what_the_page_says(text: str) -> None:
    example = yaml.safe_load(text)
    neutral = {name: value for name, value in SMALL.items() if not name.startswith("usd_")}
    pool = Pool.of((ModelSpec.model_validate({**neutral, **example["prices"]}),))
    usage = Usage(**example["usage"])
    at = example.get("at", datetime(2026, 1, 1))  # noqa: DTZ001 - UTC is added below
    at_s = int(at.replace(tzinfo=UTC).timestamp())
    nano_usd = cost_nano_usd(pool.prices.tariffs[0], usage, at_s)
    assert nano_usd == Decimal(repr(example["cost_usd"])) * 10**9
