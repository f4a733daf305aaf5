"""Blocks of code of a page of the documentation, and what its commands are to print.

- A block ``console`` has commands after ``$ ``, and below each what it prints: ``...`` stands for
  any text, on a line of its own for any lines.
- A block with ``title="NAME"`` is a file.
- ``<!-- in the background until: TEXT -->`` above a block: its command goes on until the page ends.
- ``<!-- not run: REASON -->`` above a block: it is for the reader alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BLOCK: Final = re.compile(
    r"^(?:<!-- (?P<note>(?:(?!-->).)*?) -->\n+)?```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_TITLE: Final = re.compile(r'title="([^"]+)"')
_UNTIL: Final = "in the background until: "
_NOT_RUN: Final = "not run: "
_HERE_DOCUMENT: Final = re.compile(r"<<-?\s*'?\"?(\w+)")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code of a page.

    Attributes:
        language: the first word after the fence.
        title: the name of the file that it is; empty: none.
        until: what its command prints before the next block begins; empty: it ends by itself.
        not_run: why it is not run; empty: it is.
        body: its text.
    """

    language: str
    title: str
    until: str
    not_run: str
    body: str

    def commands(self) -> Iterator[tuple[str, list[str]]]:
        """Yields each command, and the lines that it is to print."""
        command: list[str] = []
        printed: list[str] = []
        here = ""
        for line in self.body.splitlines():
            if command and (here or command[-1].endswith("\\")):
                command.append(line)
                here = "" if line == here else here
            elif line.startswith("$ "):
                if command:
                    yield "\n".join(command), printed
                command, printed = [line.removeprefix("$ ")], []
            else:
                printed.append(line)
                continue
            if found := _HERE_DOCUMENT.search(command[-1]):
                here = here or found[1]
        if command:
            yield "\n".join(command), printed


def blocks_of(page: str) -> list[Block]:
    """Returns the blocks of code of a page in Markdown."""
    found = []
    for match in _BLOCK.finditer(page):
        note, info = match["note"] or "", match["info"].strip()
        title = _TITLE.search(info)
        found.append(
            Block(
                info.partition(" ")[0],
                title[1] if title else "",
                note.removeprefix(_UNTIL) if note.startswith(_UNTIL) else "",
                note.removeprefix(_NOT_RUN) if note.startswith(_NOT_RUN) else "",
                match["body"],
            )
        )
    return found


def prints(printed: str, wanted: Sequence[str]) -> bool:
    """Tells whether a command printed what its page shows."""
    shown = [line.rstrip() for line in wanted]
    while shown and not shown[-1]:
        shown.pop()
    if not shown:
        return True
    pattern = ""
    for line in shown:
        if line == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(map(re.escape, line.split("..."))) + r"[ \t]*\n"
    return re.fullmatch(pattern + r"\s*", printed.rstrip() + "\n") is not None
