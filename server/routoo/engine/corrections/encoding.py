"""A table of what was learned as bytes with a checksum, for the file and for Redis."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

Read = TypeVar("Read")
_FORMAT = 2


class SharingError(Exception):
    """Redis did not take or give a table; the message tells why."""


class Plain(Protocol):
    """A table that can be written."""

    def plain(self) -> Any:
        """Returns it as values of JSON."""


def encoded(table: Plain) -> bytes:
    """Returns a table as one JSON object with a checksum."""
    cells = table.plain()
    return orjson.dumps({"format": _FORMAT, "sha256": _digest(cells), "cells": cells})


def decoded(content: bytes, read: Callable[[Any], Read]) -> Read:
    """Reads what ``encoded`` made.

    Args:
        content: the bytes.
        read: makes the table of the values that ``plain`` returned; a ValueError says that they
            are something else.

    Raises:
        ValueError: the content is something else, or damaged.
    """
    try:
        values = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise ValueError("it is no JSON") from None
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise ValueError(f"it is not of format {_FORMAT}")
    if values.get("sha256") != _digest(values.get("cells")):
        raise ValueError("its checksum is another one")
    return read(values["cells"])


def _digest(cells: Any) -> str:
    return hashlib.sha256(orjson.dumps(cells)).hexdigest()
