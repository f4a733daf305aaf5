"""Pages of the settings and of the pool file, from their JSON schemas."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reference.text import code, page, table
from routoo.cli.output.schema import schema_of
from routoo.config.sections.security import TlsSettings
from routoo.config.settings import Settings
from routoo.routing.pool import PoolFile
from routoo.server.reloader import taken

if TYPE_CHECKING:
    from collections.abc import Iterator

Schema = dict[str, Any]
_BOUNDS: Final = {
    "minimum": ">= {}",
    "exclusiveMinimum": "> {}",
    "maximum": "<= {}",
    "exclusiveMaximum": "< {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {}",
    "maxItems": "at most {}",
}
_SETTINGS_TEXT: Final = """
Made of the code that reads them. A file has the sections as keys: `policy: {name: best}`. A
variable of the environment overrides each: `ROUTOO_POLICY__NAME=best`. A key that is not a
setting is refused. `reload` says whether a [reload](../how-to/operations.md#reload) takes a
change, or a restart is needed.

The same as a JSON schema, for editors that complete and check: `routoo schema settings >
settings.schema.json`, and `# yaml-language-server: $schema=settings.schema.json` as the first
line of the file. [Configuration](configuration.md) explains what belongs together.
"""
_POOL_TEXT: Final = """
Made of the code that reads it. The same as a JSON schema, for editors that complete and check:
`routoo schema pool > pool.schema.json`, and `# yaml-language-server: $schema=pool.schema.json` as
the first line of the file. [The pool file](pool.md) explains the keys, with examples.
"""


def settings_page() -> str:
    """Returns the page of all settings."""
    schema = schema_of(Settings, "Settings")
    return page("All settings", _SETTINGS_TEXT, *_parts(schema, reloads=True))


def pool_page() -> str:
    """Returns the page of all keys of a pool file."""
    return page(
        "All keys of a pool file", _POOL_TEXT, *_parts(schema_of(PoolFile, "Pool"), reloads=False)
    )


def needs_restart(path: tuple[str, ...]) -> bool:
    """Tells whether a reload leaves a setting as it is, by changing it and reloading."""
    # With certificates of clients, as a reload takes their list only where they are asked for.
    pem = Path("any.pem")
    asked = TlsSettings(certificate=pem, key=pem, client_ca=pem)
    before = Settings()
    before = before.model_copy(
        update={"security": before.security.model_copy(update={"tls": asked})}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the value that differs from all others has no right type
        return bool(taken(before, _changed(before, path))[1])


def _changed(section: Any, path: tuple[str, ...]) -> Any:
    name, *rest = path
    inner = getattr(section, name, None)
    value = _changed(inner, tuple(rest)) if rest and hasattr(inner, "model_copy") else "changed"
    return section.model_copy(update={name: value})


def _parts(schema: Schema, *, reloads: bool) -> Iterator[str]:
    """Yields the head and the table of the file itself and of each section, at any depth."""
    heads = ["key", "value", "default", *(["reload"] if reloads else []), ""]
    for path, section in _sections(schema, schema, ()):
        rows = []
        for name, field in section.get("properties", {}).items():
            if _table_of(field, schema) is not None and _is_section(field):
                continue
            taken_by = []
            if reloads:
                plain = tuple(part.removesuffix("[]") for part in path)
                taken_by = ["restart" if needs_restart((*plain, name)) else "yes"]
            default = "required" if name in section.get("required", ()) else _default(field)
            words = field.get("description", "")
            rows.append([code(name), _kind(field, schema), default, *taken_by, words])
        if path:
            yield f"## {'.'.join(path)}"
            yield re.sub(r"``", "`", section.get("description", ""))
        if rows:
            yield table(heads, rows)


def _sections(
    field: Schema, schema: Schema, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Schema]]:
    yield path, field
    for name, inner in field.get("properties", {}).items():
        found = _table_of(inner, schema)
        if found is not None:
            suffix = "[]" if inner.get("type") == "array" or _of_array(inner) else ""
            suffix = "[]" if "additionalProperties" in inner else suffix
            yield from _sections(found, schema, (*path, name + suffix))


def _is_section(field: Schema) -> bool:
    return "$ref" in field


def _of_array(field: Schema) -> bool:
    return any(one.get("type") == "array" for one in field.get("anyOf", ()))


def _table_of(field: Schema, schema: Schema) -> Schema | None:
    """Returns the section that a key has as its value, or as those of its list or table."""
    if "$ref" in field:
        found: Schema = schema["$defs"][field["$ref"].rpartition("/")[2]]
        return found if "properties" in found else None
    inner = [field.get("items"), field.get("additionalProperties"), *field.get("anyOf", ())]
    for one in inner:
        if isinstance(one, dict) and (found_inside := _table_of(one, schema)) is not None:
            return found_inside
    return None


def _kind(field: Schema, schema: Schema) -> str:
    if "anyOf" in field:
        kinds = [_kind(one, schema) for one in field["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "$ref" in field:
        return _kind(schema["$defs"][field["$ref"].rpartition("/")[2]], schema)
    if "enum" in field:
        return ", ".join(code(value) for value in field["enum"])
    if "const" in field:
        return code(field["const"])
    name = {"object": "table", "array": "list", "boolean": "true, false"}.get(
        field.get("type", ""), str(field.get("format") or field.get("type", "any"))
    )
    if field.get("items"):
        name = f"list of {_kind(field['items'], schema)}"
    bounds = [text.format(field[key]) for key, text in _BOUNDS.items() if key in field]
    return ", ".join([name, *bounds])


def _default(field: Schema) -> str:
    if "default" not in field:
        return ""
    value = field["default"]
    return "unset" if value is None else code(json.dumps(value))
