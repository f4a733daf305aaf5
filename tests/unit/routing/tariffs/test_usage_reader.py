"""Usage is found in replies of every dialect, for any cut into pieces."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.tariffs.rates import Rates
from routoo.tariffs.tariff import Tariff, cost_nano_usd
from routoo.tariffs.usage import Usage
from routoo.tariffs.usage_reader import UsageReader, UsageReading
from support.tables.usage_cases import UsageCase, usage_cases

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST = 1_000_000
CASES = usage_cases()


def read_from(
    pieces: Iterable[bytes], *, streams: bool, finished: bool = True, longest: int = LONGEST
) -> UsageReading:
    reader = UsageReader(streams=streams, longest_event=longest)
    for piece in pieces:
        reader.feed(piece)
    return reader.reading(finished=finished)


def event(value: object) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("size", [1, 7, LONGEST])
def test_the_table(case: UsageCase, size: int) -> None:
    pieces = [case.body[at : at + size] for at in range(0, len(case.body), size)]
    found = read_from(pieces, streams=case.streams, finished=not case.cut)
    assert found == UsageReading(case.usage, case.told)


def test_the_table_is_wide() -> None:
    assert len(CASES) >= 80
    assert {"chat", "responses", "messages"} <= {case.api for case in CASES}
    assert len({case.dialect for case in CASES}) >= 12


@given(data=st.data(), case=st.sampled_from(CASES))
def test_pieces_do_not_matter(data: st.DataObject, case: UsageCase) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(case.body)), max_size=8)))
    ends = zip([0, *cuts], [*cuts, len(case.body)], strict=True)
    pieces = [case.body[start:end] for start, end in ends]
    found = read_from(pieces, streams=case.streams, finished=not case.cut)
    assert found == UsageReading(case.usage, case.told)


@given(
    pieces=st.lists(
        st.one_of(st.binary(max_size=40), st.just(b'data: {"usage":{'), st.just(b"\n"))
    ),
    streams=st.booleans(),
    finished=st.booleans(),
)
def test_any_bytes_are_read(pieces: list[bytes], streams: bool, finished: bool) -> None:  # noqa: FBT001
    read_from(pieces, streams=streams, finished=finished, longest=64)


@given(
    usage=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        lambda inner: st.dictionaries(
            st.sampled_from(
                [
                    "usage",
                    "message",
                    "response",
                    "prompt_tokens",
                    "output_tokens",
                    "input_tokens",
                    "cache_read_input_tokens",
                    "total_tokens",
                    "cost",
                ]
            ),
            inner,
        ),
    )
)
def test_any_value_is_read(usage: object) -> None:
    found = read_from([json.dumps({"usage": usage}).encode()], streams=False).usage
    told = (found.input_tokens, found.output_tokens)
    assert all(one is None or 0 <= one <= 1_000_000_000 for one in told)
    parts = found.cached_input_tokens + found.cache_write_tokens + found.cache_write_1h_tokens
    assert parts <= (found.input_tokens or 0)
    assert found.told_cost_usd is None or math.isfinite(found.told_cost_usd)


@given(
    counts=st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 1000)), min_size=1, max_size=6)
)
def test_counters_never_fall(counts: list[tuple[int, int]]) -> None:
    events = [
        event({"choices": [], "usage": {"prompt_tokens": one, "completion_tokens": other}})
        for one, other in counts
    ]
    most = Usage(max(one for one, _ in counts), max(other for _, other in counts))
    assert read_from(events, streams=True) == UsageReading(most, told=True)


def test_an_event_that_is_too_long_is_left_out_and_the_next_is_read() -> None:
    long = event({"choices": ["x" * 100], "usage": {"prompt_tokens": 9, "completion_tokens": 9}})
    short = event({"usage": {"prompt_tokens": 2, "completion_tokens": 3}})
    found = read_from([long[:50], long[50:], short], streams=True, longest=80)
    assert found.usage == Usage(2, 3)


@pytest.mark.parametrize("broken", [b"[" * 100_000, b'{"usage":' * 50_000, b'"' + b"\\" * 99_999])
def test_nests_and_escapes_without_end_are_read(broken: bytes) -> None:
    found = read_from([broken[:70_001], broken[70_001:]], streams=False)
    assert not found.told


OPENAI = Tariff(Rates(5, 15, cached_input=2.5, cache_write=6.25, cache_write_1h=10))
ANTHROPIC = Tariff(Rates(5, 15, cached_input=0.5, cache_write=6.25, cache_write_1h=10))


@pytest.mark.parametrize("case", [one for one in CASES if one.told], ids=lambda case: case.name)
def test_a_told_usage_costs_what_the_provider_bills(case: UsageCase) -> None:
    tariff = ANTHROPIC if case.at_anthropic else OPENAI
    assert cost_nano_usd(tariff, case.usage, 0, "") == case.nano_usd
