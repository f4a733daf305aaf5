"""Other settings that use the pool file which ``routoo init`` is about to replace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from pathlib import Path

_ENDINGS: Final = (".yaml", ".yml")
_MOST_BYTES: Final = 1024 * 1024


def sharing_settings(config: Path, pool: Path) -> list[Path]:
    """Returns the settings beside a pool that name it, but for one, in the order of their names.

    Args:
        config: the settings that are to be replaced together with the pool.
        pool: the pool file.
    """
    try:
        beside = sorted(pool.resolve().parent.iterdir())
    except OSError:
        return []
    others = [one for one in beside if one.suffix in _ENDINGS and one.name != pool.name]
    return [one for one in others if one != config.resolve() and _names(one, pool.resolve())]


def _names(settings_file: Path, pool: Path) -> bool:
    """Returns whether settings name a pool; a file that cannot be read names none."""
    try:
        if settings_file.stat().st_size > _MOST_BYTES:
            return False
        values: Any = yaml.safe_load(settings_file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return False
    named = values.get("pool") if isinstance(values, dict) else None
    return isinstance(named, str) and (settings_file.parent / named).resolve() == pool
