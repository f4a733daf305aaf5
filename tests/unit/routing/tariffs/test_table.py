"""Costs of many requests at once are those of each one, to the nano-dollar."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from routoo.tariffs.hours import HourWindow
from routoo.tariffs.rates import KINDS, Rates
from routoo.tariffs.table import PriceTable
from routoo.tariffs.tariff import Step, Tariff, cost_nano_usd, input_tokens_of, tokens_by_kind
from routoo.tariffs.usage import Usage

NANO = 1e9
INPUTS = (
    "cached_input_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "audio_input_tokens",
    "image_input_tokens",
    "video_input_tokens",
    "images",
)
OUTPUTS = ("reasoning_tokens", "audio_output_tokens")
TIERS = ["", "batch", "priority", "nobody-knows"]

prices = st.integers(0, 10**6).map(lambda n: n / 10_000)
rates = st.builds(
    Rates,
    input=prices,
    output=prices,
    **{kind: st.none() | prices for kind in KINDS if kind not in ("input", "output")},
)
tokens = st.integers(0, 300_000)


@st.composite
def tariffs(draw: st.DrawFn) -> Tariff:
    bounds = sorted(draw(st.sets(st.integers(1, 200_000), max_size=3)))
    edges = sorted(draw(st.sets(st.integers(0, 1439), min_size=2, max_size=4)))
    multipliers = st.sampled_from([0.25, 0.5, 0.75, 1.0, 1.5])
    days = st.sets(st.integers(0, 6), min_size=1).map(lambda some: tuple(sorted(some)))
    return Tariff(
        rates=draw(rates),
        usd_per_image=draw(st.sampled_from([0.0, 0.004])),
        usd_per_request=draw(st.sampled_from([0.0, 0.01])),
        steps=tuple(Step(bound, draw(rates)) for bound in bounds),
        service_tiers=draw(st.sampled_from([(), (("batch", 0.5),), (("priority", 1.75),)])),
        hours=draw(
            st.sampled_from([(), None]).map(
                lambda none: (
                    none
                    or tuple(
                        HourWindow(start, end, draw(multipliers), draw(days))
                        for start, end in zip(edges[::2], edges[1::2], strict=False)
                    )
                )
            )
        ),
    )


usages = st.builds(
    Usage,
    input_tokens=tokens,
    output_tokens=tokens,
    service_tier=st.sampled_from(TIERS),
    **{name: st.just(0) | tokens for name in (*INPUTS, *OUTPUTS)},
)


@given(
    sold=st.lists(tariffs(), min_size=1, max_size=3),
    told=st.lists(st.tuples(tokens, tokens, st.integers(0, 2**33)), min_size=1, max_size=4),
)
def test_an_estimate_is_the_cost_of_plain_text_in_any_company(
    sold: list[Tariff], told: list[tuple[int, int, int]]
) -> None:
    table = PriceTable.of([(str(at), one) for at, one in enumerate(sold)])
    inputs, outputs, times = (np.array(one) for one in zip(*told, strict=True))
    inputs, outputs = inputs.astype(np.float64), np.repeat(outputs[:, None], len(sold), axis=1)
    costs = table.costs_usd(inputs, outputs.astype(np.float64), times)
    exact = [[cost_nano_usd(one, Usage(i, o), at) for one in sold] for i, o, at in told]
    np.testing.assert_allclose(costs * NANO, exact, atol=1.0, rtol=1e-12)
    for row in range(len(told)):
        alone = table.costs_usd(
            inputs[row : row + 1], outputs[row : row + 1].astype(np.float64), int(times[row])
        )
        assert alone[0].tolist() == costs[row].tolist()


def test_without_a_time_the_prices_are_the_mean_of_a_week() -> None:
    half = Tariff(Rates(1, 1), hours=(HourWindow(0, 720, 0.5),))
    table = PriceTable.of([("half", half), ("flat", Tariff(Rates(1, 1)))])
    costs = table.costs_usd(np.array([1e6]), np.zeros((1, 2)), None)
    np.testing.assert_allclose(costs, [[0.75, 1.0]], rtol=1e-12)


@given(
    sold=st.lists(tariffs(), min_size=1, max_size=3),
    told=st.lists(st.tuples(usages, st.integers(0, 2**33)), min_size=1, max_size=4),
    margin=st.sampled_from([0, 1, 100_000]),
)
def test_no_usage_costs_more_than_the_most_of_its_tokens(
    sold: list[Tariff], told: list[tuple[Usage, int]], margin: int
) -> None:
    some = [usage for usage, _ in told]
    table = PriceTable.of([(str(at), one) for at, one in enumerate(sold)])
    times = np.array([at for _, at in told], np.int64)
    inputs = np.array([input_tokens_of(one) + margin for one in some], np.float64)
    outputs = [[sum(tokens_by_kind(one)[at] for at in (1, 8, 9))] * len(sold) for one in some]
    most = table.most_usd(
        np.repeat(inputs[:, None], len(sold), axis=1),
        np.array(outputs, np.float64),
        times,
        mixed=np.ones(len(told), np.bool_),
        images=np.array([one.images for one in some], np.float64),
        service_tiers=[one.service_tier for one in some],
    )
    real = [
        [cost_nano_usd(one, usage, at) for one in sold]
        for usage, at in zip(some, times.tolist(), strict=True)
    ]
    assert (np.array(real) <= most * NANO * (1 + 1e-12) + 1.0).all()


def test_each_model_has_the_prices_of_its_own_count_of_tokens() -> None:
    long = Step(1000, Rates(2, 2))
    table = PriceTable.of([(name, Tariff(Rates(1, 1), steps=(long,))) for name in "ab"])
    costs = table.costs_usd(np.array([[1000.0, 1001.0]]), np.zeros((1, 2)), 0)
    np.testing.assert_allclose(costs, [[1000e-6, 2002e-6]], rtol=1e-12)


def test_a_prompt_that_may_be_shorter_is_reserved_for_at_the_price_of_shorter_ones() -> None:
    table = PriceTable.of([("falls", Tariff(Rates(4, 8), steps=(Step(1000, Rates(1, 2)),)))])
    most = table.most_usd(np.array([1100.0]), np.array([[100.0]]), 0)
    np.testing.assert_allclose(most, [[5200e-6]], rtol=1e-12)


def test_at_most_all_output_is_reasoning() -> None:
    table = PriceTable.of([("thinks", Tariff(Rates(1, 2, reasoning=4, cache_write=8)))])
    inputs, outputs = np.array([1e6, 1e6]), np.full((2, 1), 1e6)
    most = table.most_usd(inputs, outputs, 0, mixed=np.array([False, True]))
    assert most.tolist() == [[5.0], [12.0]]
    assert table.costs_usd(inputs, outputs, 0).tolist() == [[3.0], [3.0]]


def test_the_version_tells_every_price() -> None:
    plain = Tariff(Rates(1, 2))
    others = [
        Tariff(Rates(1, 2.5)),
        Tariff(Rates(1, 2, cached_input=0.1)),
        Tariff(Rates(1, 2), usd_per_request=0.01),
        Tariff(Rates(1, 2), steps=(Step(1000, Rates(1, 2)),)),
        Tariff(Rates(1, 2), service_tiers=(("batch", 0.5),)),
        Tariff(Rates(1, 2), hours=(HourWindow(0, 60, 0.5),)),
    ]
    versions = {PriceTable.of([("a", one)]).version for one in (plain, *others)}
    assert len(versions) == len(others) + 1
    assert PriceTable.of([("a", plain)]).version == PriceTable.of([("a", plain)]).version


@given(
    sold=st.lists(tariffs(), min_size=1, max_size=3),
    told=st.tuples(tokens, tokens, st.integers(0, 2**33)),
    factor=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_where_nothing_is_cached_a_turn_costs_what_a_request_does_in_any_tier(
    sold: list[Tariff], told: tuple[int, int, int], factor: float
) -> None:
    factors = np.full(len(sold), factor)
    table = PriceTable.of([(str(at), one) for at, one in enumerate(sold)], factors)
    inputs, outputs = (np.full((1, len(sold)), float(one)) for one in told[:2])
    none = np.zeros_like(inputs)
    turn = table.cached_costs_usd(inputs, none, none, outputs, told[2])
    assert turn.tolist() == table.costs_usd(inputs, outputs, told[2]).tolist()
