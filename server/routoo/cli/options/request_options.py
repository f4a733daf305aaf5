"""Options of a command for the fields that a request may set, made from their one table."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from routoo.request_fields import FIELDS, Kind, RequestField

_TYPES = {
    Kind.NUMBER: float | None,
    Kind.COUNT: int | None,
    Kind.NAMES: list[str] | None,
    Kind.TEXT: str | None,
}


def with_request_fields(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command an option for each field, which it gets by the field's name.

    The command takes them as ``**fields``; an option that is not given is None.
    """
    signature = inspect.signature(command)
    own = list(signature.parameters.values())
    assert own[-1].kind is inspect.Parameter.VAR_KEYWORD  # noqa: S101 - this is its place
    options = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(field)
        )
        for name, field in FIELDS.items()
    ]
    first = next(at for at, one in enumerate(own) if one.kind is inspect.Parameter.KEYWORD_ONLY)
    command.__signature__ = signature.replace(  # type: ignore[attr-defined] # what typer reads
        parameters=[*own[:first], *options, *own[first:-1]]
    )
    command.__annotations__ |= {one.name: one.annotation for one in options}
    return command


def _option(field: RequestField) -> Any:
    bounds: dict[str, Any] = {}
    if field.kind is Kind.COUNT:
        bounds = {"min": field.least, "max": field.most}
    option = typer.Option(*field.flag.split(), help=field.help, metavar=field.metavar, **bounds)
    return Annotated[_TYPES[field.kind], option]
