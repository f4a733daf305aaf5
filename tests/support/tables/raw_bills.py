"""Bills of providers, from the bytes of their replies alone.

A second opinion on the reader and the tariff, of which it uses nothing: it looks for numbers by
their names in the text, wherever they stand, and takes the greatest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction

_MOST = 100_000_000
_ANSWER = ("output", "reasoning", "audio_output")
_READ = ("cache_read_input_tokens", "cacheReadInputTokens", "cacheReadInputTokenCount")
_WRITTEN = ("cache_creation_input_tokens", "cacheWriteInputTokens", "cacheWriteInputTokenCount")


@dataclass(frozen=True, slots=True)
class RawPrices:
    """Prices in USD per million tokens, written as texts.

    Attributes:
        usd: by kind of token.
        above: input tokens above which ``dear`` times these prices hold.
        dear: the factor of long requests.
        tiers: the factors of service tiers.
        fee_usd: of each request.
    """

    usd: dict[str, str]
    above: int = _MOST
    dear: str = "1"
    tiers: dict[str, str] = field(default_factory=dict)
    fee_usd: str = "0"


_OPENAI = {
    "input": "5",
    "output": "15",
    "cached_input": "2.5",
    "cache_write": "6.25",
    "cache_write_1h": "10",
    "audio_input": "5",
    "image_input": "5",
    "video_input": "5",
    "reasoning": "15",
    "audio_output": "15",
}
OPENAI = RawPrices(_OPENAI)
"""The prices of the table's ``nano_usd``."""
ANTHROPIC = RawPrices({**_OPENAI, "cached_input": "0.5"})
"""The prices of ``nano_usd`` in replies of messages."""
ALL_APART = RawPrices(
    {
        "input": "3.3",
        "output": "17.1",
        "cached_input": "0.37",
        "cache_write": "4.1",
        "cache_write_1h": "6.7",
        "audio_input": "41.3",
        "image_input": "7.9",
        "video_input": "9.1",
        "reasoning": "19.7",
        "audio_output": "83.1",
    },
    above=1000,
    dear="2",
    tiers={"flex": "0.5", "batch": "0.5", "priority": "1.75"},
    fee_usd="0.0004567",
)
"""Every kind of token has a price of its own; long requests, tiers and each request, too."""


def raw_bill_nano_usd(reply: str, prices: RawPrices) -> int:
    """Returns the bill in nano-dollars, half of one upwards, for a reply that tells both totals."""
    tokens = _tokens(reply)
    long = sum(tokens[kind] for kind in tokens if kind not in _ANSWER) > prices.above
    usd = sum(number * Fraction(prices.usd[kind]) / 1_000_000 for kind, number in tokens.items())
    usd *= Fraction(prices.dear) if long else 1
    tiers = re.findall(r'(?<!\\)"service_tier"\s*:\s*"(\w+)"', reply)
    usd *= Fraction(prices.tiers.get(tiers[-1] if tiers else "", "1"))
    nano = (usd + Fraction(prices.fee_usd)) * 10**9
    return (2 * nano.numerator + nano.denominator) // (2 * nano.denominator)


def _tokens(reply: str) -> dict[str, int]:
    """Returns the tokens of each kind; each token is of one kind."""
    # A call of a tool may have any words in what it hands over; what is billed may stand apart.
    reply = re.sub(r'"input"\s*:\s*\{(?:[^{}]|\{[^{}]*\})*\}', "", reply)
    # Of a conversation that is shortened on the way, each step is a bill of its own.
    if steps := re.search(r'"iterations"\s*:\s*\[([^\]]*)\]', reply):
        bills = [_tokens(step) for step in re.findall(r"\{[^{}]*\}", steps[1])]
        return {kind: sum(bill[kind] for bill in bills) for kind in bills[0]}
    reply = "".join(re.findall(r'"billed_units"\s*:\s*\{[^{}]*\}', reply)) or reply

    def most(*names: str, within: str = "") -> int:
        inside = rf'"(?:{within})"\s*:\s*\{{[^{{}}]*?' if within else ""
        found = re.findall(
            rf'(?<!\\){inside}"(?:{"|".join(names)})"\s*:\s*"?(\d+)(?:\.0+)?"?\s*[,}}\n]', reply
        )
        return max([int(one) for one in found if int(one) <= _MOST], default=0)

    asked = "prompt_tokens_details|input_tokens?_details"
    answered = "completion_tokens_details|output_tokens?_details"
    read, written = most(*_READ), most(*_WRITTEN)
    lasting = most("ephemeral_1h_input_tokens")
    short = most("ephemeral_5m_input_tokens") if lasting or not written else written
    beside = read + max(written, short + lasting)
    total = most("total_tokens", "totalTokenCount", "totalTokens")
    output = most(
        *("completion_tokens", "output_tokens", "outputTokens", "outputTokenCount"),
        *("candidatesTokenCount", "eval_count", "generated_tokens"),
    )
    whole = most("prompt_tokens", "promptTokenCount", "prompt_eval_count")
    bare = most("input_tokens", "inputTokens", "inputTokenCount")
    if most("prompt_cache_miss_tokens"):
        whole = most("prompt_cache_hit_tokens") + most("prompt_cache_miss_tokens")
    holds_cache = total and total == bare + output
    length = whole or (bare if holds_cache else bare + beside)
    length += most("toolUsePromptTokenCount")
    cached = read or most(
        *("cached_tokens", "num_cached_tokens", "prompt_cache_hit_tokens"),
        *("cachedContentTokenCount",),
    )
    short = short or most("cache_write_tokens", "cache_creation_tokens", within=asked)
    reasoning = most("reasoning_tokens", "thinking_tokens") or most("thoughtsTokenCount")
    if most("thoughtsTokenCount") or reasoning > output:
        output += reasoning
    output = max(output, total - length)

    def sort(modality: str, lists: str) -> int:
        listed = "".join(re.findall(rf'"(?:{lists})"\s*:\s*\[[^\]]*\]', reply))
        one = next((it for it in listed.split("}") if f'"{modality}"' in it), "0")
        return int(re.findall(r"\d+", one)[0])

    heard = most("audio_tokens", within=asked) or sort("AUDIO", "promptTokensDetails")
    seen = most("image_tokens", within=asked) or sort("IMAGE", "promptTokensDetails")
    watched = most("video_tokens", within=asked) or sort("VIDEO", "promptTokensDetails")
    said = most("audio_tokens", within=answered) or sort("AUDIO", "candidatesTokensDetails")
    return {
        "input": length - cached - short - lasting - heard - seen - watched,
        "cached_input": cached,
        "cache_write": short,
        "cache_write_1h": lasting,
        "audio_input": heard,
        "image_input": seen,
        "video_input": watched,
        "output": output - reasoning - said,
        "reasoning": reasoning,
        "audio_output": said,
    }
