"""The catalogues that are installed here, asked together for a model's figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from routoo.errors import PoolError
from routoo.routing.upkeep.entry import LITELLM, MAKERS, OPENROUTER, SELLERS, named_entry
from routoo.routing.upkeep.genai_prices import GenaiPrices
from routoo.routing.upkeep.litellm_table import LitellmTable, installed_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from pathlib import Path

    from routoo.routing.upkeep.entry import CatalogueEntry, PriceCatalogue


@dataclass(frozen=True, slots=True)
class Catalogues:
    """Catalogues in the order in which they are asked.

    Attributes:
        all: the catalogues, at least one.
    """

    all: tuple[PriceCatalogue, ...]

    def __str__(self) -> str:
        return " and ".join(f"{one.package} {one.version}" for one in self.all)

    def named(self, price_source: str, name: str) -> CatalogueEntry | None:
        """Returns the entry that a model's ``price_source`` names; None: it is not here.

        Args:
            price_source: of the form that ``named_entry`` reads, or anything else.
            name: the model's name in the pool.
        """
        named = named_entry(price_source)
        if named is None:
            return None
        package, key = named
        found = next((one.entry(key) for one in self.all if one.package == package), None)
        return None if found is None else self._filled(found, _listed(package, key, name)[1])

    def same_seller(self, price_source: str, name: str) -> CatalogueEntry | None:
        """Returns an entry of the seller that a model's ``price_source`` names.

        For a source whose package is not here, but another catalogue has the seller's prices, too.
        None: no catalogue has the model at that seller.
        """
        named = named_entry(price_source)
        return None if named is None else self._sold_by(*_listed(*named, name))

    def by_name(self, name: str) -> CatalogueEntry | None:
        """Returns the entry of the model's own maker, else OpenRouter's; None: there is none.

        Args:
            name: as pools have it, ``maker/model``; a name without a maker finds nothing.
        """
        own = self._sold_by(_maker(name), name.partition("/")[2])
        return self._sold_by(OPENROUTER, name) if own is None else own

    def _sold_by(self, seller: str, listed: str) -> CatalogueEntry | None:
        """Returns the first catalogue's entry of a seller's model that has prices."""
        found = next((one for one in self._found(seller, listed) if one.is_priced), None)
        return None if found is None else self._filled(found, listed)

    def _found(self, seller: str, listed: str) -> Iterator[CatalogueEntry]:
        for catalogue in self.all:
            found = catalogue.find(seller, listed)
            if found is not None:
                yield found

    def _filled(self, entry: CatalogueEntry, listed: str) -> CatalogueEntry:
        for other in self._found(entry.seller, listed):
            entry = entry if other.package == entry.package else entry.filled_from(other)
        return entry


def _maker(name: str) -> str:
    maker = name.partition("/")[0]
    return MAKERS.get(maker, maker)


def _listed(package: str, key: str, name: str) -> tuple[str, str]:
    """Returns the seller of an entry, and the name of the model there, as its key tells them."""
    seller, found, listed = key.partition("/" if package == LITELLM else ":")
    # LiteLLM's keys of the largest makers are the models' names alone.
    return (SELLERS.get(seller, seller), listed) if found else (_maker(name), key)


def installed_catalogues(day: date, table: Path | None = None) -> Catalogues:
    """Returns genai-prices and LiteLLM's table, those that there are.

    Args:
        day: prices are those of this day.
        table: LiteLLM's table as a file; None: that of the installed package, if it is installed.

    Raises:
        PoolError: there is no catalogue, or the table cannot be read; names the remedy.
    """
    found: list[PriceCatalogue] = []
    missing = None
    try:
        found.append(GenaiPrices(day))
    except PoolError as error:
        missing = error
    table = table or installed_table()
    if table is not None:
        found.append(LitellmTable(table))
    if not found:
        raise PoolError(
            f"{missing}, or name {LITELLM}'s model_prices_and_context_window.json with --table"
        )
    return Catalogues(tuple(found))
