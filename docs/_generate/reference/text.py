"""Markdown that all pages are put together from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table; line breaks and bars in its cells do not end them."""
    lines = [_row(heads), _row(["---"] * len(heads)), *map(_row, rows)]
    return "\n".join(lines) + "\n"


def code(value: object) -> str:
    """Returns a value as code; nothing for an empty one."""
    text = str(value)
    return f"`{text}`" if text else ""


def fenced(text: str, language: str = "text") -> str:
    """Returns a block of code."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def page(title: str, *parts: str) -> str:
    """Returns a page: its title, then its parts with an empty line between."""
    return "\n\n".join([f"# {title}", *(part.strip("\n") for part in parts)]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
