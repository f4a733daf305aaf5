"""The ledger books the bill of the provider for a reply, to the nano-dollar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from routoo.predictor.artifact import load_artifact
from routoo.tariffs.usage_reader import UsageReader
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.tables.raw_bills import ANTHROPIC, OPENAI, raw_bill_nano_usd
from support.tables.settled_books import settled_books
from support.tables.usage_cases import UsageCase, usage_cases

if TYPE_CHECKING:
    from pathlib import Path

UNTOLD = [case for case in usage_cases() if not case.told]
TOLD = [case for case in usage_cases() if case.told]
LONGEST = 1_000_000


@pytest.mark.parametrize("case", TOLD, ids=lambda case: case.name)
def test_the_prices_of_the_table_follow_from_the_bytes_alone(case: UsageCase) -> None:
    prices = ANTHROPIC if case.at_anthropic else OPENAI
    assert raw_bill_nano_usd(case.body.decode(), prices) == case.nano_usd


async def test_the_ledger_books_what_the_provider_bills(tmp_path: Path) -> None:
    async with settled_books(load_artifact(write_tiny_artifact(tmp_path))) as books:
        for case in TOLD:
            reader = UsageReader(streams=case.streams, longest_event=LONGEST)
            reader.feed(case.body)
            await books.check(case, reader.reading(finished=not case.cut))


async def test_what_is_not_told_is_booked_at_the_estimate(tmp_path: Path) -> None:
    names = {case.name for case in UNTOLD}
    assert {"negative", "NaN", "infinite", "absurd", "quoted usage alone"} <= names
    async with settled_books(load_artifact(write_tiny_artifact(tmp_path))) as books:
        for case in UNTOLD:
            reader = UsageReader(streams=case.streams, longest_event=LONGEST)
            reader.feed(case.body)
            await books.check_untold(case, reader.reading(finished=not case.cut))
