"""Keys of providers, from the environment or from a file that may change."""

from __future__ import annotations

import os
import re
from time import monotonic
from typing import TYPE_CHECKING, Final

import structlog

from routoo.api.security.watched_files import WatchedFiles
from routoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_KEY: Final = re.compile(r"[\x21-\x7e]+")
_MOST_BYTES: Final = 64 * 1024
_LOOK_EVERY_S: Final = 1.0
_log = structlog.get_logger("routoo.proxy")


class ProviderKey:
    """The key of one provider.

    Attributes:
        origin: the file or the variable that holds it; empty: the provider wants no key.

    Args:
        variable: the environment variable that holds it; empty: none does.
        path: the file that holds it, which goes before the variable; None: none does.
        clock_s: seconds on a clock that never goes back.

    Raises:
        ConfigError: what is there is no key; the text does not show it.
    """

    def __init__(
        self, variable: str, path: Path | None, clock_s: Callable[[], float] = monotonic
    ) -> None:
        self._path = path
        self._clock_s = clock_s
        self._looked_s = clock_s()
        self.origin = str(path) if path is not None else variable
        if path is None:
            self._value = _checked(os.environ.get(variable, ""), variable) if variable else ""
            return
        self._files = WatchedFiles(path)
        self._seen = self._files.signature()
        self._value = _read(path)

    @property
    def value(self) -> str:
        """The key as it is now; empty: there is none."""
        if self._path is not None and self._clock_s() - self._looked_s >= _LOOK_EVERY_S:
            self._look(self._path)
        return self._value

    @property
    def is_lacking(self) -> bool:
        """Whether a key is wanted and is not there."""
        return bool(self.origin) and not self.value

    def _look(self, path: Path) -> None:
        self._looked_s = self._clock_s()
        signature = self._files.signature()
        if signature == self._seen:
            return
        self._seen = signature
        try:
            self._value = _read(path)
        except ConfigError as error:
            _log.error("kept the old key of a provider", reason=str(error))
        else:
            _log.info("took the new key of a provider", file=str(path))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
    except OSError as error:
        raise ConfigError(
            f"proxy.upstreams: {path} cannot be read: {error.strerror}; write the provider's key"
            " into it"
        ) from None
    return _checked(data.decode("utf-8", "replace"), str(path))


def _checked(text: str, where: str) -> str:
    key = text.strip()
    if key and not _KEY.fullmatch(key):
        raise ConfigError(
            f"proxy.upstreams: {where} holds no key: a key is one line of ASCII without spaces"
        )
    return key
