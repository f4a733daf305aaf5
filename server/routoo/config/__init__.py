"""The settings of a service: frozen, typed, and read from one YAML file and the environment.

``load_settings`` reads and checks them; it returns ``Settings``, with one file per section in
``sections``. Both are imported when they are first used, because importing pydantic takes longer
than many commands do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from routoo.config.loading import load_settings
    from routoo.config.settings import Settings

__all__ = ["Settings", "load_settings"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from routoo.config import loading  # noqa: PLC0415 - imports pydantic

        return getattr(loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
