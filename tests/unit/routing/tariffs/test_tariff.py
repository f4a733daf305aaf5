"""Costs follow from usage and tariff, exact to the nano-dollar."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

import pytest

from routoo.errors import InvalidRequestError
from routoo.tariffs.hours import HourWindow
from routoo.tariffs.rates import Rates
from routoo.tariffs.tariff import Step, Tariff, cost_nano_usd
from routoo.tariffs.usage import Usage

FLAT = Tariff(Rates(input=5, output=15, cached_input=2.5))
CLAUDE = Tariff(
    Rates(input=3, output=15, cached_input=0.3, cache_write=3.75, cache_write_1h=6),
    steps=(Step(200_000, Rates(6, 22.5, 0.6, 7.5, 12)),),
)
THURSDAY = 0  # 1970-01-01 00:00 UTC


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def test_cached_tokens_of_openai_have_their_own_price() -> None:
    usage = Usage(1000, 100, cached_input_tokens=900)
    assert cost_nano_usd(FLAT, usage, THURSDAY) == 4_250_000


def test_cache_reads_and_writes_of_anthropic_are_parts_of_the_input() -> None:
    usage = Usage(9600, 100, cached_input_tokens=9000, cache_write_tokens=500)
    equivalents = 100 + 9000 * Fraction(1, 10) + 500 * Fraction(5, 4)
    assert cost_nano_usd(CLAUDE, usage, THURSDAY) == equivalents * 3000 + 100 * 15_000


def test_a_write_for_an_hour_costs_more_than_one_for_five_minutes() -> None:
    short = cost_nano_usd(CLAUDE, Usage(100, 0, cache_write_tokens=100), THURSDAY)
    long = cost_nano_usd(CLAUDE, Usage(100, 0, cache_write_1h_tokens=100), THURSDAY)
    assert (short, long) == (375_000, 600_000)


def test_a_kind_without_a_price_has_that_of_the_kind_that_it_is_part_of() -> None:
    bare = Tariff(Rates(input=1, output=2))
    usage = Usage(
        100,
        50,
        cached_input_tokens=10,
        cache_write_tokens=10,
        cache_write_1h_tokens=10,
        audio_input_tokens=10,
        image_input_tokens=10,
        video_input_tokens=10,
        reasoning_tokens=20,
        audio_output_tokens=10,
    )
    assert cost_nano_usd(bare, usage, THURSDAY) == 100 * 1000 + 50 * 2000


def test_each_kind_has_its_price() -> None:
    rates = Rates(1, 2, 3, 5, 7, 11, 13, 17, 19, 23)
    usage = Usage(
        1_000,
        1_000,
        cached_input_tokens=100,
        cache_write_tokens=90,
        cache_write_1h_tokens=80,
        audio_input_tokens=70,
        image_input_tokens=60,
        video_input_tokens=50,
        reasoning_tokens=40,
        audio_output_tokens=30,
        images=2,
        requests=1,
    )
    tokens = 550 + 930 * 2 + 300 + 450 + 560 + 770 + 780 + 850 + 760 + 690
    tariff = Tariff(rates, usd_per_image=0.004, usd_per_request=0.01)
    assert cost_nano_usd(tariff, usage, THURSDAY) == tokens * 1000 + 8_000_000 + 10_000_000


def test_parts_that_overlap_are_billed_once() -> None:
    tariff = Tariff(Rates(input=1, output=1, cached_input=0.1, audio_input=10))
    usage = Usage(100, 0, cached_input_tokens=80, audio_input_tokens=100)
    assert cost_nano_usd(tariff, usage, THURSDAY) == 80 * 100 + 20 * 10_000


def test_parts_beyond_the_total_are_billed_all_the_same() -> None:
    usage = Usage(100, 10, cached_input_tokens=9000, reasoning_tokens=50)
    assert cost_nano_usd(FLAT, usage, THURSDAY) == 9000 * 2500 + 50 * 15_000


@pytest.mark.parametrize(
    ("tokens", "nano_usd"), [(200_000, 200_000 * 3000), (200_001, 200_001 * 6000)]
)
def test_above_a_length_the_whole_request_has_the_higher_price(tokens: int, nano_usd: int) -> None:
    assert cost_nano_usd(CLAUDE, Usage(tokens, 0), THURSDAY) == nano_usd


def test_cached_tokens_count_towards_the_length() -> None:
    usage = Usage(200_001, 0, cached_input_tokens=200_001)
    assert cost_nano_usd(CLAUDE, usage, THURSDAY) == 200_001 * 600


def test_prices_are_the_decimals_that_are_written() -> None:
    # As binary fractions, 0.1 + 0.2 and many such sums come out a little off.
    tariff = Tariff(Rates(input=0.1, output=0.7))
    assert cost_nano_usd(tariff, Usage(3, 0), THURSDAY) == 300
    assert cost_nano_usd(tariff, Usage(0, 10_000_001), THURSDAY) == 7_000_000_700


@pytest.mark.parametrize(("usd", "nano_usd"), [(0.0005, 1), (0.0004999999, 0), (0.0015, 2)])
def test_half_a_nano_dollar_is_rounded_up(usd: float, nano_usd: int) -> None:
    assert cost_nano_usd(Tariff(Rates(usd, 1)), Usage(1, 0), THURSDAY) == nano_usd


@pytest.mark.parametrize(
    ("tier", "factor"),
    [
        ("", 2),
        ("default", 2),
        ("Standard", 2),
        ("batch", 1),
        ("flex", 1),
        ("priority", 4),
        ("PRIORITY", 4),
        ("turbo", 4),
    ],
)
def test_a_service_tier_multiplies_and_an_unknown_one_is_never_cheap(
    tier: str, factor: int
) -> None:
    tariff = Tariff(Rates(2, 2), service_tiers=(("batch", 0.5), ("flex", 0.5), ("priority", 2)))
    usage = Usage(1, 0, service_tier=tier)
    assert cost_nano_usd(tariff, usage, THURSDAY) == factor * 1000
    assert cost_nano_usd(tariff, Usage(1, 0), THURSDAY, tier) == factor * 1000


@pytest.mark.parametrize(
    ("text", "factor"),
    [
        ("2026-11-30T16:29:59", 4),
        ("2026-11-30T16:30:00", 1),
        ("2026-12-01T00:29:59", 1),
        ("2026-12-01T00:30:00", 4),
        ("2026-12-06T23:59:59", 1),  # a Sunday
        ("2026-12-07T00:10:00", 1),  # the Monday that it reaches into
    ],
)
def test_a_window_may_pass_midnight_and_the_end_of_the_week(text: str, factor: int) -> None:
    tariff = Tariff(Rates(4, 4), hours=(HourWindow(16 * 60 + 30, 30, 0.25),))
    assert cost_nano_usd(tariff, Usage(1, 0), at(text)) == factor * 1000


def test_a_window_belongs_to_the_day_on_which_it_starts() -> None:
    tariff = Tariff(Rates(4, 4), hours=(HourWindow(22 * 60, 60, 0.5, days=(4,)),))  # Fridays
    saturday = [cost_nano_usd(tariff, Usage(1, 0), at(f"2026-12-05T0{h}:30")) for h in (0, 1)]
    assert saturday == [2000, 4000]
    assert cost_nano_usd(tariff, Usage(1, 0), at("2026-12-04T00:30")) == 4000


def test_a_fee_is_not_multiplied() -> None:
    tariff = Tariff(Rates(2, 2), usd_per_request=0.01, service_tiers=(("batch", 0.5),))
    assert cost_nano_usd(tariff, Usage(1, 0, service_tier="batch"), THURSDAY) == 10_001_000
    assert cost_nano_usd(tariff, Usage(0, 0, requests=3), THURSDAY) == 30_000_000


def test_windows_that_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match="overlap on tue at 01:00"):
        Tariff(Rates(1, 1), hours=(HourWindow(60, 120, 0.5), HourWindow(1380, 90, 0.5, days=(0,))))


@pytest.mark.parametrize(
    ("usage", "field"),
    [
        (Usage(-1, 0), "input_tokens"),
        (Usage(0, 100_000_001), "output_tokens"),
        (Usage(5, 0, cached_input_tokens=-2), "cached_input_tokens"),
        (Usage(5, 0, images=-1), "images"),
        (Usage(None, 5), "input_tokens"),
        (Usage(5), "output_tokens"),
    ],
)
def test_amounts_that_no_answer_can_have_are_refused(usage: Usage, field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        cost_nano_usd(FLAT, usage, THURSDAY)
    assert caught.value.field == field
