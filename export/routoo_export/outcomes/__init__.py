"""Outcomes: what each model really scored on each prompt, read, checked, merged, split, written.

``adapters/`` turns public formats into the project's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from routoo_export.outcomes.outcomes import Outcomes, merge_outcomes, read_outcomes

__all__ = ["Outcomes", "merge_outcomes", "read_outcomes"]


def __getattr__(name: str) -> Any:
    # Not at once: the modules that these come from are of this package, too.
    if name in __all__:
        from routoo_export.outcomes import outcomes  # noqa: PLC0415

        return getattr(outcomes, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
