"""The lists of models, in the forms of OpenAI's and Anthropic's APIs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

OWNER: Final = "routoo"
"""The owner of names without a maker in OpenAI's form: it tells a Routoo from other servers."""
# Neither the pool nor a route name has a day on which it was made, and both forms ask for one.
_CREATED: Final = datetime(2024, 1, 1, tzinfo=UTC)


def listed(route_names: Sequence[str], models: Sequence[str], *, anthropic: bool) -> bytes:
    """Returns the list as JSON: the names that are routed, then those that may be named.

    Args:
        route_names: names of no model, for which one is chosen.
        models: names of models.
        anthropic: whether the list has the form of Anthropic's API; else OpenAI's.
    """
    entries = [_entry(name, anthropic=anthropic) for name in (*route_names, *models)]
    if not anthropic:
        return orjson.dumps({"object": "list", "data": entries})
    return orjson.dumps(
        {
            "data": entries,
            "has_more": False,
            "first_id": entries[0]["id"],
            "last_id": entries[-1]["id"],
        }
    )


def one_of(
    name: str, route_names: Sequence[str], models: Sequence[str], *, anthropic: bool
) -> bytes | None:
    """Returns the entry of one model as JSON; None: it is not listed."""
    if name not in route_names and name not in models:
        return None
    return orjson.dumps(_entry(name, anthropic=anthropic))


def _entry(name: str, *, anthropic: bool) -> dict[str, Any]:
    if anthropic:
        return {
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": _CREATED.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    maker, slash, _ = name.partition("/")
    return {
        "id": name,
        "object": "model",
        "created": int(_CREATED.timestamp()),
        "owned_by": maker if slash else OWNER,
    }
