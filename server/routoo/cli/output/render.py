"""Blocks of text, facts and tables: fitted and coloured on a terminal, plain on a pipe."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING, Literal, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Style = Literal["", "title", "good", "muted", "warning"]

_RICH_STYLES = {
    "": "",
    "title": "bold",
    "good": "bold green",
    "muted": "dim",
    "warning": "yellow",
}
_GAP = "  "
_BAR_WIDTH = 20
_MIN_NAME_WIDTH = 12


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line of prose."""

    text: str
    style: Style = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and their values, one pair per line."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Bar:
    """A table cell that shows a fraction in [0, 1]."""

    fraction: float


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        header: the text above the column.
        align: "right" for numbers.
        optional: left out where the terminal is too narrow, the last such column first.
        shrinks: its texts are cut at their front where that is still too wide. Those of the first
            column never are: it gets lines of its own.
    """

    header: str
    align: Literal["left", "right"] = "left"
    optional: bool = False
    shrinks: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table, one cell per column; a pointer stands before a marked row."""

    cells: Sequence[str | Bar]
    style: Style = ""
    marked: bool = False


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table; where it stays too wide, the first column has lines of its own."""

    columns: Sequence[Column]
    rows: Sequence[Row]


Block = TextLine | Facts | TextTable


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that a screen can show.

    Attributes:
        pointer: stands before a marked row.
        rule: repeated, it underlines a table's header; empty: no rule.
        ellipsis: stands for what was cut off.
        bar: characters that fill a cell of a bar, from empty to full.
    """

    pointer: str
    rule: str
    ellipsis: str
    bar: str


PLAIN = Glyphs(pointer="*", rule="", ellipsis="...", bar=" #")
ASCII = Glyphs(pointer=">", rule="-", ellipsis="...", bar=" #")
UNICODE = Glyphs(pointer="➤", rule="─", ellipsis="…", bar=" ▏▎▍▌▋▊▉█")


# C0, DEL and C1, and what turns the direction of the text.
_STEERING = (*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_HARMLESS = {**dict.fromkeys(_STEERING, "?"), **dict.fromkeys(map(ord, "\t\n\r"), " ")}


def harmless(text: str) -> str:
    """Returns a line with ``?`` for each character that would steer a terminal.

    Callers of a service choose some of what is shown, such as the names of tenants.
    """
    return text.translate(_HARMLESS)


def show(blocks: Sequence[Block], stream: TextIO) -> None:
    """Writes the blocks, coloured and fitted on a terminal, plain elsewhere."""
    if not stream.isatty():
        stream.writelines(line.text + "\n" for line in layout(blocks, PLAIN, None))
        return
    from rich.console import Console  # noqa: PLC0415 - slow; a pipe needs no rich
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=stream, highlight=False)
    glyphs = UNICODE if console.encoding.startswith("utf") else ASCII
    for line in layout(blocks, glyphs, console.width):
        # A Text, never a str: rich would read square brackets in it as markup.
        console.print(Text(line.text, style=_RICH_STYLES[line.style]), soft_wrap=True)


def layout(blocks: Sequence[Block], glyphs: Glyphs, width: int | None) -> Iterator[TextLine]:
    """Lays the blocks out as lines, an empty one before a table and a block of another kind.

    Args:
        blocks: what to show.
        glyphs: the characters that the screen can show.
        width: of the screen, in characters; None: unlimited.
    """
    for index, block in enumerate(blocks):
        before = blocks[index - 1] if index else block
        if index and (isinstance(block, TextTable) or type(block) is not type(before)):
            yield TextLine("")
        match block:
            case TextLine():
                lines = _text_line(block, width)
            case Facts():
                lines = _facts(block, width)
            case TextTable():
                lines = _table(block, glyphs, width)
        yield from (TextLine(harmless(line.text), line.style) for line in lines)


def _text_line(line: TextLine, width: int | None) -> Iterator[TextLine]:
    if width is None:
        yield line
    else:
        for part in _wrap(line.text, width) or [""]:
            yield TextLine(part, line.style)


def _facts(facts: Facts, width: int | None) -> Iterator[TextLine]:
    name_width = max((len(name) for name, _ in facts.pairs), default=0)
    for name, value in facts.pairs:
        first = name.ljust(name_width) + _GAP
        if width is None or width <= 2 * len(first):
            yield TextLine(first + value)
            continue
        indents = chain([first], repeat(" " * len(first)))
        for indent, part in zip(indents, _wrap(value, width - len(first)) or [""], strict=False):
            yield TextLine((indent + part).rstrip())


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False)  # model names stay in one piece


