"""One model's entry in a catalogue of prices, and the names under which a seller lists a model."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from datetime import date

GENAI_PRICES, LITELLM = "genai-prices", "litellm"
"""The packages that bring a catalogue."""
OPENROUTER = "openrouter"
"""The seller of many makers' models, under the names that pools use: ``maker/model``."""
MAKERS = {"mistralai": "mistral", "z-ai": "zai", "qwen": "dashscope"}
"""Sellers of a maker's own models, by the maker's name, where the two differ."""
SELLERS = {
    "gemini": "google",
    "moonshot": "moonshotai",
    "xai": "x-ai",
    "together": "together_ai",
    "fireworks": "fireworks_ai",
}
"""The shared names of sellers, by a catalogue's own, where the two differ."""
PRICES = (
    "usd_per_1m_input_tokens",
    "usd_per_1m_cached_input_tokens",
    "usd_per_1m_cache_write_tokens",
    "usd_per_1m_cache_write_1h_tokens",
    "usd_per_1m_audio_input_tokens",
    "usd_per_1m_image_input_tokens",
    "usd_per_1m_video_input_tokens",
    "usd_per_1m_output_tokens",
    "usd_per_1m_reasoning_tokens",
    "usd_per_1m_audio_output_tokens",
)
"""The fields of an entry, and of a model of the pool, that are prices."""
CONDITIONS = ("tiers", "service_tiers", "hours")
"""The fields of both that say when the prices are others."""
_FIGURES = (*PRICES, *CONDITIONS, "context_window_tokens", "max_output_tokens", "deprecation_date")
_ENTRY = re.compile(rf"({GENAI_PRICES}|{LITELLM})(?: [0-9][^\s:]*)?: ?(\S+)", re.ASCII)
_DATE_AT_END = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8})$", re.ASCII)


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One seller's figures of one model, as a catalogue has them; None: the catalogue is silent.

    Attributes:
        package: the catalogue's package.
        version: the package's version.
        key: the entry's key in the catalogue.
        seller: the company that asks these prices, by the name that all catalogues share here.
        usd_per_1m_input_tokens: for prompts of ordinary length, at the most expensive hour.
        usd_per_1m_cached_input_tokens: of input tokens that are found in the seller's cache.
        usd_per_1m_cache_write_tokens: of input tokens that are written into that cache.
        usd_per_1m_cache_write_1h_tokens: of those that are written into it for an hour.
        usd_per_1m_audio_input_tokens: of sound, where it has another price than text.
        usd_per_1m_image_input_tokens: of images, where they have another price than text.
        usd_per_1m_video_input_tokens: of films, where they have another price than text.
        usd_per_1m_output_tokens: for prompts of ordinary length, at the most expensive hour.
        usd_per_1m_reasoning_tokens: of output that is not shown, where it has another price.
        usd_per_1m_audio_output_tokens: of sound in the answer, where it has another price.
        tiers: prices of long prompts, as a pool file spells them.
        service_tiers: multipliers by service tier.
        hours: stretches of the day with lower prices, as a pool file spells them.
        context_window_tokens: the longest input.
        max_output_tokens: the longest answer.
        capabilities: of tools, vision, json, reasoning and audio those that it has.
        deprecation_date: the last day of the model at this seller.
    """

    package: str
    version: str
    key: str
    seller: str
    usd_per_1m_input_tokens: float | None = None
    usd_per_1m_cached_input_tokens: float | None = None
    usd_per_1m_cache_write_tokens: float | None = None
    usd_per_1m_cache_write_1h_tokens: float | None = None
    usd_per_1m_audio_input_tokens: float | None = None
    usd_per_1m_image_input_tokens: float | None = None
    usd_per_1m_video_input_tokens: float | None = None
    usd_per_1m_output_tokens: float | None = None
    usd_per_1m_reasoning_tokens: float | None = None
    usd_per_1m_audio_output_tokens: float | None = None
    tiers: tuple[dict[str, Any], ...] | None = None
    service_tiers: dict[str, float] | None = None
    hours: tuple[dict[str, Any], ...] | None = None
    context_window_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: tuple[str, ...] = ()
    deprecation_date: date | None = None

    @property
    def source(self) -> str:
        """The text for a model's ``price_source``; ``named_entry`` reads it."""
        return f"{self.package} {self.version}: {self.key}"

    @property
    def is_priced(self) -> bool:
        """Whether input and output have a price, and not both the price 0."""
        prices = (self.usd_per_1m_input_tokens, self.usd_per_1m_output_tokens)
        return None not in prices and any(prices)

    def prices(self) -> dict[str, Any]:
        """Returns the prices that the entry has, by their fields' names in a pool file."""
        return {name: value for name in PRICES if (value := getattr(self, name)) is not None}

    def figures(self) -> dict[str, Any]:
        """Returns the prices and the other figures that the entry has, by their fields' names."""
        return {name: value for name in _FIGURES if (value := getattr(self, name)) is not None}

    def filled_from(self, other: CatalogueEntry) -> CatalogueEntry:
        """Returns the entry with another one's figures where this one is silent, prices excepted.

        Prices stay those of one catalogue: a cached price belongs to its input price.
        """
        gaps = {
            name: getattr(other, name)
            for name in _FIGURES
            if name not in (*PRICES, *CONDITIONS) and getattr(self, name) is None
        }
        return dataclasses.replace(
            self, **gaps, capabilities=self.capabilities or other.capabilities
        )


class PriceCatalogue(Protocol):
    """A list of models with their prices, on this machine."""

    package: str
    version: str

    def find(self, seller: str, name: str) -> CatalogueEntry | None:
        """Returns a seller's entry of exactly this model; None: the catalogue has none."""
        ...

    def entry(self, key: str) -> CatalogueEntry | None:
        """Returns the entry of this key; None: the catalogue has none."""
        ...


def named_entry(text: str) -> tuple[str, str] | None:
    """Returns the package and key that ``PACKAGE VERSION: KEY`` or ``PACKAGE:KEY`` names.

    None: the text has another form, or names no package that brings a catalogue.
    """
    found = _ENTRY.fullmatch(text)
    return None if found is None else (found[1], found[2])


def without_date(name: str) -> str:
    """Returns a model's name without the date of its version at the end."""
    return _DATE_AT_END.sub("", name)
