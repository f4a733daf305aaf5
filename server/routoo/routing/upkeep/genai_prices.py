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
        # Some prices change with the hour. A budget has to hold at the most expensive one, and a
        # file must not change with the hour at which it is made.
        hours = [
            model.get_prices(datetime.combine(self._day, time(hour), UTC)) for hour in range(24)
        ]
        prices = max(hours, key=lambda one: _usd(one.output_mtok) or 0.0)
        return CatalogueEntry(
            package=GENAI_PRICES,
            version=self.version,
            key=key,
            seller=seller,
            usd_per_1m_input_tokens=_usd(prices.input_mtok),
            usd_per_1m_cached_input_tokens=_usd(prices.cache_read_mtok),
            usd_per_1m_cache_write_tokens=_usd(prices.cache_write_mtok),
            usd_per_1m_output_tokens=_usd(prices.output_mtok),
            context_window_tokens=model.context_window,
        )


def _exact_names(match: Any) -> Iterator[str]:
    """Yields the names that a rule of the catalogue spells out; prefixes and patterns are none."""
    for part in getattr(match, "or_", [match]):
        exact = getattr(part, "equals", None)
        if exact is not None:
            yield exact


def _usd(price: Any) -> float | None:
    """Returns a price; of one with steps for long prompts, the first step."""
    return None if price is None else float(getattr(price, "base", price))
