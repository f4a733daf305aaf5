"""Requests that name their model instead of a route name.

They take the way past the router. Where ``processor.named_models`` says so, they are booked like
those that are routed to the same model, or refused. A request that cannot be priced is then
refused, too: one way past the budgets would be as good as any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from routoo.api.llm.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routoo.api.llm.bodies.request_body import RequestBody
    from routoo.config.sections.processor import ProcessorSettings
    from routoo.routing.pool import Pool

_LONGEST_NAME = 100


class _EveryName:
    """Holds every name, so that no request passes because of its model."""

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(("",))  # which stands in every body

    def __len__(self) -> int:
        return 1


EVERY_NAME: Final = _EveryName()
"""In the place of route names, where no request passes as it came."""


def booked_model(
    body: RequestBody | None, settings: ProcessorSettings, pool: Pool
) -> str | Refusal:
    """Returns the pool's model that a request names, if it is booked; else its refusal.

    Empty: it names a route. A name counts as in a reply: upper and lower case are the same, and an
    alias will do.

    Args:
        body: the request's body; None: it is no object with a model.
        settings: ``named_models`` is not ``pass``.
        pool: the models.
    """
    model = None if body is None else body.values.get("model")
    if isinstance(model, str) and model in settings.route_names:
        return ""
    routes = " or ".join(settings.route_names)
    if body is None or not isinstance(model, str) or not model or not body.has_once("model"):
        return _refused(400, f"the body names no model, or several; send {routes}")
    shown = model if len(model) <= _LONGEST_NAME else f"{model[:_LONGEST_NAME]}..."
    if settings.named_models == "refuse":
        return _refused(403, f"model {shown!r} may not be named here; send {routes}")
    # With arms, the names of columns are no models that an upstream knows.
    column = pool.index.get(model) if pool.arms is None else None
    if column is None:
        column = pool.answering(model)
    if column is None:
        names = ", ".join(dict.fromkeys(pool.model_of(each) for each in pool.index.values()))
        return _refused(
            400,
            f"model {shown!r} is not one of the pool, so that nobody could say what it costs; name"
            f" one of {names}, or send {routes}",
        )
    return pool.model_of(column)


def _refused(status: int, message: str) -> Refusal:
    return Refusal(status, "named_model", message, "model")
