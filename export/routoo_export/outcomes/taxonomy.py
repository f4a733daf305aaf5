"""The taxonomy of tasks: groups, and the kinds of task within them, with descriptions."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import yaml

from routoo_export.errors import OutcomeError

FILE = "tasks.yaml"
_KEYS = {"name", "description", "within"}


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """Kinds of task in the order of the file.

    Attributes:
        kinds: Names of the kinds: of what nothing stands within.
        groups: The outermost group of each kind.
        descriptions: What each kind is, by its name; groups too.
    """

    kinds: tuple[str, ...]
    groups: tuple[str, ...]
    descriptions: dict[str, str]


@cache
def shipped_taxonomy() -> Taxonomy:
    """The taxonomy that comes with the package."""
    with as_file(files(__package__) / FILE) as path:
        return read_taxonomy(path)


def read_taxonomy(path: Path) -> Taxonomy:
    """Read a taxonomy: a YAML list of ``{name, description, within}``, the last one optional.

    Raises:
        OutcomeError: the file is unreadable, two entries have one name, an entry stands within one
            that there is not, or within itself.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise OutcomeError(f"{path}: cannot be read: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise OutcomeError(f"{path}: has to be a list of tasks, each with name and description")
    within, descriptions = _entries(path, entries)
    for name, parent in within.items():
        if parent is not None and parent not in within:
            raise OutcomeError(f"{path}: {name} stands within {parent!r}, which there is not")
    parents = set(within.values())
    kinds = tuple(name for name in within if name not in parents)
    groups = tuple(_outermost(path, name, within) for name in within if name not in parents)
    if not kinds:
        raise OutcomeError(f"{path}: every task stands within another: a circle")
    for name in within:
        _outermost(path, name, within)
    return Taxonomy(kinds, groups, descriptions)


def _entries(
    path: Path, entries: list[dict[str, Any]]
) -> tuple[dict[str, str | None], dict[str, str]]:
    """What each task stands within, and its description."""
    within: dict[str, str | None] = {}
    descriptions: dict[str, str] = {}
    for number, entry in enumerate(entries, 1):
        name = entry.get("name")
        if not isinstance(name, str) or not name.isidentifier() or set(entry) - _KEYS:
            raise OutcomeError(
                f"{path}: entry {number}: needs a name of letters, digits and underscores, a"
                " description, and no key but within"
            )
        if not isinstance(entry.get("description"), str):
            raise OutcomeError(f"{path}: {name} has no description")
        if name in within:
            raise OutcomeError(f"{path}: {name} stands twice; names have to be unique")
        within[name], descriptions[name] = entry.get("within"), entry["description"]
    return within, descriptions


def _outermost(path: Path, name: str, within: dict[str, str | None]) -> str:
    seen = [name]
    while (parent := within[seen[-1]]) is not None:
        if parent in seen:
            raise OutcomeError(f"{path}: {' within '.join([*seen, parent])}: a circle")
        seen.append(parent)
    return seen[-1]
