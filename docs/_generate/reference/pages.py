"""All generated pages."""

from __future__ import annotations

from reference.api import api_page
from reference.commands import commands_page
from reference.live import ask, doors_page, log_page, metrics_page
from reference.refusals import errors_page
from reference.schemas import pool_page, settings_page


def pages() -> dict[str, str]:
    """Returns the text of each page, by its name in the folder of the reference."""
    told = ask()
    return {
        "commands": commands_page(),
        "settings": settings_page(),
        "pool-keys": pool_page(),
        "api": api_page(),
        "http-doors": doors_page(told),
        "metrics": metrics_page(told),
        "errors": errors_page(),
        "decision-log": log_page(told),
    }
