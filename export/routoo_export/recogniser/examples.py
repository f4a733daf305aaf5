"""Prompts with the kind of task that they are: those written for this project, and others."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet

from routoo.predictor.conversation import OFFERED_TOOLS, conversation
from routoo_export.errors import OutcomeError
from routoo_export.outcomes.kinds import TASK_KINDS

PROMPTS: Final = "prompts"
OTHER_PROMPTS: Final = "task_prompts.parquet"
_SHIPPABLE: Final = {"Apache-2.0", "MIT", "CC0", "CC BY 4.0", "project"}


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and what it asks for.

    Attributes:
        text: The prompt, conversations as ``routoo.predictor.conversation`` writes them.
        kind: Position of its kind in ``TASK_KINDS``.
        language: ISO 639-1 code; "mixed" where it has none.
        source: The file or collection that it comes from.
        difficulty: 1 (trivial) to 5 (for the best models only); 0 = unknown.
        output_tokens: Tokens of a good answer, reasoning left out; 0 = unknown.
    """

    text: str
    kind: int
    language: str
    source: str
    difficulty: int = 0
    output_tokens: int = 0


def read_examples() -> tuple[Example, ...]:
    """The prompts that were written for this project.

    Raises:
        OutcomeError: a row is wrong, which names file and line; or there are no prompts here.
    """
    folder = files(__package__) / PROMPTS
    if not folder.is_dir():
        raise OutcomeError(
            "the prompts that the recogniser learns from are too many for a wheel; train it in a"
            " clone of the repository"
        )
    found: list[Example] = []
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        if file.name.endswith(".jsonl"):
            found.extend(_rows(file.name, file.read_text(encoding="utf-8")))
    return tuple(found)


def read_user_prompts(path: Path) -> tuple[Example, ...]:
    """Prompts of a JSON Lines file in the messages format of LLM APIs, for judging.

    Each line has ``messages``, ``task``, ``language``, ``difficulty``, ``expected_output_tokens``
    and optionally ``tools``.

    Raises:
        OutcomeError: the file is unreadable, or a row is wrong.
    """
    found = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            tools = [tool.get("function", tool) for tool in row.get("tools", ())]
            found.append(
                Example(
                    text=_text(
                        [(turn["role"], _content(turn)) for turn in row["messages"]],
                        [(tool["name"], tool.get("description", "")) for tool in tools],
                    ),
                    kind=TASK_KINDS.index(row["task"]),
                    language=row["language"],
                    source=path.stem,
                    difficulty=row["difficulty"],
                    output_tokens=row["expected_output_tokens"],
                )
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutcomeError(f"{path}: row {len(found) + 1}: {error}") from error
    return tuple(found)


def read_other_prompts(data: Path) -> tuple[Example, ...]:
    """The labelled prompts of other projects whose licences allow shipping what is trained on them.

    Raises:
        OutcomeError: the file is missing or has other columns.
    """
    path = data / OTHER_PROMPTS
    columns = ["prompt", "task", "language", "source", "licence"]
    try:
        rows = pyarrow.parquet.read_table(path, columns=columns).to_pylist()
    except (OSError, ValueError) as error:
        raise OutcomeError(f"{path}: cannot be read: {error}") from error
    return tuple(
        Example(
            text=row["prompt"],
            kind=TASK_KINDS.index(row["task"]),
            language=row["language"],
            source=f"{path.stem}:{row['source']}",
        )
        for row in rows
        if row["licence"] in _SHIPPABLE
    )


def _rows(name: str, content: str) -> Iterator[Example]:
    for number, line in enumerate(content.splitlines(), 1):
        try:
            row: dict[str, Any] = json.loads(line)
            messages = row["messages"]
            turns = [("user", messages)] if isinstance(messages, str) else messages
            yield Example(
                text=_text([(role, said) for role, said in turns], row.get("tools", ())),
                kind=TASK_KINDS.index(row["kind"]),
                language=row["language"],
                source=name.removesuffix(".jsonl"),
                difficulty=int(row["difficulty"]),
                output_tokens=int(row["output_tokens"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise OutcomeError(f"{name}: line {number}: {error}") from error


def _text(turns: list[tuple[str, str]], tools: Any) -> str:
    offered = "\n".join(f"{name} {description}" for name, description in tools)
    return conversation([(OFFERED_TOOLS, offered), *turns] if offered else turns)


def _content(turn: dict[str, Any]) -> str:
    said = turn.get("content") or turn.get("tool_calls") or ""
    return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
