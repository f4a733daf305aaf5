"""Each command that a document shows is one that there is, with options that it takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from routoo.cli.app import app as routoo
from routoo_export.cli.app import app as routoo_export
from support.processes.page_blocks import blocks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
COMMANDS = {
    "routoo": typer.main.get_command(routoo),
    "routoo-export": typer.main.get_command(routoo_export),
}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
SHELLS = {"console", "sh", "bash", "text", ""}
SHIPPED = ("benchmarks/", "deploy/", "examples/")
_INLINE = re.compile(r"(?<!`)`((?:routoo(?:-export)?|make) [^`\n]+)`(?!`)")
_ENDS = re.compile(r"^(?:[|;&<>].*|\d?>.*)$")
_ASSIGNS = re.compile(r"^[A-Z_]+=")


def shown(page: Path) -> Iterator[str]:
    """Yields the command lines of a page: those of its blocks, and those between backticks."""
    text = page.read_text(encoding="utf-8")
    for block in blocks_of(text):
        if block.language in SHELLS:
            yield from (command for command, _ in block.commands())
            joined = block.body.replace("\\\n", " ")
            yield from (line for line in joined.splitlines() if line.startswith(tuple(COMMANDS)))
    yield from _INLINE.findall(re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def words_of(line: str) -> list[str]:
    """Returns the words of a command line up to what is not the command's: pipes, comments."""
    try:
        words = shlex.split(line.replace("\\\n", " "), comments=True)
    except ValueError:  # a sentence with an apostrophe, or an ellipsis within quotes
        words = line.split()
    while words and (_ASSIGNS.match(words[0]) or words[0] in {"exec", "sudo"}):
        words.pop(0)
    for at, word in enumerate(words):
        if _ENDS.match(word):
            return words[:at]
    return words


def fault_of(words: list[str]) -> str:
    """Returns why there is no such command; empty: there is."""
    name = Path(words[0]).name if words else ""
    for word in words:
        if word.startswith(SHIPPED) and not (ROOT / word).exists():
            return f"no {word}"
    if name == "make":
        named = [word for word in words[1:] if re.fullmatch(r"[a-z][a-z-]*", word)]
        return "" if set(named) <= TARGETS else f"no target of {named}"
    if name not in COMMANDS:
        return ""
    command: Any = COMMANDS[name]
    for word in words[1:]:
        if word.startswith("--"):
            option = word.partition("=")[0]
            taken = {
                one for known in command.params for one in (*known.opts, *known.secondary_opts)
            }
            if option not in taken | {"--help"}:
                return f"{command.name} takes no {option}"
        elif word in getattr(command, "commands", {}):
            command = command.commands[word]
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_document_shows_commands_that_there_are(page: Path) -> None:
    faults = [(line, fault) for line in shown(page) if (fault := fault_of(words_of(line)))]
    assert faults == []


def test_the_documents_show_many_commands() -> None:
    lines = [line for page in PAGES for line in shown(page)]
    assert len([line for line in lines if "routoo" in line]) > 150


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("routoo route --max-price 1 Hi", "route takes no --max-price"),
        ("routoo pool check --soft 2>&1 | less --nothing", "check takes no --soft"),
        ("ROUTOO_ADDRESS=a routoo --token-file t budgets --json > out", ""),
        ("python examples/nothing.py", "no examples/nothing.py"),
        ("make everything", "no target of ['everything']"),
        ("make test ARGS='-k word'", ""),
    ],
)
def test_a_command_that_there_is_not_is_found(line: str, fault: str) -> None:
    assert fault_of(words_of(line)) == fault
