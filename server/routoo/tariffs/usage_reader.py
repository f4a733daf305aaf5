"""The usage of an answer, from the counters in its reply."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from math import ceil
from typing import TYPE_CHECKING

import orjson

from routoo.tariffs import usage_table as table
from routoo.tariffs.reply_sieve import MOST, ReplySieve
from routoo.tariffs.usage import PARTS, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

BYTES_PER_TOKEN = 4
"""Bytes of text that count as one token where nothing else is known."""
_START = "message."
_MODALITIES = {"AUDIO": "audio", "IMAGE": "image", "VIDEO": "video"}


@dataclass(frozen=True, slots=True)
class UsageReading:
    """The usage that was read from a reply.

    Attributes:
        usage: the counters; where they are not ``told``, ``output_tokens`` is the least number of
            tokens that the caller got, or None.
        told: whether both totals are the provider's last word. It is False for a reply without
            usage, for one with zeros beside a text, and for a stream that broke off before its end.
    """

    usage: Usage
    told: bool


class UsageReader:
    """Reads the usage from a reply that comes in pieces.

    Args:
        streams: whether the reply is a stream of server-sent events; otherwise it is JSON.
        longest_event: bytes of the longest event that is read; longer ones are skipped.
    """

    def __init__(self, *, streams: bool, longest_event: int) -> None:
        self._sieve = ReplySieve(streams=streams, longest_line=longest_event)

    def feed(self, piece: bytes) -> None:
        """Reads a piece."""
        self._sieve.feed(piece)

    def reading(self, *, finished: bool) -> UsageReading:
        """Returns what was found; to be called once, after the last piece.

        Args:
            finished: whether the reply came to its end; False: it broke off.
        """
        sieve = self._sieve
        if finished:
            sieve.end()
        flowed = (*sieve.deltas,) if sieve.deltas[0] else (*sieve.texts,)
        return read(sieve.leaves, flowed[0], flowed[1], finished=finished)


def read(
    leaves: Mapping[str, float | str], text_bytes: float, text_pieces: float, *, finished: bool
) -> UsageReading:
    """Returns the usage that a reply's counters tell.

    Args:
        leaves: those of a ``ReplySieve``.
        text_bytes: bytes of text that have flowed.
        text_pieces: events with text that have flowed; each is a token at least.
        finished: whether the reply came to its end.
    """
    found = Usage()
    last_word: int | None = None
    for container, figures in _containers(leaves).items():
        usage = _usage_of(figures)
        found = _greater(found, usage)
        if not container.startswith(_START) and usage.output_tokens is not None:
            last_word = max(last_word or 0, usage.output_tokens)
    flowed = max(ceil(text_bytes / BYTES_PER_TOKEN), int(text_pieces))
    if max(found.input_tokens or 0, found.output_tokens or 0) > MOST:
        found = Usage()  # each counter is possible, and no answer has their sum
    told_input = found.input_tokens or None
    told_output = found.output_tokens
    if told_output == 0 and (flowed or told_input is None):
        told_output = None
    if last_word is None and told_output is not None and told_output < flowed:
        told_output = None  # the first event of a stream, and no later one
    told = (
        told_input is not None
        and told_output is not None
        and (finished or bool(leaves.get("final")))
    )
    if not told:
        told_output = max(flowed, told_output or 0) or None
    found = replace(
        found,
        input_tokens=told_input,
        output_tokens=told_output,
        model=_name(leaves.get("model")),
        reply_id=_name(leaves.get("id")),
        service_tier=_tier(leaves.get("service_tier")) or found.service_tier,
        told_cost_usd=found.told_cost_usd if told or (finished and told_input) else None,
    )
    return UsageReading(found, told)


_Figures = dict[str, float | str]


def _containers(leaves: Mapping[str, float | str]) -> dict[str, _Figures]:
    """Returns the figures of each object of counters, by their path in it."""
    found: dict[str, _Figures] = {}
    for path, value in leaves.items():
        start = _START if path.startswith(_START) else ""
        container, dot, name = path[len(start) :].partition(".")
        if dot:
            # Some put the object into another one that has counters of its own.
            found.setdefault(start + container, {})[name.removeprefix("usage.")] = value
        elif path not in ("model", "id", "service_tier", "final"):
            found.setdefault("", {})[path] = value
    return found


def _usage_of(figures: _Figures) -> Usage:
    """Returns the usage in one object of counters, or the sum of its steps where that is more."""
    steps: dict[str, _Figures] = {}
    for path, value in figures.items():
        number, _, name = path.removeprefix(table.STEPS).partition(".")
        if path.startswith(table.STEPS) and name:
            steps.setdefault(number, {})[name] = value
    whole = _usage_of_one(figures)
    return _greater(whole, reduce(_sum, map(_usage_of_one, steps.values()))) if steps else whole


def _usage_of_one(figures: _Figures) -> Usage:
    """Returns the usage in an object of counters without steps; what it lacks is None or 0."""
    total = _most(figures, table.TOTAL)
    read, cached, written = _input_of(figures, total)
    added = _part(figures, table.ADDED_OUTPUT)
    reasoning = _part(figures, table.REASONING) + added
    output = _most(figures, table.OUTPUT)
    if output is not None or added:
        output = (output or 0) + added
    if total is None and output is not None and reasoning > output:
        output += reasoning  # it cannot be contained
    if total is not None and read is not None and total > read:
        output = max(output or 0, total - read)
    if read is None and total is not None and output:
        read = max(0, total - output)
    written_1h = min(written, _part(figures, table.WRITTEN_1H))
    heard = _modalities(figures, table.INPUT_MODALITIES)
    said = _modalities(figures, table.OUTPUT_MODALITIES)
    cost = [
        value
        for name in table.COST_USD
        if isinstance(value := figures.get(name), float) and value <= table.MOST_COST_USD
    ]

    def within(names: tuple[str, ...], other: int, whole: int | None) -> int:
        return min(_part(figures, names) or other, whole or 0)

    return Usage(
        input_tokens=read,
        output_tokens=output,
        cached_input_tokens=cached,
        cache_write_tokens=written - written_1h,
        cache_write_1h_tokens=written_1h,
        reasoning_tokens=min(reasoning, output or 0),
        audio_input_tokens=within(table.AUDIO_INPUT, heard["audio"], read),
        image_input_tokens=within(table.IMAGE_INPUT, heard["image"], read),
        video_input_tokens=within(table.VIDEO_INPUT, heard["video"], read),
        audio_output_tokens=within(table.AUDIO_OUTPUT, said["audio"], output),
        images=_part(figures, table.IMAGES),
        service_tier=_tier(figures.get("service_tier")),
        told_cost_usd=max(cost, default=None),
    )


def _input_of(figures: _Figures, total: int | None) -> tuple[int | None, int, int]:
    """Returns all tokens of the request, those read from a cache, and those written into it."""
    cached, written = _part(figures, table.CACHED), _part(figures, table.WRITTEN)
    read, bare = _most(figures, table.INPUT), _most(figures, table.BARE_INPUT)
    missed = _most(figures, table.MISSED)
    if read is None and bare is None and missed is not None:
        read = cached + missed
    output = _part(figures, table.OUTPUT)
    # A total that is reached without them contains them.
    contained = read is not None or cached or written or (bare or 0) + output == total
    cached = max(cached, _part(figures, table.CACHED_BESIDE))
    both_written = _part(figures, table.WRITTEN_5M) + _part(figures, table.WRITTEN_1H)
    written = max(written, _part(figures, table.WRITTEN_BESIDE), both_written)
    if read is None:
        read = bare
    if read is None and not cached and not written:
        return None, 0, 0
    read = read or 0
    if not contained or max(cached, written) > read:
        read += cached + written
    return max(read, cached + written) + _part(figures, table.ADDED_INPUT), cached, written


def _most(figures: _Figures, names: tuple[str, ...]) -> int | None:
    told = [value for name in names if isinstance(value := figures.get(name), float)]
    return ceil(max(told)) if told else None


def _part(figures: _Figures, names: tuple[str, ...]) -> int:
    return _most(figures, names) or 0


def _modalities(figures: _Figures, lists: tuple[str, ...]) -> dict[str, int]:
    """Returns the tokens of each kind in a list of kinds, as Google tells them."""
    found = dict.fromkeys(_MODALITIES.values(), 0)
    for path, value in figures.items():
        where, _, name = path.rpartition(".")
        if name == "modality" and isinstance(value, str) and where.startswith(lists):
            tokens = figures.get(f"{where}.tokenCount", figures.get(f"{where}.token_count"))
            kind = _MODALITIES.get(value.upper())
            if kind is not None and isinstance(tokens, float):
                found[kind] += ceil(tokens)
    return found


def _sum(one: Usage, other: Usage) -> Usage:
    parts = {name: getattr(one, name) + getattr(other, name) for name in PARTS}
    return Usage(
        input_tokens=(one.input_tokens or 0) + (other.input_tokens or 0),
        output_tokens=(one.output_tokens or 0) + (other.output_tokens or 0),
        **parts,
    )


def _greater(one: Usage, other: Usage) -> Usage:
    """Returns the greater counter of each kind, as counters never fall."""

    def total(name: str) -> int | None:
        told = [value for each in (one, other) if (value := getattr(each, name)) is not None]
        return max(told, default=None)

    parts = {name: max(getattr(one, name), getattr(other, name)) for name in PARTS}
    costs = [each.told_cost_usd for each in (one, other) if each.told_cost_usd is not None]
    return Usage(
        input_tokens=total("input_tokens"),
        output_tokens=total("output_tokens"),
        service_tier=other.service_tier or one.service_tier,
        told_cost_usd=max(costs, default=None),
        **parts,
    )


def _tier(name: object) -> str:
    """Returns the name of a service tier; empty for the standard one."""
    tier = name.lower() if isinstance(name, str) else ""
    return "" if tier in table.STANDARD_TIERS else tier


def _name(written: object) -> str:
    """Returns a model's name without the escapes of JSON."""
    if not isinstance(written, str):
        return ""
    try:
        return str(orjson.loads(f'"{written}"'))
    except orjson.JSONDecodeError:
        return written
