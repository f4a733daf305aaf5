"""Strict reading of YAML mappings, with errors of one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from routoo.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import ValidationError


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """Reads a YAML file that holds one mapping; an empty file is an empty mapping.

    Raises:
        ConfigError: unreadable, not YAML, a key twice, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    return parse_yaml_mapping(text, str(path))


def parse_yaml_mapping(text: str, source: str) -> dict[str, Any]:
    """Reads YAML that holds one mapping; empty text is an empty mapping.

    Args:
        text: the YAML.
        source: the name of its file, for the messages.

    Raises:
        ConfigError: not YAML, a key twice, or not a mapping.
    """
    try:
        values = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise ConfigError(f"{source}:{where} malformed YAML: {problem}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        kind = type(values).__name__
        raise ConfigError(f"{source}: has to be a mapping of settings, is a {kind}")
    return values


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML silently takes the last, or is no text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} is not text", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} stands twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def describe_validation_error(source: str, error: ValidationError) -> str:
    """Returns one line about the first value that pydantic refused: place, reason and value."""
    first = error.errors()[0]
    location = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown key; remove it or correct its spelling"
    given = first.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float) else ""
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{source}: {location}: {message}{shown}{more}"
