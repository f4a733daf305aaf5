"""The words of docstrings and documents, as far as they can be checked."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
FOLDERS = (
    *("server/routoo", "export/routoo_export", "benchmarks", "tests", "deploy", "examples"),
    "docs/_generate",
)
DOCUMENTS = ("README.md", "docs/**/*.md", "examples/*.yaml", "proto/**/*.proto")
RIDDLE = re.compile(r"(What|Which|How|Where|Who|Whose|When|Whether|That)\b")
EMPTY_WORDS = re.compile(
    r"\b(likewise|as above|see above|see there|ditto|dearer|dearest)\b", re.IGNORECASE
)
SINGLE = re.compile(r"(?<!`)`(?!`)[^`\n]+(?<!`)`(?!`)")
# Terminals show the docstrings of commands as they are.
HELP_TEXTS = ("server/routoo/cli/commands", "server/routoo/cli/options", "export/routoo_export/cli")


def sources(folder: str) -> list[Path]:
    found = (ROOT / folder).rglob("*.py")
    return [path for path in found if "_pb2" not in path.name and path != Path(__file__)]


def docstrings(path: Path) -> Iterator[tuple[str, str]]:
    """Yields where a docstring stands, and its text; also those of attributes."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for at, inner in enumerate(body if isinstance(body, list) else ()):
            if not isinstance(inner, ast.Expr) or not isinstance(inner.value, ast.Constant):
                continue
            if isinstance(inner.value.value, str):
                kind = type(node).__name__ if not at else "attribute"
                yield f"{path.relative_to(ROOT)}:{inner.lineno} {kind}", inner.value.value


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_module_says_what_it_is_in_a_sentence_with_a_subject(folder: str) -> None:
    found = []
    for path in sources(folder):
        first = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if RIDDLE.match(first):
            found.append(f"{path.relative_to(ROOT)}: {first.splitlines()[0]}")
    assert found == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_docstring_says_the_thing_itself(folder: str) -> None:
    found = [
        f"{where}: {match[0]}"
        for path in sources(folder)
        for where, text in docstrings(path)
        if (match := EMPTY_WORDS.search(text))
    ]
    assert found == []


@pytest.mark.parametrize("pattern", DOCUMENTS)
def test_a_document_says_the_thing_itself(pattern: str) -> None:
    paths = sorted(ROOT.glob(pattern))
    assert paths
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (match := EMPTY_WORDS.search(line))
    ]
    assert found == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_code_in_docstrings_stands_in_double_backticks(folder: str) -> None:
    found = [
        f"{where}: {match[0]}"
        for path in sources(folder)
        for where, text in docstrings(path)
        if (match := SINGLE.search(text))
        and not (where.startswith(HELP_TEXTS) and "FunctionDef" in where)
    ]
    assert found == []
