"""The catalogue in the package genai-prices (MIT), read from the data that come with it.

The package can also renew its prices over the network, in a thread. Nothing here starts that: the
figures are those of the installed version.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from routoo.errors import PoolError
from routoo.routing.upkeep.entry import GENAI_PRICES, SELLERS, CatalogueEntry, without_date

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEP_MINUTES = 30
_FIELDS = {
    "usd_per_1m_input_tokens": "input_mtok",
    "usd_per_1m_cached_input_tokens": "cache_read_mtok",
    "usd_per_1m_cache_write_tokens": "cache_write_mtok",
    "usd_per_1m_cache_write_1h_tokens": "cache_write_1h_mtok",
    "usd_per_1m_audio_input_tokens": "input_audio_mtok",
    "usd_per_1m_output_tokens": "output_mtok",
    "usd_per_1m_audio_output_tokens": "output_audio_mtok",
}


class GenaiPrices:
    """The models of genai-prices, by seller and name.

    Args:
        day: prices are those of this day.

    Raises:
        PoolError: the package is not installed, or has changed; names the remedy.
    """

    package = GENAI_PRICES

    def __init__(self, day: date) -> None:
        try:
            from genai_prices.data import providers  # noqa: PLC0415 - an extra's package
        except ImportError:
            raise PoolError(
                f"the package {GENAI_PRICES} is missing; install it with"
                " `pip install 'routoo[catalogue]'`"
            ) from None
        self._day = day
        self.version = version(GENAI_PRICES)
        self._models: dict[tuple[str, str], tuple[str, Any]] = {}
        for provider in providers:
            seller = SELLERS.get(provider.id, provider.id)
            for model in provider.models:
                for name in (model.id, *_exact_names(model.match)):
                    self._models.setdefault(
                        (seller, name.lower()), (f"{provider.id}:{model.id}", model)
                    )
        self._keys = {key: (seller, model) for (seller, _), (key, model) in self._models.items()}

    def find(self, seller: str, name: str) -> CatalogueEntry | None:
        """Returns a seller's entry of a model.

        A name with a date finds the entry without it if the catalogue says that this is it.
        """
        name = name.lower()
        found = self._models.get((seller, name))
        if found is None:
            found = self._models.get((seller, without_date(name)))
            if found is None or not found[1].is_match(name):
                return None
        return self._made(seller, *found)

    def entry(self, key: str) -> CatalogueEntry | None:
        """Returns the entry ``provider:model``."""
        found = self._keys.get(key)
        return None if found is None else self._made(found[0], key, found[1])

    def _made(self, seller: str, key: str, model: Any) -> CatalogueEntry:
        # Some prices change with the hour. The prices are those of the most expensive one, and the
        # others are multipliers: a file must not change with the hour at which it is made.
        by_time = [
            model.get_prices(datetime.combine(self._day, time(*divmod(minute, 60)), UTC))
            for minute in range(0, 24 * 60, _STEP_MINUTES)
        ]
        prices = max(by_time, key=lambda one: _usd(one.output_mtok) or 0.0)
        return CatalogueEntry(
            package=GENAI_PRICES,
            version=self.version,
            key=key,
            seller=seller,
            usd_per_1m_input_tokens=_usd(prices.input_mtok),
            usd_per_1m_cached_input_tokens=_usd(prices.cache_read_mtok),
            usd_per_1m_cache_write_tokens=_usd(prices.cache_write_mtok),
            usd_per_1m_cache_write_1h_tokens=_usd(getattr(prices, "cache_write_1h_mtok", None)),
            usd_per_1m_audio_input_tokens=_usd(getattr(prices, "input_audio_mtok", None)),
            usd_per_1m_output_tokens=_usd(prices.output_mtok),
            usd_per_1m_audio_output_tokens=_usd(getattr(prices, "output_audio_mtok", None)),
            tiers=tuple(_tiers(prices)) or None,
            hours=tuple(_hours([_factor(one, prices) for one in by_time])) or None,
            context_window_tokens=model.context_window,
        )


def _tiers(prices: Any) -> Iterator[dict[str, Any]]:
    """Yields the prices of long prompts, as a pool file spells them."""
    told = {field: getattr(prices, name, None) for field, name in _FIELDS.items()}
    starts = {step.start for price in told.values() for step in getattr(price, "tiers", ())}
    for start in sorted(starts):
        yield {
            "above_input_tokens": start,
            **{
                field: _usd_above(price, start)
                for field, price in told.items()
                if price is not None
            },
        }


def _usd_above(price: Any, start: int) -> float:
    """Returns a price for prompts of more than ``start`` tokens."""
    steps = [step for step in getattr(price, "tiers", ()) if step.start <= start]
    return float(max(steps, key=lambda step: step.start).price) if steps else _usd(price) or 0.0


def _factor(prices: Any, highest: Any) -> float:
    """Returns the prices of an hour as a part of the highest; of several parts the largest."""
    pairs = (
        (_usd(getattr(prices, name, None)), _usd(getattr(highest, name, None)))
        for name in _FIELDS.values()
    )
    return max((low / high for low, high in pairs if low and high), default=1.0)


def _hours(factors: list[float]) -> Iterator[dict[str, Any]]:
    """Yields the stretches of the day with lower prices, of one factor per step of the day."""
    n = len(factors)
    if len(set(factors)) == 1:
        return
    starts = [at for at in range(n) if factors[at] != factors[at - 1]]
    for start, end in zip(starts, (*starts[1:], starts[0]), strict=True):
        if factors[start] != 1.0:
            yield {
                "start": _clock(start),
                "end": _clock(end),
                "multiplier": float(f"{factors[start]:.10g}"),
            }


def _clock(step: int) -> str:
    hour, minute = divmod(step * _STEP_MINUTES, 60)
    return f"{hour:02}:{minute:02}"


def _exact_names(match: Any) -> Iterator[str]:
    """Yields the names that a rule of the catalogue spells out; prefixes and patterns are none."""
    for part in getattr(match, "or_", [match]):
        exact = getattr(part, "equals", None)
        if exact is not None:
            yield exact


def _usd(price: Any) -> float | None:
    """Returns a price; of one with steps for long prompts, the first step."""
    return None if price is None else float(getattr(price, "base", price))
