"""The prices of a model as the pool file spells them."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from routoo.tariffs.hours import DAYS, MINUTES_A_DAY, HourWindow, Week
from routoo.tariffs.rates import KINDS, Rates
from routoo.tariffs.tariff import STANDARD_TIERS, Step, Tariff

_TIME = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)", re.ASCII)
_HOUR = 60

_MOST_USD = 1_000_000  # a dollar a token: above it, some other unit is meant
_LAST_START = 1439  # minute of the day


def _number(value: object) -> object:
    # Pydantic takes ``no`` for 0: a price that is missing would be none at all.
    if isinstance(value, bool):
        raise ValueError("has to be a number")  # noqa: TRY004 - pydantic passes a TypeError on
    return value


Price = Annotated[float, Field(ge=0, le=_MOST_USD, allow_inf_nan=False), BeforeValidator(_number)]
Multiplier = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False), BeforeValidator(_number)]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
ServiceTier = Annotated[
    str, StringConstraints(min_length=1, max_length=64, to_lower=True, strip_whitespace=True)
]


def _time_of_day(value: object) -> object:
    # YAML reads 16:30 without quotation marks as 16 * 60 + 30.
    if isinstance(value, int) and not isinstance(value, bool) and value >= _HOUR:
        value = f"{value // _HOUR:02}:{value % _HOUR:02}"
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    minute = 0 if found is None else int(found[1]) * _HOUR + int(found[2])
    if found is None or minute > MINUTES_A_DAY:
        raise ValueError("has to be a time of the day in UTC, written as '16:30'")
    return f"{minute // _HOUR:02}:{minute % _HOUR:02}"


TimeOfDay = Annotated[str, BeforeValidator(_time_of_day)]


class TokenPrices(BaseModel):
    """Prices per million tokens, by kind of token. None: the price of the kind that it falls to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    usd_per_1m_input_tokens: Price
    """Price of a million input tokens, in USD."""
    usd_per_1m_cached_input_tokens: Price | None = None
    """Of input tokens that the provider finds in its cache; None: the input price."""
    usd_per_1m_cache_write_tokens: Price | None = None
    """Of input tokens that the provider writes into its cache, for the shortest lifetime that it
    sells; None: the input price."""
    usd_per_1m_cache_write_1h_tokens: Price | None = None
    """Of those that it writes for an hour; None: the price of other cache writes."""
    usd_per_1m_audio_input_tokens: Price | None = None
    """Of sound; None: the input price. The same holds for images and films."""
    usd_per_1m_image_input_tokens: Price | None = None
    """Price of a million input tokens of images, in USD; None: that of input tokens."""
    usd_per_1m_video_input_tokens: Price | None = None
    """Price of a million input tokens of films, in USD; None: that of input tokens."""
    usd_per_1m_output_tokens: Price
    """Price of a million output tokens, in USD."""
    usd_per_1m_reasoning_tokens: Price | None = None
    """Of output that is not shown; None: the output price."""
    usd_per_1m_audio_output_tokens: Price | None = None
    """Of sound; None: the output price."""

    @property
    def rates(self) -> Rates:
        """The prices as the tariff takes them."""
        return Rates(**{kind: getattr(self, f"usd_per_1m_{kind}_tokens") for kind in KINDS})


class LongPromptPrices(TokenPrices):
    """The prices of requests of more than some input tokens; they hold for the whole request."""

    above_input_tokens: int = Field(gt=0, le=2**31 - 1)
    """The prices hold for requests with more input tokens."""


class HourPrices(BaseModel):
    """A stretch of the day at which the prices are multiplied, as the pool file spells it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: TimeOfDay
    """In UTC, such as ``16:30``."""
    end: TimeOfDay
    """Not above ``start``: on the next day."""
    multiplier: Multiplier
    """The factor of the prices at these hours."""
    days: tuple[Day, ...] = Field(default=get_args(Day), min_length=1)
    """The days on which it starts."""

    @field_validator("start")
    @classmethod
    def _within_the_day(cls, start: str) -> str:
        if _minute(start) > _LAST_START:
            raise ValueError("has to be before 24:00; name 00:00 of the next day")
        return start

    @property
    def window(self) -> HourWindow:
        """The stretch as the tariff takes it."""
        return HourWindow(
            start_minute=_minute(self.start),
            end_minute=_minute(self.end),
            multiplier=self.multiplier,
            days=tuple(sorted({DAYS.index(day) for day in self.days})),
        )


class SoldPrices(TokenPrices):
    """All prices of a model."""

    usd_per_image: Price | None = None
    """Of each image in the request, beside its tokens; None: tokens alone are billed."""
    usd_per_request: Price | None = None
    """A fee of each request; None: there is none."""
    tiers: tuple[LongPromptPrices, ...] = Field(default=(), max_length=16)
    """Prices of longer requests, by rising lengths."""
    service_tiers: dict[ServiceTier, Multiplier] = Field(default={}, max_length=16)
    """Multipliers of all prices per token and image, by service tier, such as ``batch: 0.5``."""
    hours: tuple[HourPrices, ...] = Field(default=(), max_length=32)
    """Stretches of the day at which all prices per token and image are multiplied."""

    @field_validator("service_tiers", mode="before")
    @classmethod
    def _once(cls, tiers: object) -> object:
        names = [str(name).strip().lower() for name in tiers] if isinstance(tiers, dict) else []
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} stands twice, in other letters; remove one of them")
        return tiers

    @field_validator("service_tiers")
    @classmethod
    def _not_standard(cls, tiers: dict[str, float]) -> dict[str, float]:
        for name in tiers:
            if name in STANDARD_TIERS:
                raise ValueError(f"{name!r} is the tier of the prices themselves; remove it")
        return tiers

    @field_validator("hours")
    @classmethod
    def _apart(cls, hours: tuple[HourPrices, ...]) -> tuple[HourPrices, ...]:
        Week.of(tuple(one.window for one in hours))
        return hours

    @model_validator(mode="after")
    def _priced_in_every_tier(self) -> Self:
        """Refuses a tier that has no price of a kind of token that the model has a price of."""
        reached = 0
        for position, tier in enumerate(self.tiers):
            if tier.above_input_tokens <= reached:
                raise ValueError(
                    f"tiers.{position}.above_input_tokens: the lengths have to rise"
                    f" ({tier.above_input_tokens} after {reached})"
                )
            reached = tier.above_input_tokens
            missing = [kind for kind in self.rates.own if kind not in tier.rates.own]
            if missing:
                raise ValueError(
                    f"tiers.{position} has no usd_per_1m_{missing[0]}_tokens, and the model has;"
                    " set it"
                )
        return self

    @property
    def tariff(self) -> Tariff:
        """The prices as costs are computed from them."""
        return Tariff(
            rates=self.rates,
            usd_per_image=self.usd_per_image or 0.0,
            usd_per_request=self.usd_per_request or 0.0,
            steps=tuple(Step(one.above_input_tokens, one.rates) for one in self.tiers),
            service_tiers=tuple(sorted(self.service_tiers.items())),
            hours=tuple(one.window for one in self.hours),
        )


def _minute(time: str) -> int:
    hour, minute = time.split(":")
    return int(hour) * _HOUR + int(minute)
