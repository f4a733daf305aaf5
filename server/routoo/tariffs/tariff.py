"""One model's tariff, and the cost of an answer by it in whole nano-dollars."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING

from routoo.errors import InvalidRequestError
from routoo.tariffs.hours import HourWindow, Week
from routoo.tariffs.rates import KINDS, Rates, exact
from routoo.tariffs.usage import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from routoo.tariffs.usage import Usage

STANDARD_TIERS = frozenset(
    {"", "default", "standard", "auto", "on_demand", "on-demand", "standard_only"}
)
"""The names by which providers report, or callers ask for, the tier of the model's own prices."""
MOST_TOKENS = 100_000_000
"""The largest number of tokens, pieces or requests that one answer can have."""
NANO_PER_USD = 1_000_000_000
_ONE = Fraction(1)
_NANO_PER_TOKEN = 1000  # at one USD per million tokens
_VERSION = 1  # of the computation; it is part of the version of each price table
_COUNTS = ("input_tokens", "output_tokens", *PARTS, "requests")


@dataclass(frozen=True, slots=True)
class Step:
    """The prices of requests with more than some input tokens; they hold for the whole request.

    Attributes:
        above_input_tokens: the longest request at the prices before this step.
        rates: the prices.
    """

    above_input_tokens: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class Tariff:
    """The prices of one model.

    Multipliers apply to the prices of tokens and pieces, not to the fee of a request.

    Attributes:
        rates: the prices per million tokens.
        usd_per_image: of each image in the request, beside its tokens.
        usd_per_request: the fee of each request.
        steps: prices of longer requests, by rising lengths.
        service_tiers: multipliers by the name of a service tier, in lower case.
        hours: windows with multipliers.
        week: the windows laid out over a week.

    Raises:
        ValueError: two windows overlap.
    """

    rates: Rates
    usd_per_image: float = 0.0
    usd_per_request: float = 0.0
    steps: tuple[Step, ...] = ()
    service_tiers: tuple[tuple[str, float], ...] = ()
    hours: tuple[HourWindow, ...] = ()
    week: Week = field(init=False, repr=False, compare=False)
    # Whole multiples of a nano-dollar's ``_scale``-th part: sums of them are exact, and fast.
    _scale: int = field(init=False, repr=False, compare=False)
    _token_units: tuple[tuple[int, ...], ...] = field(init=False, repr=False, compare=False)
    _image_units: int = field(init=False, repr=False, compare=False)
    _request_units: int = field(init=False, repr=False, compare=False)
    _multipliers: dict[str, Fraction] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        bands = [
            [exact(one.of(kind)) * _NANO_PER_TOKEN for kind in KINDS]
            for one in (self.rates, *(step.rates for step in self.steps))
        ]
        image = exact(self.usd_per_image) * NANO_PER_USD
        request = exact(self.usd_per_request) * NANO_PER_USD
        prices = [image, request, *(one for band in bands for one in band)]
        scale = lcm(*(one.denominator for one in prices))
        put = object.__setattr__
        put(self, "week", Week.of(self.hours))
        put(self, "_scale", scale)
        put(self, "_token_units", tuple(tuple(int(one * scale) for one in band) for band in bands))
        put(self, "_image_units", int(image * scale))
        put(self, "_request_units", int(request * scale))
        put(self, "_multipliers", {name: exact(one) for name, one in self.service_tiers})

    def service_multiplier(self, service_tier: str) -> Fraction:
        """Returns the multiplier of a service tier.

        One that the tariff does not know has the highest of those that it knows, at least 1: what
        is booked for it is then rather too much than too little.
        """
        name = service_tier.casefold()
        if name in STANDARD_TIERS:
            return _ONE
        return self._multipliers.get(name) or max([_ONE, *self._multipliers.values()])

    def knows(self, service_tier: str) -> bool:
        """Returns whether the tariff has a multiplier for a service tier."""
        name = service_tier.casefold()
        return name in STANDARD_TIERS or name in self._multipliers

    def nano_usd(self, usage: Usage, at_s: int, multiplier: Fraction) -> int:
        """Returns the cost of a usage in nano-USD, exact, rounded once, half of one upwards."""
        amounts = tokens_by_kind(usage)
        length = input_tokens_of(usage)
        band = sum(length > step.above_input_tokens for step in self.steps)
        units = sum(map(int.__mul__, amounts, self._token_units[band]))
        units += usage.images * self._image_units
        if self.hours:
            multiplier *= self.week.at(at_s)
        above = units * multiplier.numerator
        above += usage.requests * self._request_units * multiplier.denominator
        below = self._scale * multiplier.denominator
        return (2 * above + below) // (2 * below)


def cost_nano_usd(tariff: Tariff, usage: Usage, at_s: int, service_tier: str | None = None) -> int:
    """Returns the cost of an answer in whole nano-USD.

    Computed in whole numbers from the prices as they are written, and rounded once at the end,
    half a nano-dollar upwards.

    Args:
        tariff: the prices of the model that answered.
        usage: the amounts that the provider counted.
        at_s: the time whose prices hold, in seconds since 1970.
        service_tier: the name of the service tier; None: the one in the usage.

    Raises:
        InvalidRequestError: the usage lacks the input or the output tokens, or ``check_usage``
            refuses it; names the field.
    """
    check_usage(usage)
    for name in ("input_tokens", "output_tokens"):
        if getattr(usage, name) is None:
            raise InvalidRequestError(
                "is not set; the cost needs both kinds of tokens, or cost_usd", field=name
            )
    tier = usage.service_tier if service_tier is None else service_tier
    return tariff.nano_usd(usage, at_s, tariff.service_multiplier(tier))


def check_usage(usage: Usage) -> None:
    """Refuses amounts that no answer can have.

    Raises:
        InvalidRequestError: an amount is negative or above 100 million; names the field.
    """
    for name in _COUNTS:
        amount = getattr(usage, name)
        if amount is not None and not 0 <= amount <= MOST_TOKENS:
            raise InvalidRequestError(
                f"has to be from 0 to {MOST_TOKENS:,} for one answer (given: {amount})", field=name
            )


def input_tokens_of(usage: Usage) -> int:
    """Returns all input tokens: the total, or its cached and written parts if they are more."""
    return max(
        usage.input_tokens or 0,
        usage.cached_input_tokens + usage.cache_write_tokens + usage.cache_write_1h_tokens,
    )


def tokens_by_kind(usage: Usage) -> list[int]:
    """Returns the tokens of each of ``KINDS``; each token stands in one kind only.

    Tokens of sound, images or films that were cached are billed as cached ones, as providers do:
    the kinds beside the cache share what it leaves, in the order audio, images, films.
    """
    length = input_tokens_of(usage)
    cached = usage.cached_input_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens
    left = length - sum(cached)
    audio = min(usage.audio_input_tokens, left)
    image = min(usage.image_input_tokens, left - audio)
    video = min(usage.video_input_tokens, left - audio - image)
    reasoning, spoken = usage.reasoning_tokens, usage.audio_output_tokens
    written = max(usage.output_tokens or 0, reasoning + spoken)
    return [
        left - audio - image - video,
        written - reasoning - spoken,
        *cached,
        audio,
        image,
        video,
        reasoning,
        spoken,
    ]


def version_of(named: Iterable[tuple[str, Tariff]]) -> str:
    """Returns 8 hex digits that identify the models' tariffs and the way they are computed."""
    told = repr((_VERSION, list(named)))
    return hashlib.sha256(told.encode()).hexdigest()[:8]
