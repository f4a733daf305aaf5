"""The prices in an entry of LiteLLM's table, by the names of a pool file's fields."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from routoo.tariffs.hours import DAYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_COSTS = {
    "usd_per_1m_input_tokens": "input_cost_per_token",
    "usd_per_1m_cached_input_tokens": "cache_read_input_token_cost",
    "usd_per_1m_cache_write_tokens": "cache_creation_input_token_cost",
    "usd_per_1m_cache_write_1h_tokens": "cache_creation_input_token_cost_above_1hr",
    "usd_per_1m_audio_input_tokens": "input_cost_per_audio_token",
    "usd_per_1m_image_input_tokens": "input_cost_per_image_token",
    "usd_per_1m_video_input_tokens": "input_cost_per_video_token",
    "usd_per_1m_output_tokens": "output_cost_per_token",
    "usd_per_1m_reasoning_tokens": "output_cost_per_reasoning_token",
    "usd_per_1m_audio_output_tokens": "output_cost_per_audio_token",
}
_INPUT, _OUTPUT = "usd_per_1m_input_tokens", "usd_per_1m_output_tokens"
_WRITES = ("usd_per_1m_cache_write_tokens", "usd_per_1m_cache_write_1h_tokens")
_PLAIN = {
    _INPUT: (
        "usd_per_1m_audio_input_tokens",
        "usd_per_1m_image_input_tokens",
        "usd_per_1m_video_input_tokens",
    ),
    _OUTPUT: ("usd_per_1m_reasoning_tokens", "usd_per_1m_audio_output_tokens"),
}
_SERVICE_TIERS = {"batch": "batches", "flex": "flex", "priority": "priority"}
_LONG = re.compile(r"input_cost_per_token_above_(\d+)k_tokens", re.ASCII)
_STRETCH = re.compile(r"(\d\d:\d\d)-(\d\d:\d\d)", re.ASCII)


def litellm_prices(value: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the prices of an entry, by the fields of a pool file; None: the table is silent.

    Args:
        value: the entry.
    """
    prices = {field: _usd_per_1m(value.get(cost)) for field, cost in _COSTS.items()}
    if prices[_INPUT]:
        for field in _WRITES:
            # The table says so of sellers that ask nothing beside the price of the input.
            prices[field] = prices[field] or None
    for plain, fields in _PLAIN.items():
        for field in fields:
            if prices[field] == prices[plain]:
                prices[field] = None
    return {
        **prices,
        "tiers": tuple(_tiers(value, prices)) or None,
        "service_tiers": dict(_service_tiers(value)) or None,
        "hours": tuple(_hours(value)) or None,
    }


def _tiers(
    value: Mapping[str, Any], prices: Mapping[str, float | None]
) -> Iterator[dict[str, Any]]:
    lengths = sorted(int(found[1]) for key in value if (found := _LONG.fullmatch(key)))
    for length in lengths:
        told = {
            field: _usd_per_1m(value.get(f"{cost}_above_{length}k_tokens"))
            for field, cost in _COSTS.items()
        }
        low, high = prices[_INPUT], told[_INPUT]
        if not low or high is None or told[_OUTPUT] is None:
            continue
        # A price that the table does not repeat rises as that of the input does.
        rising = {
            field: told[field] if told[field] is not None else _rounded(old * high / low)
            for field, old in prices.items()
            if old is not None
        }
        yield {"above_input_tokens": length * 1000, **rising}


def _service_tiers(value: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yields the multipliers; of those of input and output the higher one."""
    for name, suffix in _SERVICE_TIERS.items():
        ratios = [
            _ratio(value.get(f"{cost}_{suffix}"), value.get(cost))
            for cost in (_COSTS[_INPUT], _COSTS[_OUTPUT])
        ]
        known = [one for one in ratios if one is not None]
        if len(known) == len(ratios):
            yield name, max(known)


def _hours(value: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the hours with lower prices; the smallest reduction counts."""
    off = value.get("off_peak_pricing")
    if not isinstance(off, dict):
        return
    ratios = [
        one
        for cost in _COSTS.values()
        if (one := _ratio(off.get(cost), value.get(cost))) is not None
    ]
    windows = off.get("windows")
    if not ratios or not isinstance(windows, list):
        return
    for window in windows:
        stretches, days = window.get("hours_utc"), window.get("weekdays")
        for stretch in [stretches] if isinstance(stretches, str) else stretches or ():
            found = _STRETCH.fullmatch(stretch)
            if found is not None:
                told = {"start": found[1], "end": found[2], "multiplier": max(ratios)}
                yield told if days is None else {**told, "days": [DAYS[day - 1] for day in days]}


def _ratio(part: object, whole: object) -> float | None:
    above, below = _usd_per_1m(part), _usd_per_1m(whole)
    return _rounded(above / below) if above and below else None


def _usd_per_1m(usd_per_token: object) -> float | None:
    if isinstance(usd_per_token, bool) or not isinstance(usd_per_token, int | float):
        return None
    # The table's numbers are exact in decimals, not in binary: 1e-07 * 1e6 would be off at the end.
    return _rounded(usd_per_token * 1e6)


def _rounded(number: float) -> float:
    return float(f"{number:.10g}")
