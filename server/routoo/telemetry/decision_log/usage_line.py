"""The usage of an answer as a value in a line of the log, and back."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from routoo.tariffs.tariff import check_usage
from routoo.tariffs.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

# The id of the reply is no amount, and names what a provider may have stored.
_DEFAULTS = {one.name: one.default for one in fields(Usage) if one.name != "reply_id"}
_TEXTS = ("service_tier", "model")


def usage_line(usage: Usage) -> dict[str, Any]:
    """Returns the fields of a usage that are not their defaults."""
    values = {name: getattr(usage, name) for name in _DEFAULTS}
    return {name: value for name, value in values.items() if value != _DEFAULTS[name]}


def usage_of_line(values: Mapping[str, Any]) -> Usage:
    """Reads what ``usage_line`` wrote.

    Raises:
        TypeError, ValueError: it is no usage.
        InvalidRequestError: an amount that no answer can have.
    """
    told: dict[str, Any] = {}
    for name, value in values.items():
        if name in _TEXTS:
            told[name] = str(value)
        else:
            told[name] = float(value) if name == "told_cost_usd" else int(value)
    usage = Usage(**told)
    check_usage(usage)
    return usage
