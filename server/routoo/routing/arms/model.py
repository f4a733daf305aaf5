"""A model of the pool as the pool file spells it."""

from __future__ import annotations

import re
from datetime import date, datetime
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from routoo.predictor.tokenizers.families import FAMILIES
from routoo.routing.arms.efforts import DEFAULT_EFFORT, RANKS
from routoo.routing.arms.parameters import parameters_of, why_not
from routoo.routing.arms.sold_prices import SoldPrices
from routoo.routing.arms.spec import APIS, ArmSpec, KnownEffort
from routoo.routing.arms.usage_limits import UsageLimits, without_unset_limits

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
MediaRate = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256)]


def _iso_day(value: object) -> object:
    # Pydantic alone would take a number, or a time of day, too.
    if value is None or (isinstance(value, date) and not isinstance(value, datetime)):
        return value
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"there is no day {value}") from None
    raise ValueError("has to be a day, written as 2027-04-30")


def _provider_of(values: dict[str, Any]) -> str:
    provider, slash, _ = values.get("name", "").partition("/")
    return provider if slash else ""


class ModelNames(BaseModel):
    """The names of a model, as the pool file spells them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ModelName
    """The name that callers see and send to."""
    predictor_name: str = ""
    """The predictor's name of the model, where it differs from ``name``; empty: ``name``."""
    aliases: tuple[ModelName, ...] = Field(default=(), max_length=64)
    """Other names under which providers answer for it, such as ``gpt-5-2025-08-07``."""
    provider: str = Field(default_factory=_provider_of, max_length=256)
    """The model's maker or seller; unset: the part of ``name`` before its first slash, if any."""


class ModelSpec(SoldPrices, UsageLimits, ModelNames):
    """One model of the pool, as the pool file spells it.

    The largest output and the last day are carried, shown and checked. They change no estimate and
    no decision.
    """

    price_status: Literal["stated", "assumed"]
    """``stated``: a provider or a published price list says so; ``assumed``: a guess."""
    price_source: str = Field(default="", max_length=1024)
    """Free text: the package with its version and entry, or the page, that the prices are from."""
    trust_reported_cost: bool = False
    """Whether the cost that a reply itself tells is booked, in place of its tokens' prices."""
    context_window_tokens: int = Field(gt=0, le=2**31 - 1)
    """The context window, in tokens."""
    max_output_tokens: int | None = Field(default=None, gt=0, le=2**31 - 1)
    """The longest answer that the provider allows; None: not known. No answer is predicted, or
    reserved, to be longer."""
    tokenizer: Literal[FAMILIES] | None = None  # type: ignore[valid-type] # the names are a constant
    """The family of its tokenizer, for the number of input tokens; None: found by the name."""
    tokens_per_image: MediaRate | None = None
    """Input tokens of an image of any size; None: by its size, else what the service's settings
    say. The same holds for recordings and films."""
    tokens_per_audio_s: MediaRate | None = None
    """Input tokens of a second of a recording."""
    tokens_per_video_s: MediaRate | None = None
    """Input tokens of a second of a film, its sound included."""
    capabilities: tuple[str, ...] = ()
    """What it can do besides text, by names that requests and the settings use, such as
    ``tools``."""
    deprecation_date: Annotated[date | None, BeforeValidator(_iso_day)] = None
    """The last day on which the provider answers; None: not announced."""
    time_to_first_token_ms: float = Field(ge=0, allow_inf_nan=False)
    """Time to the first token, in ms."""
    time_per_output_token_ms: float = Field(ge=0, allow_inf_nan=False)
    """Time per further token, in ms."""
    default_effort: KnownEffort | None = None
    """The effort that the predictor's row of the model itself is of; None: ``medium``."""
    arms: tuple[ArmSpec, ...] = Field(default=(), max_length=32)
    """The ways to ask the model; empty: one, without parameters."""

    @model_validator(mode="after")
    def _has_fitting_arms(self) -> Self:
        names = [arm.name for arm in self.arms]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"arm {name!r} stands twice; names of a model's arms are unique")
        for arm in self.arms:
            if all(parameters_of(arm, api) is None for api in APIS):
                raise ValueError(
                    f"no API can ask for arm {arm.name!r}: {why_not(arm, 'chat')};"
                    f" {why_not(arm, 'messages')}; give the fields in body"
                )
            thinking, longest = arm.thinking_budget_tokens, arm.max_output_tokens
            if thinking is not None and longest is not None and longest <= thinking:
                raise ValueError(
                    f"arm {arm.name!r} has no room for an answer: max_output_tokens {longest} is"
                    f" not above thinking_budget_tokens {thinking}, which it includes; raise it"
                )
            if arm.service_tier and not self.tariff.knows(arm.service_tier):
                raise ValueError(
                    f"arm {arm.name!r} asks for the service tier {arm.service_tier!r}, which has no"
                    " price; add it to service_tiers"
                )
        base = RANKS[self.default_effort or DEFAULT_EFFORT]
        reasoning = sorted((one for one in self.arms if one.reasons_as_told), key=lambda a: a.rank)
        for less, more in pairwise(reasoning):
            fall = [
                one
                for one, other in zip(more.offset(base), less.offset(base), strict=True)
                if one < other
            ]
            if less.rank < more.rank and fall:
                raise ValueError(
                    f"arm {more.name!r} has a higher effort than {less.name!r}, and a lower"
                    " score_odds or output_tokens_factor; both rise with the effort: set them for"
                    " all arms of the model"
                )
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_unset(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A pool without arms has the digests, and the lines in the log, that it had before there
        # were any.
        values: dict[str, Any] = plain(self)
        for name in ("default_effort", "arms"):
            if not getattr(self, name):
                values.pop(name, None)
        without_unset_limits(values)
        return values
