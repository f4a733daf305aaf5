"""The JSON schema of a file that the service reads, with the description of each key."""

from __future__ import annotations

import ast
import inspect
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(model: type[BaseModel], title: str) -> dict[str, Any]:
    """Returns the JSON schema of a file, for editors that complete and check while one types.

    The descriptions are the texts below the fields in the source; pydantic would read the sources
    of all models at each start of a service to know them.

    Args:
        model: what the file is read into.
        title: the name of the kind of file.
    """
    schema = model.model_json_schema()
    described = {one.__name__: _descriptions(one) for one in _models(model)}
    for name, part in ((model.__name__, schema), *schema.get("$defs", {}).items()):
        for field, values in part.get("properties", {}).items():
            values.pop("title", None)
            if field in (texts := described.get(name, {})):
                values["description"] = texts[field]
    return {"$schema": _DIALECT, **schema, "title": title}


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yields a model and all that its fields have as types, at any depth."""
    seen: set[type[BaseModel]] = set()
    waiting: list[Any] = [model]
    while waiting:
        one = waiting.pop()
        waiting.extend(getattr(one, "__args__", ()))
        if isinstance(one, type) and issubclass(one, BaseModel) and one not in seen:
            seen.add(one)
            waiting.extend(field.annotation for field in one.model_fields.values())
            yield one


def _descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Returns the text below each field in the source of a model and of those it is made from."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if not (issubclass(one, BaseModel) and one is not BaseModel):
            continue
        try:
            (body,) = ast.parse(inspect.cleandoc("\n" + inspect.getsource(one))).body
        except (OSError, SyntaxError, ValueError):  # no source is installed
            continue
        assert isinstance(body, ast.ClassDef)  # noqa: S101 - the source of a class
        field = ""
        for node in body.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                field = node.target.id
            elif field and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                found[field] = " ".join(str(node.value.value).replace("``", "`").split())
            else:
                field = ""
    return found