def _table(table: TextTable, glyphs: Glyphs, width: int | None) -> Iterator[TextLine]:
    columns = list(table.columns)
    texts = [
        [c.header for c in columns],
        *([_text(c, glyphs) for c in r.cells] for r in table.rows),
    ]
    is_pointing = any(row.marked for row in table.rows)
    pointer_width = len(glyphs.pointer + _GAP) if is_pointing else 0
    names: list[str] | None = None
    if width is not None:
        _drop(columns, texts, width - pointer_width)
        if _width(texts) > width - pointer_width and len(columns) > 1:
            names = [row.pop(0) for row in texts]
            del columns[0]
        _shrink(columns, texts, glyphs, width - max(pointer_width, len(_GAP)))
    if names is not None and width is not None:
        yield from _in_two_lines(table, names, texts, columns, glyphs, width)
        return
    lines = _aligned(texts, columns)
    header, *rows = lines
    yield TextLine((" " * pointer_width + header).rstrip(), "muted")
    if glyphs.rule:
        yield TextLine(glyphs.rule * (pointer_width + max(map(len, lines))), "muted")
    for row, text in zip(table.rows, rows, strict=True):
        pointer = (glyphs.pointer if row.marked else "").ljust(pointer_width)
        yield TextLine((pointer + text).rstrip(), row.style)


def _in_two_lines(
    table: TextTable,
    names: list[str],
    texts: list[list[str]],
    columns: list[Column],
    glyphs: Glyphs,
    width: int,
) -> Iterator[TextLine]:
    """Lays out a table too wide for its names: a name on its own line, its figures below.

    Where not even the figures fit, each has a line, after its header.
    """
    indent = max(len(glyphs.pointer + _GAP), len(_GAP))
    fits = _width(texts) <= width - indent
    aligned = _aligned(texts, columns)
    if fits:
        yield TextLine(names[0], "muted")
        yield TextLine((" " * indent + aligned[0]).rstrip(), "muted")
    if glyphs.rule:
        yield TextLine(
            glyphs.rule * min(width, indent + max(map(len, [*names, *aligned]))), "muted"
        )
    headers = max(map(len, texts[0]))
    for number, row in enumerate(table.rows, 1):
        pointer = (glyphs.pointer + _GAP) if row.marked else ""
        parts = textwrap.wrap(pointer + names[number], width, break_on_hyphens=False)
        yield from (TextLine(part, row.style) for part in parts)
        if fits:
            yield TextLine((" " * indent + aligned[number]).rstrip(), row.style)
            continue
        for header, cell in zip(texts[0], texts[number], strict=True):
            if cell:
                yield TextLine(" " * indent + header.ljust(headers) + _GAP + cell, row.style)


def _text(cell: str | Bar, glyphs: Glyphs) -> str:
    if isinstance(cell, str):
        return cell
    steps = len(glyphs.bar) - 1
    full, rest = divmod(round(cell.fraction * _BAR_WIDTH * steps), steps)
    return (glyphs.bar[-1] * full + glyphs.bar[rest]).rstrip()


def _drop(columns: list[Column], texts: list[list[str]], width: int) -> None:
    """Removes optional columns, the last first, until the table fits."""
    while _width(texts) > width:
        optional = [index for index, column in enumerate(columns) if column.optional]
        if not optional:
            return
        del columns[optional[-1]]
        for row in texts:
            del row[optional[-1]]


def _shrink(columns: list[Column], texts: list[list[str]], glyphs: Glyphs, width: int) -> None:
    """Cuts texts of columns that may shrink, at their fronts, until the table fits."""
    for index in [index for index, column in enumerate(columns) if column.shrinks]:
        excess = _width(texts) - width
        if excess <= 0:
            return
        longest = max(len(row[index]) for row in texts)
        kept = max(longest - excess, _MIN_NAME_WIDTH)
        for row in texts:
            if len(row[index]) > kept:
                cut = len(row[index]) - kept + len(glyphs.ellipsis)
                row[index] = glyphs.ellipsis + row[index][cut:]


def _widths(texts: list[list[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*texts, strict=True)]


def _width(texts: list[list[str]]) -> int:
    widths = _widths(texts)
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _aligned(texts: list[list[str]], columns: list[Column]) -> list[str]:
    widths = _widths(texts)
    return [
        _GAP.join(
            text.rjust(width) if column.align == "right" else text.ljust(width)
            for text, width, column in zip(row, widths, columns, strict=True)
        )
        for row in texts
    ]
