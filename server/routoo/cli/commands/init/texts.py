"""The two files that ``routoo init`` writes, as texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

from routoo.cli.commands.init.answers import OPENROUTER
from routoo.config.sections.proxy import EVERY_MODEL
from routoo.selector.lp.presets import PRESETS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routoo.cli.commands.init.answers import Answers

_SETTINGS: Final = """\
# Settings of Routoo, written by `routoo init`. docs/reference/configuration.md tells all.
# Check a change: routoo check-config THIS_FILE. Serve: routoo serve --config THIS_FILE.
"""
_POOL: Final = """\
# The models to choose among, written by `routoo init`. Prices are US dollars per million tokens.
# ALL TIMES ARE ASSUMED: measure yours. A price of 0 stands for hardware of one's own; set what it
# costs you, or such a model always looks cheapest. `routoo pool` edits this file.
"""


def settings_text(
    answers: Answers, pool_name: str, upstream_names: Mapping[str, Mapping[str, str]]
) -> str:
    """Returns the settings.

    Args:
        answers: of the user.
        pool_name: the pool file, relative to the settings.
        upstream_names: by the name of the provider, its own names of models by the pool's.
    """
    upstreams: dict[str, Any] = {}
    for one in answers.providers:
        upstreams[EVERY_MODEL if one.name == OPENROUTER else one.name] = {
            **({"base_url": one.base_url} if one.base_url else {}),
            **({"api_key_env": one.key_env} if one.key_env else {}),
            **({"upstream_models": dict(names)} if (names := upstream_names.get(one.name)) else {}),
        }
    values: dict[str, Any] = {
        "pool": pool_name,
        "policy": {
            "name": answers.preset,
            "offered": [one for one in PRESETS if one != answers.preset],
        },
        "processor": {"route_names": ["auto", *(f"auto:{one}" for one in PRESETS)]},
        # Only what is listed is asked, whatever other keys stand in the environment.
        "proxy": {"known_providers": False, "upstreams": upstreams},
    }
    if answers.budget_usd is not None:
        budget = {"name": "all", "usd": answers.budget_usd, "per": answers.period}
        values["budgets"] = [{**budget, "on_exhausted": "refuse"}]
    return _SETTINGS + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def pool_text(models: Sequence[Mapping[str, Any]]) -> str:
    """Returns the pool file of some entries."""
    dumped = yaml.safe_dump(
        {"models": [_plain(one) for one in models]}, sort_keys=False, allow_unicode=True
    )
    return _POOL + dumped


def _plain(value: Any) -> Any:
    """Returns a value with lists for tuples, which YAML has not."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value
