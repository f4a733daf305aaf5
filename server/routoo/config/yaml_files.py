"""Strict reading of YAML mappings, with errors of one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from routoo.config.files import read_file
from routoo.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import ValidationError

_MERGE = "tag:yaml.org,2002:merge"


def read_yaml_mapping(path: Path, *, finished: bool = False) -> dict[str, Any]:
    """Reads a YAML file that holds one mapping; an empty file is an empty mapping.

    Args:
        path: the file.
        finished: refuses a file that may be half written: its last line has no end, or its last key
            no value. A cut-off ``usd: 15`` would otherwise be a budget of $1, and a cut-off
            ``unsure:`` the wish to have none. A single pair of braces needs no line end.

    Raises:
        ConfigError: unreadable, not YAML, a key twice, not a mapping, or perhaps half written.
    """
    try:
        text = read_file(path).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    return parse_yaml_mapping(text, str(path), finished=finished)


def parse_yaml_mapping(text: str, source: str, *, finished: bool = False) -> dict[str, Any]:
    """Reads YAML that holds one mapping; empty text is an empty mapping.

    Args:
        text: the YAML.
        source: the name of its file, for the messages.
        finished: refuses a text that may be half written, as ``read_yaml_mapping`` does.

    Raises:
        ConfigError: not YAML, a key twice, not a mapping, or perhaps half written.
    """
    try:
        loader = _UniqueKeyLoader(text)
        node = loader.get_single_node()
        if finished:
            _refuse_half_written(text, node, source)
        values = None if node is None else loader.construct_document(node)
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


def _refuse_half_written(text: str, root: yaml.Node | None, source: str) -> None:
    if root is None:
        return
    if not text.endswith("\n") and not (isinstance(root, yaml.MappingNode) and root.flow_style):
        raise ConfigError(
            f"{source}: the last line has no line end, as if the file were half written; end it"
        )
    last, passed = root, set()
    # An alias may lead back to a collection that it stands in.
    while isinstance(last, yaml.CollectionNode) and last.value and last not in passed:
        passed.add(last)
        child = last.value[-1]
        last = child[1] if isinstance(child, tuple) else child
    # A null that is meant is spelt ``null`` or ``~``.
    if isinstance(last, yaml.ScalarNode) and not last.value and last.style is None:
        raise ConfigError(
            f"{source}: line {last.start_mark.line + 1}: the last key has no value, as if the file"
            " were half written; give it one, or null"
        )


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML silently takes the last, or is no text.

    A mapping may take over the keys of others (``<<: *other``, YAML 1.1); its own come before
    theirs, and are no second ones.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._checked: set[yaml.MappingNode] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        # The keys are looked at before those of other mappings are put among them.
        if node not in self._checked:
            self._checked.add(node)
            self._check_keys(node)
        super().flatten_mapping(node)
        # Each key once, or mappings that take each other over many times would grow without end.
        node.value = list({key.value: (key, value) for key, value in node.value}.values())

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen = set()
        for key_node, _ in node.value:
            takes_over = key_node.tag == _MERGE
            key = key_node.value if takes_over else self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} is not text", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} stands twice", problem_mark=key_node.start_mark
                )
            seen.add(key)


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
