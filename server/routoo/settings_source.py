"""Where the settings of a service come from, to be read again by a reload."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from routoo.config import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from routoo.config import Settings


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """A file and what wins over it; see ``load_settings``."""

    path: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def read(self) -> Settings:
        """Reads them.

        Raises:
            ConfigError: as ``load_settings``.
        """
        return load_settings(self.path, self.overrides)
