"""Files of prompts and of words: what is read of them, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routoo.predictor.conversation import read_turns
from routoo_export.errors import OutcomeError
from routoo_export.outcomes.kinds import TASK_KINDS
from routoo_export.recogniser import examples as module
from routoo_export.recogniser.examples import (
    OTHER_PROMPTS,
    read_examples,
    read_other_prompts,
    read_user_prompts,
)
from routoo_export.recogniser.lexicon import read_lexicon
from routoo_export.recogniser.network import LANGUAGES

if TYPE_CHECKING:
    from pathlib import Path

ROW = {
    "messages": "Translate this",
    "kind": "translate",
    "language": "en",
    "difficulty": 2,
    "output_tokens": 30,
}
USER_ROW = {
    "messages": [{"role": "user", "content": "Which tool?"}],
    "task": "tool_call",
    "language": "en",
    "difficulty": 3,
    "expected_output_tokens": 60,
}


def test_the_shipped_prompts_are_of_every_kind_and_many_languages() -> None:
    found = read_examples()
    assert {one.kind for one in found} == set(range(len(TASK_KINDS)))
    assert len({one.language for one in found} & set(LANGUAGES)) >= 25
    assert all(one.text.strip() for one in found)
    assert all(1 <= one.difficulty <= 5 and one.output_tokens > 0 for one in found)


def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "mine.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "README.md").write_text("no prompts")
    monkeypatch.setattr(module, "files", lambda _: tmp_path)


def test_turns_and_tools_are_one_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    several = {
        **ROW,
        "messages": [["system", "be kind"], ["user", "hi"]],
        "tools": [["search", "the web"], ["run", "code"]],
    }
    written(tmp_path, monkeypatch, json.dumps(ROW), json.dumps(several))
    plain, turns = read_examples()
    assert (plain.text, plain.source, plain.kind) == (
        "Translate this",
        "mine",
        TASK_KINDS.index("translate"),
    )
    read = read_turns(turns.text)
    assert (read.last, read.system, read.tools) == ("hi", "be kind", "search the web\nrun code")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "Expecting property name"),
        (json.dumps({**ROW, "kind": "poetry"}), "not in tuple"),
        (json.dumps({key: ROW[key] for key in ROW if key != "language"}), "'language'"),
        (json.dumps({**ROW, "difficulty": "hard"}), "'hard'"),
        (json.dumps({**ROW, "messages": [["user"]]}), "not enough values"),
        ("[1]", "list indices"),
    ],
)
def test_a_wrong_row_names_its_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, said: str
) -> None:
    written(tmp_path, monkeypatch, json.dumps(ROW), line)
    with pytest.raises(OutcomeError) as caught:
        read_examples()
    assert str(caught.value).startswith("mine.jsonl: line 2: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_prompts_in_the_messages_format_are_read(tmp_path: Path) -> None:
    path = tmp_path / "asked.jsonl"
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    tool = {"type": "function", "function": {"name": "search", "description": "the web"}}
    row: dict[str, Any] = {
        **USER_ROW,
        "messages": [*USER_ROW["messages"], call],  # type: ignore[misc]
        "tools": [tool],
    }
    path.write_text(f"{json.dumps(USER_ROW)}\n{json.dumps(row)}\n")
    plain, turns = read_user_prompts(path)
    assert (plain.text, plain.source, plain.output_tokens) == ("Which tool?", "asked", 60)
    read = read_turns(turns.text)
    assert (read.last, read.last_role, read.tools) == (
        '[{"id": "1"}]',
        "assistant",
        "search the web",
    )


@pytest.mark.parametrize("change", [{"task": "poetry"}, {"messages": 3}, {"language": ...}])
def test_a_wrong_row_of_that_format_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "asked.jsonl"
    row = {key: value for key, value in {**USER_ROW, **change}.items() if value is not ...}
    path.write_text(f"{json.dumps(USER_ROW)}\n{json.dumps(row)}\n")
    with pytest.raises(OutcomeError, match=r"asked\.jsonl: row 2: "):
        read_user_prompts(path)
    with pytest.raises(OutcomeError, match=r"none\.jsonl: row 1: "):
        read_user_prompts(tmp_path / "none.jsonl")


def test_other_prompts_are_those_that_may_ship(tmp_path: Path) -> None:
    columns = {
        "prompt": ["one", "two", "three"],
        "task": ["translate"] * 3,
        "language": ["en"] * 3,
        "source": ["a", "b", "c"],
        "licence": ["MIT", "CC BY-NC 4.0", "CC0"],
    }
    pq.write_table(pa.table(columns), tmp_path / OTHER_PROMPTS)
    found = read_other_prompts(tmp_path)
    assert [one.text for one in found] == ["one", "three"]
    assert found[0].source == "task_prompts:a"
    assert (found[0].difficulty, found[0].output_tokens) == (0, 0)


def test_a_file_of_other_prompts_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutcomeError, match="cannot be read"):
        read_other_prompts(tmp_path)
    pq.write_table(pa.table({"prompt": ["one"]}), tmp_path / OTHER_PROMPTS)
    with pytest.raises(OutcomeError, match="cannot be read"):
        read_other_prompts(tmp_path)


def test_the_lexicon_has_forms_of_many_languages_for_each_concept() -> None:
    lexicon = read_lexicon()
    assert len(lexicon.concepts) == len(set(lexicon.concepts)) >= 100
    assert len(set(lexicon.forms)) == len(lexicon.forms)
    assert {at for at, _ in lexicon.forms} == set(range(len(lexicon.concepts)))
    assert not any("_" in form or form != form.strip() for _, form in lexicon.forms)
    at = lexicon.concepts.index("translate")
    forms = {form for concept, form in lexicon.forms if concept == at}
    # English, German, Chinese.
    assert "translate" in forms
    assert any("bersetz" in form for form in forms)
    assert any("\u7ffb\u8bd1" in form for form in forms)
