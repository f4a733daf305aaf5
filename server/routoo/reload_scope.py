"""Which settings a reload takes, and which take a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from routoo.config.settings import Settings

RELOADED = frozenset(
    {
        *("pool", "policy", "budgets", "outcomes", "batching", "limits", "shutdown_grace_s"),
        *("predictor", "processor"),
    }
)
"""Sections that a reload takes. Whatever is not here takes a restart: ports, files and threads that
are opened once."""
# Within these sections, only so much is taken, or all but so much.
_PREDICTOR_TAKEN = frozenset({"artifact"})
_LIMITS_KEPT = frozenset({"max_message_bytes"})
_PROCESSOR_KEPT = frozenset({"enabled"})


def taken(before: Settings, wanted: Settings) -> tuple[Settings, tuple[str, ...]]:
    """What a reload makes of settings.

    Returns:
        The settings to serve with, and the names of the changed ones that take a restart.
    """
    changes: dict[str, Any] = {
        name: getattr(wanted, name) for name in RELOADED - {"predictor", "limits", "processor"}
    }
    changes["predictor"] = before.predictor.model_copy(
        update={name: getattr(wanted.predictor, name) for name in _PREDICTOR_TAKEN}
    )
    changes["limits"] = wanted.limits.model_copy(
        update={name: getattr(before.limits, name) for name in _LIMITS_KEPT}
    )
    changes["processor"] = wanted.processor.model_copy(
        update={name: getattr(before.processor, name) for name in _PROCESSOR_KEPT}
    )
    settings = before.model_copy(update=changes)
    return settings, tuple(_differing(settings.model_dump(), wanted.model_dump()))


def _differing(have: dict[str, Any], want: dict[str, Any], within: str = "") -> list[str]:
    found = []
    for name in sorted(have):
        if have[name] == want[name]:
            continue
        if isinstance(have[name], dict) and isinstance(want[name], dict):
            found += _differing(have[name], want[name], f"{within}{name}.")
        else:
            found.append(within + name)
    return found
