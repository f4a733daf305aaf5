"""A table of corrections as bytes with a checksum, for the file and for Redis."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from routoo.routing.corrections.table import Table

_FORMAT = 2


class SharingError(Exception):
    """Redis did not take or give the corrections; the message tells why."""


def encoded(table: Table) -> bytes:
    """Returns a table as one JSON object with a checksum."""
    cells = table.plain()
    return orjson.dumps({"format": _FORMAT, "sha256": _digest(cells), "cells": cells})


def decoded(content: bytes) -> Table:
    """Reads what ``encoded`` made.

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
    return Table.read(values["cells"])


def _digest(cells: Any) -> str:
    return hashlib.sha256(orjson.dumps(cells)).hexdigest()
