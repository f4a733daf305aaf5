"""Requests that name their model instead of a route name.

They take the way past the router. Where ``processor.named_models`` says so, they are booked like
those that are routed to the same model, or refused. A request that cannot be priced is then
refused, too: one way past the budgets would be as good as any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routoo.api.extproc.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routoo.config.processor import ProcessorSettings
    from routoo.routing.pool import Pool

_LONGEST_NAME = 100


def booked_model(body: Mapping[str, Any], settings: ProcessorSettings, pool: Pool) -> str | Refusal:
    """Returns the pool's model that a request names, if it may be booked; else its refusal.

    A name counts as in a reply: upper and lower case are the same, and an alias will do.

    Args:
        body: the members of the request's body; its model is no route name.
        settings: ``named_models`` is not ``pass``.
        pool: the models.
    """
    routes = " or ".join(settings.route_names)
    model = body.get("model")
    if not isinstance(model, str) or not model:
        return _refused(400, f"the body names no model, or two of them; send {routes}")
    shown = model if len(model) <= _LONGEST_NAME else f"{model[:_LONGEST_NAME]}..."
    if settings.named_models == "refuse":
        return _refused(403, f"model {shown!r} may not be named here; send {routes}")
    column = pool.index.get(model)
    if column is None:
        column = pool.answering(model)
    if column is None:
        return _refused(
            400,
            f"model {shown!r} is not one of the pool, so that nobody could say what it costs; name"
            f" one of {', '.join(pool.names)}, or send {routes}",
        )
    return pool.names[column]


def _refused(status: int, message: str) -> Refusal:
    return Refusal(status, "named_model", message, "model")
