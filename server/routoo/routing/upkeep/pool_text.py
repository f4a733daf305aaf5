"""A pool file as text that is edited in place: comments, order and spelling of the rest stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from routoo.config.files import read_file
from routoo.config.yaml_files import describe_validation_error
from routoo.errors import PoolError
from routoo.routing.arms.model import ModelSpec
from routoo.routing.pool import Pool, parse_pool

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FIELDS = tuple(ModelSpec.model_fields)


@dataclass(frozen=True, slots=True)
class _Edit:
    """A new text for the characters from ``start`` to ``end``."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class PoolText:
    """The text of a pool file, and what it says.

    An edit changes the lines that it is about and no other, and gives a new text. The new text is
    read again: unless it says exactly the pool that the edit asks for, the edit is refused.

    Attributes:
        source: the file's name, for messages.
        text: the YAML.
        pool: the pool that the text says.
    """

    source: str
    text: str
    pool: Pool

    @classmethod
    def of(cls, source: str, text: str) -> PoolText:
        """Reads a text.

        Raises:
            PoolError: it is no pool.
        """
        return cls(source, text, parse_pool(text, source))

    @classmethod
    def read(cls, path: Path) -> PoolText:
        """Reads a file.

        Raises:
            PoolError: it cannot be read, or is no pool.
        """
        try:
            # Not as text: that would turn the ends of lines of other systems into this one's.
            text = read_file(path).decode("utf-8")
        except OSError as error:
            raise PoolError(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise PoolError(f"{path}: cannot be read: not UTF-8") from None
        return cls.of(str(path), text)

    def with_fields(self, changes: Mapping[str, Mapping[str, Any]]) -> PoolText:
        """Returns the text with some fields of some models set.

        Args:
            changes: by the model's name, values by the field's name. The pool has the models.

        Raises:
            PoolError: a value is out of range, or the text cannot be edited.
        """
        models = list(self.pool.models)
        items = self._models().value
        edits: list[_Edit] = []
        for name, fields in changes.items():
            position = self._position(name)
            models[position] = self._checked({**models[position].model_dump(), **fields})
            ordered = sorted(fields, key=_FIELDS.index)
            edits += [self._edit(items[position], field, fields[field]) for field in ordered]
        text = self.text
        # From the end, so that the places of earlier edits stay; of two at one place, the first
        # comes out first.
        for _, edit in sorted(enumerate(edits), key=lambda one: (one[1].start, one[0]))[::-1]:
            text = text[: edit.start] + edit.text + text[edit.end :]
        return self._saying(tuple(models), text, ", ".join(changes))

    def with_model(self, fields: Mapping[str, Any]) -> PoolText:
        """Returns the text with one more model at its end.

        Args:
            fields: the model's values, by the fields' names; those that are not set are left out.

        Raises:
            PoolError: a value is missing or out of range, the name stands already, or the text
                cannot be edited.
        """
        spec = self._checked(fields)
        if self.pool.has(spec.name):
            raise PoolError(f"{self.source}: model {spec.name!r} stands already; remove it first")
        models = self._models()
        last = models.value[-1]
        place = self._end_of_item(last)
        dash = " " * self._column(models.start_mark)
        apart = len(models.value) == 1 or self._blank_line_before(last)
        given = [name for name in _FIELDS if name in fields]
        lines = ([""] if apart else []) + [
            f"{dash}{'- ' if not index else '  '}{name}: {_yaml(fields[name])}"
            for index, name in enumerate(given)
        ]
        end = self._line_end
        text = self.text[:place] + "".join(end + line for line in lines) + self.text[place:]
        return self._saying((*self.pool.models, spec), text, spec.name)

    def without(self, name: str) -> PoolText:
        """Returns the text without a model, and without the comments in and directly above it.

        Raises:
            PoolError: the pool has no such model, it is the last one, or the text cannot be edited.
        """
        position = self._position(name)
        if len(self.pool.models) == 1:
            raise PoolError(f"{self.source}: {name!r} is the last model; a pool needs one")
        item = self._models().value[position]
        start = self._start_of_item(item)
        end = self._after_line(self._end_of_item(item))
        while self._line_at(end).strip() == "" and end < len(self.text):
            end = self._after_line(end)
        if end == len(self.text):  # the last item: the blank lines above it go, too
            start = len(self.text[:start].rstrip()) + len(self._line_end)
        rest = tuple(model for model in self.pool.models if model.name != name)
        return self._saying(rest, self.text[:start] + self.text[end:], name)

    def _position(self, name: str) -> int:
        """Returns the position of a model in the file.

        Raises:
            PoolError: the file has no such model.
        """
        names = [model.name for model in self.pool.models]
        if name not in names:
            raise PoolError(
                f"{self.source}: unknown model {name!r}; the pool has {', '.join(names)}"
            )
        return names.index(name)

    def _edit(self, item: yaml.MappingNode, field: str, value: Any) -> _Edit:
        """Returns the edit that sets one field of one model."""
        nodes = {key.value: (key, old) for key, old in item.value}
        if field not in nodes:
            return self._further_key(item, field, value)
        key, old = nodes[field]
        if field == "capabilities" and isinstance(old, yaml.SequenceNode) and not old.flow_style:
            # A list with a line per part: new parts are added to it.
            dash = " " * self._column(old.start_mark)
            more = value[len(old.value) :]
            place = self._end_of_line(self._last_of(old))
            return _Edit(
                place, place, "".join(f"{self._line_end}{dash}- {_yaml(one)}" for one in more)
            )
        if isinstance(old, yaml.CollectionNode) and not old.flow_style:
            # A block with a line per part: it is replaced by one line.
            return _Edit(int(key.end_mark.index), self._last_of(old), f": {_yaml(value)}")
        if old.start_mark.index <= key.end_mark.index:  # an alias, whose node stands elsewhere
            raise self._by_hand(field)
        return _Edit(int(old.start_mark.index), self._last_of(old), _yaml(value))

    def _further_key(self, item: yaml.MappingNode, field: str, value: Any) -> _Edit:
        """Returns the edit that adds a key to a model, after the one that it follows."""
        line = f"{field}: {_yaml(value)}"
        if item.flow_style:
            place = len(self.text[: item.end_mark.index - 1].rstrip(" \r\n,"))
            return _Edit(place, place, f", {line}")
        before = _FIELDS[: _FIELDS.index(field)]
        key, old = max(
            ((key, old) for key, old in item.value if key.value in before),
            key=lambda pair: before.index(pair[0].value),
        )
        place = self._end_of_line(max(int(key.end_mark.index), self._last_of(old)))
        indent = " " * self._column(item.value[0][0].start_mark)
        return _Edit(place, place, f"{self._line_end}{indent}{line}")

    def _saying(self, models: tuple[ModelSpec, ...], text: str, about: str) -> PoolText:
        """Returns the text if it says these models.

        Raises:
            PoolError: it says something else.
        """
        try:
            pool = parse_pool(text, self.source)
        except PoolError:
            raise self._by_hand(about) from None
        if pool.models != models:
            raise self._by_hand(about)
        return PoolText(self.source, text, pool)

    def _checked(self, fields: Mapping[str, Any]) -> ModelSpec:
        try:
            return ModelSpec.model_validate(dict(fields))
        except ValidationError as error:
            raise PoolError(describe_validation_error(self.source, error)) from None

    def _by_hand(self, about: str) -> PoolError:
        return PoolError(
            f"{self.source}: is written in a way that cannot be edited safely at {about}; write"
            " each model as a block (`- name: ...`, a line per key), or edit the file by hand"
        )

    def _models(self) -> yaml.SequenceNode:
        root: Any = yaml.compose(self.text, Loader=yaml.SafeLoader)
        models: yaml.SequenceNode = next(
            value for key, value in root.value if key.value == "models"
        )
        if models.flow_style:
            raise self._by_hand("models")
        return models

    @property
    def _line_end(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"

    @staticmethod
    def _column(mark: yaml.Mark) -> int:
        return int(mark.column)

    def _last_of(self, node: yaml.Node) -> int:
        """Returns the index after the last character of a node."""
        if not isinstance(node, yaml.CollectionNode) or node.flow_style:
            # A text of several lines ends where the next token begins.
            end = int(node.end_mark.index)
            return len(self.text[:end].rstrip()) if node.end_mark.column == 0 else end
        parts = [part for one in node.value for part in (one if isinstance(one, tuple) else (one,))]
        return max(self._last_of(part) for part in parts)

    def _start_of_item(self, item: yaml.Node) -> int:
        """Returns the index of an item's first line; comments directly above it belong to it."""
        start = self.text.rfind("\n", 0, item.start_mark.index) + 1
        while start:
            above = self.text.rfind("\n", 0, start - 1) + 1
            if not self.text[above:start].lstrip().startswith("#"):
                break
            start = above
        return start

    def _end_of_item(self, item: yaml.Node) -> int:
        """Returns the index of the end of an item's last line.

        Comments below it that stand deeper than its dash belong to it.
        """
        end = self._end_of_line(self._last_of(item))
        while True:
            below = self._line_at(self._after_line(end))
            indent = len(below) - len(below.lstrip())
            if not below.lstrip().startswith("#") or indent < self._column(item.start_mark):
                return end
            end = self._end_of_line(self._after_line(end))

    def _blank_line_before(self, item: yaml.Node) -> bool:
        start = self._start_of_item(item)
        above = self.text.rfind("\n", 0, max(start - 1, 0)) + 1
        return self.text[above:start].strip() == ""

    def _end_of_line(self, index: int) -> int:
        found = self.text.find("\n", index)
        if found < 0:
            return len(self.text)
        return found - 1 if self.text[found - 1] == "\r" else found

    def _after_line(self, index: int) -> int:
        found = self.text.find("\n", index)
        return len(self.text) if found < 0 else found + 1

    def _line_at(self, start: int) -> str:
        return self.text[start : self._end_of_line(start)]


def _yaml(value: Any) -> str:
    """Returns a value as YAML on one line, such that it may stand in braces, too."""
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    written = yaml.safe_dump(
        [value], default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False
    )
    return str(written).strip()[1:-1]
