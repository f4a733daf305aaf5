"""The catalogue in LiteLLM's table of models (MIT): a JSON file, in the package or on its own.

The package itself is never imported: on import it asks the network for a newer table.
"""

from __future__ import annotations

import importlib.util
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from routoo.config.files import read_file
from routoo.errors import PoolError
from routoo.routing.upkeep.entry import LITELLM, SELLERS, CatalogueEntry
from routoo.routing.upkeep.litellm_prices import litellm_prices

_TABLE = "model_prices_and_context_window_backup.json"
_CAPABILITIES = {
    "tools": "supports_function_calling",
    "vision": "supports_vision",
    "json": "supports_response_schema",
    "reasoning": "supports_reasoning",
    "audio": "supports_audio_input",
}


def installed_table() -> Path | None:
    """Returns the table of the installed package; None: it is not installed."""
    spec = importlib.util.find_spec(LITELLM)
    folders = () if spec is None else spec.submodule_search_locations or ()
    paths = (Path(folder) / _TABLE for folder in folders)
    return next((path for path in paths if path.is_file()), None)


class LitellmTable:
    """The models of LiteLLM's table, by seller and name.

    Args:
        path: the table.

    Raises:
        PoolError: the file cannot be read, or is no such table.
    """

    package = LITELLM

    def __init__(self, path: Path) -> None:
        self.version = _version_of(path)
        try:
            values = orjson.loads(read_file(path))
        except OSError as error:
            raise PoolError(f"{path}: cannot be read: {error.strerror}") from None
        except orjson.JSONDecodeError:
            values = None
        if not isinstance(values, dict) or not all(
            isinstance(one, dict) for one in values.values()
        ):
            raise PoolError(
                f"{path}: is not LiteLLM's table; name its model_prices_and_context_window.json"
            )
        self._values: dict[str, dict[str, Any]] = values
        self._keys: dict[tuple[str, str], str] = {}
        for key, value in values.items():
            seller = str(value.get("litellm_provider", ""))
            name = key.removeprefix(f"{seller}/").lower()
            self._keys.setdefault((SELLERS.get(seller, seller), name), key)

    def find(self, seller: str, name: str) -> CatalogueEntry | None:
        """Returns a seller's entry of a model; the name has to be the table's to the letter."""
        key = self._keys.get((seller, name.lower()))
        return None if key is None else self.entry(key)

    def entry(self, key: str) -> CatalogueEntry | None:
        """Returns the entry of this key."""
        value = self._values.get(key)
        if value is None:
            return None
        seller = str(value.get("litellm_provider", ""))
        return CatalogueEntry(
            package=LITELLM,
            version=self.version,
            key=key,
            seller=SELLERS.get(seller, seller),
            **litellm_prices(value),
            context_window_tokens=_tokens(value.get("max_input_tokens")),
            max_output_tokens=_tokens(value.get("max_output_tokens")),
            capabilities=tuple(
                name for name, field in _CAPABILITIES.items() if value.get(field) is True
            ),
            deprecation_date=_day(value.get("deprecation_date")),
        )


def _version_of(path: Path) -> str:
    """Returns the version of the package around a table; a table on its own has its day."""
    for folder in path.resolve().parents[1:2]:
        for metadata in folder.glob(f"{LITELLM}-*.dist-info"):
            return metadata.name.removeprefix(f"{LITELLM}-").removesuffix(".dist-info")
    try:
        return version(LITELLM) if path == installed_table() else _day_of(path)
    except PackageNotFoundError:
        return _day_of(path)


def _day_of(path: Path) -> str:
    try:
        return date.fromtimestamp(path.stat().st_mtime).isoformat()  # noqa: DTZ012 - of its owner
    except OSError:
        return "0"


def _tokens(number: object) -> int | None:
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _day(text: object) -> date | None:
    try:
        return date.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
