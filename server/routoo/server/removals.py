"""Budgets, limits and authentication that a reload would take away."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final

from routoo.errors import ConfigError

if TYPE_CHECKING:
    from routoo.config.settings import Settings

# Sections, and the settings in them, that hold spending, quality or callers to something.
_PROMISES: Final = {
    "policy": ("max_mean_cost_usd", "guarantee", "unsure"),
    "limits": ("max_prompt_chars", "max_batch_prompts"),
    "security": ("tokens", "certificates"),
    "security.per_client": ("max_concurrent", "prompts_per_s"),
}


def removed(before: Settings, wanted: Settings) -> tuple[str, ...]:
    """Names what was set and is no longer mentioned.

    A file that is emptied, or read while it is half written, looks like one in which the rest was
    never wanted. What it says in so many words is no removal: ``budgets: []``, ``unsure: null``, or
    another value.

    Args:
        before: the settings in use.
        wanted: the settings as they are read now.
    """
    found = []
    if wanted.budgets or "budgets" not in wanted.model_fields_set:
        names = {budget.name for budget in wanted.budgets}
        found += [f"budget {budget.name}" for budget in before.budgets if budget.name not in names]
    for section, names_in_it in _PROMISES.items():
        of_section = attrgetter(section)
        have, want = of_section(before), of_section(wanted)
        found += [
            f"{section}.{name}"
            for name in names_in_it
            if name in have.model_fields_set - want.model_fields_set
            and getattr(have, name) is not None
        ]
    return tuple(found)


def check_removals(before: Settings, wanted: Settings) -> None:
    """Refuses settings that silently take away a budget, a limit or authentication.

    Raises:
        ConfigError: they do; the message names each and the way to do it on purpose.
    """
    found = removed(before, wanted)
    if found:
        raise ConfigError(
            f"this would remove {', '.join(found)}; if that is meant, run `routoo reload PID"
            " --confirm-removal`, or say so in the file (`budgets: []` removes all budgets)"
        )
