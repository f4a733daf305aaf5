"""Page of the messages and calls, from the definitions in ``proto/`` and their comments."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from reference.text import code, page, table

PROTO: Final = Path(__file__).resolve().parents[3] / "proto" / "routoo" / "v1"
_OPENS: Final = re.compile(r"(message|enum|service|oneof) (\w+) \{")
_FIELD: Final = re.compile(r"((?:optional |repeated )?[\w.<>, ]+?) (\w+) = (\d+)(?: \[.*\])?;")
_VALUE: Final = re.compile(r"(\w+) = (\d+);")
_CALL: Final = re.compile(r"rpc (\w+)\(([\w ]+)\) returns \(([\w ]+)\);")


@dataclass(slots=True)
class Block:
    """A message, an enumeration or a service.

    Attributes:
        kind: its keyword.
        name: its name.
        words: the comment above it.
        rows: of its table: fields, values or calls.
    """

    kind: str
    name: str
    words: str
    rows: list[list[str]] = field(default_factory=list)


def blocks_of(text: str) -> list[Block]:
    """Reads a definition, as far as the definitions of this repository go."""
    found: list[Block] = []
    comment: list[str] = []
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("//"):
            words = line.removeprefix("//").strip()
            comment += [] if words.startswith("buf:lint") else [words]
            continue
        if opens := _OPENS.match(line):
            if opens[1] == "oneof":
                group = f"One of `{opens[2]}`. "
            else:
                found.append(Block(opens[1], opens[2], " ".join(comment)))
        elif call := _CALL.match(line):
            found[-1].rows.append([code(call[1]), code(call[2]), code(call[3]), " ".join(comment)])
        elif line == "}":
            group = ""
        elif row := _FIELD.match(line):
            found[-1].rows.append([row[3], code(row[2]), code(row[1]), group + " ".join(comment)])
        elif row := _VALUE.match(line):
            found[-1].rows.append([row[2], code(row[1]), " ".join(comment)])
        comment = []
    return found


_HEADS: Final = {
    "message": ["number", "field", "type", ""],
    "enum": ["number", "value", ""],
    "service": ["call", "request", "reply", ""],
}


def api_page() -> str:
    """Returns the page of the package ``routoo.v1``."""
    files = {
        path.name: blocks_of(path.read_text(encoding="utf-8")) for path in PROTO.glob("*.proto")
    }
    parts = [
        (
            "The package `routoo.v1`, from [its definitions](../../proto/routoo/v1/router.proto)."
            " Over [HTTP](http.md) the same messages travel as JSON. A service describes itself to"
            " tools such as grpcurl where `security.reflection` is set."
        )
    ]
    first = ("router.proto", "route.proto")
    for name in sorted(files, key=lambda name: (name not in first, name != first[0], name)):
        for block in files[name]:
            parts += [f"## {block.name}", block.words.replace("  ", "\n\n")]
            if block.rows:
                parts.append(table(_HEADS[block.kind], block.rows))
    return page("API: calls and messages", *parts)
