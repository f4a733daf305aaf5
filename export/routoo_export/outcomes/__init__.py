"""Outcomes: the score of each model on each prompt; reading, checking, merging, splitting, writing.

``adapters/`` turns public formats into the project's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from routoo_export.outcomes.outcomes import Outcomes, merge_outcomes, read_outcomes

__all__ = ["Outcomes", "merge_outcomes", "read_outcomes"]


def __getattr__(name: str) -> Any:
    # Imported on first use, because the modules that define these import this package.
    if name in __all__:
        from routoo_export.outcomes import outcomes  # noqa: PLC0415

        return getattr(outcomes, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
