"""Preference battles in the forms in which arenas publish them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.adapters.battles import read_battle_sources
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.write import write_table
from routoo_export.training.supervision.preferences import read_battles

if TYPE_CHECKING:
    from pathlib import Path


def arena(question_id: str, winner: str, **change: object) -> dict[str, Any]:
    turns = [
        {"role": "user", "content": f"Question {question_id}?"},
        {"role": "assistant", "content": "Answer."},
        {"role": "user", "content": "More."},
    ]
    return {
        "question_id": question_id,
        "model_a": "vicuna-13b",
        "model_b": "gpt-4",
        "winner": winner,
        "judge": "arena_user_1",
        "conversation_a": turns,
        "conversation_b": turns,
        "turn": 2,
        "anony": True,
        "language": "English",
        "tstamp": 1682352022.0,
        **change,
    }


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_chatbot_arena(tmp_path: Path) -> None:
    winners = ["model_a", "model_b", "tie", "tie (bothbad)"]
    rows = [arena(str(n), winner) for n, winner in enumerate(winners)]
    table = read_battle_sources([write(tmp_path / "arena.jsonl", rows)], BadRows())
    assert table.column_names == ["prompt_id", "prompt", "model_a", "model_b", "score_a"]
    assert table["score_a"].to_pylist() == [1.0, 0.0, 0.5, 0.5]
    assert table["prompt"].to_pylist() == [f"Question {n}?" for n in range(4)]
    assert table["prompt_id"].to_pylist() == list("0123")
    assert table["model_a"].to_pylist() == ["vicuna-13b"] * 4


def test_the_kaggle_form(tmp_path: Path) -> None:
    def kaggle(number: int, a: int, b: int, tie: int) -> dict[str, Any]:
        flags = {"winner_model_a": a, "winner_model_b": b, "winner_tie": tie}
        prompt = json.dumps(["First?", "Second?"])
        return {"id": number, "model_a": "x", "model_b": "y", "prompt": prompt, **flags}

    path = tmp_path / "train.jsonl"
    rows = [kaggle(1, 1, 0, 0), kaggle(2, 0, 1, 0), kaggle(3, 0, 0, 1)]
    table = read_battle_sources([write(path, rows)], BadRows())
    assert table["score_a"].to_pylist() == [1.0, 0.0, 0.5]
    assert set(table["prompt"].to_pylist()) == {"First?"}
    with pytest.raises(OutcomeError, match="row 0: winner is none of those known"):
        read_battle_sources([write(path, [kaggle(4, 1, 1, 0)])], BadRows())


def test_the_plain_form_and_what_training_reads_of_it(tmp_path: Path) -> None:
    plain = {"prompt": "[1, 2] sorted?", "model_a": "x", "model_b": "y", "domain": "code"}
    other = {"prompt": "Who?", "model_a": "y", "model_b": "z", "domain": "people"}
    rows = [
        {**plain, "winner": "a"},
        {**plain, "winner": "B"},
        {**other, "score_a": 0.5},
    ]
    table = read_battle_sources([write(tmp_path / "plain.jsonl", rows)], BadRows())
    assert table["prompt_id"][0] == table["prompt_id"][1] != table["prompt_id"][2]
    write_table(table, tmp_path / "battles.parquet", {"name": "ours", "licence": "MIT"})
    battles = read_battles(tmp_path / "battles.parquet", name="ours", licence="MIT")
    assert battles.outcomes.prompts == ("[1, 2] sorted?", "Who?")
    assert battles.outcomes.domains == ("code", "people")
    assert battles.score_a.tolist() == [1.0, 0.0, 0.5]
    names = battles.outcomes.models
    assert [names[j] for j in battles.first] == ["x", "x", "y"]
    assert [names[j] for j in battles.second] == ["y", "y", "z"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (arena("1", "model_c"), "winner is none of those known ({'winner': 'model_c'})"),
        ({**arena("1", "tie"), "winner": None}, "winner is none of those known"),
        (arena("1", "tie", conversation_a=[]), "no user turn"),
        (arena("1", "tie", conversation_a=None, prompt=" "), "no user turn"),
        (arena("1", "tie", model_a=""), "model_a or model_b is empty"),
        (arena("1", "tie", model_a="gpt-4"), "a model fights itself"),
        ({"prompt": "x"}, "field 'model_a' is missing"),
    ],
)
def test_bad_battles_are_refused_or_counted(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    path = write(tmp_path / "arena.jsonl", [arena("0", "model_a"), row])
    with pytest.raises(OutcomeError) as caught:
        read_battle_sources([path], BadRows())
    assert f"{path}: row 1: {reason}" in str(caught.value)
    bad = BadRows(skip=True)
    assert read_battle_sources([path], bad).num_rows == 1
    assert list(bad.skipped.values()) == [1]
    with pytest.raises(OutcomeError, match="no battle fits"):
        read_battle_sources([write(tmp_path / "bad.jsonl", [row])], BadRows(skip=True))
