"""Datasets by folder or file, in the formats of the hub."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.adapters.huggingface import read_huggingface
from routoo_export.outcomes.bad_rows import BadRows

if TYPE_CHECKING:
    from pathlib import Path

NAN = float("nan")


def sprout(key: str, scores: tuple[float | None, float]) -> dict[str, Any]:
    return {
        "key": key,
        "dataset": "MMLU-Pro",
        "dataset_level": "law",
        "dataset_idx": 3,
        "prompt": f"Question {key}?",
        "golden_answer": "B",
        "openai-gpt-4o": {
            "num_input_tokens": 100,
            "num_output_tokens": 20,
            "response": "The answer is B",
            "score": scores[0],
        },
        "wxai-llama-3-1-8b-instruct": {
            "num_input_tokens": 110,
            "num_output_tokens": None,
            "response": "12345678",
            "score": scores[1],
        },
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset folder as the hub keeps it, with two splits."""
    data = tmp_path / "sprout" / "data"
    data.mkdir(parents=True)
    rows = [sprout("a", (1.0, 0.0)), sprout("b", (None, 0.5)), sprout("c", (0.25, 1.0))]
    pq.write_table(pa.Table.from_pylist(rows[:2]), data / "train-00000-of-00001.parquet")
    pq.write_table(pa.Table.from_pylist(rows[2:]), data / "test-00000-of-00001.parquet")
    return data.parent


def test_sprout_by_folder(folder: Path) -> None:
    grid = read_huggingface([str(folder)], BadRows())
    assert grid.models == ("openai-gpt-4o", "wxai-llama-3-1-8b-instruct")
    assert sorted(grid.prompt_ids) == ["a", "b", "c"]
    assert set(grid.domains) == {"MMLU-Pro"}
    order = [grid.prompt_ids.index(key) for key in "abc"]
    np.testing.assert_array_equal(grid.scores[order], [[1, 0], [NAN, 0.5], [0.25, 1]])
    np.testing.assert_array_equal(grid.output_tokens[order], [[20, 2], [NAN, 2], [20, 2]])
    assert grid.input_tokens is not None
    assert grid.input_tokens[order[0], 1] == 110
    assert grid.cost_kind == "none"


def test_one_split(folder: Path) -> None:
    assert read_huggingface([str(folder)], BadRows(), split="test").prompt_ids == ("c",)
    with pytest.raises(OutcomeError, match=r"no split 'dev'; it has .*train"):
        read_huggingface([str(folder)], BadRows(), split="dev")


def test_a_folder_of_json(tmp_path: Path) -> None:
    lines = [json.dumps(sprout(key, (1.0, 0.0))) for key in "ab"]
    (tmp_path / "train.jsonl").write_text("\n".join(lines) + "\n")
    assert read_huggingface([str(tmp_path)], BadRows()).prompt_ids == ("a", "b")


LONG = [
    {"prompt": "one?", "model": "m1", "score": 1, "cost_usd": 0.5, "category": "math"},
    {"prompt": "one?", "model": "m2", "score": False, "cost_usd": None, "category": "math"},
    {"prompt": "two?", "model": "m1", "score": 0.5, "cost_usd": 0.25, "category": "law"},
]
WIDE = [
    {"id": 1, "prompt": "one?", "score:m1": 1.0, "score:m2": 0.0, "cost:m1": 0.5},
    {"id": 2, "prompt": "two?", "score:m1": 0.5, "score:m2": None, "cost:m1": 0.25},
]


@pytest.mark.parametrize("rows", [LONG, WIDE], ids=["long", "wide"])
@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet", "csv"])
def test_files_long_and_wide(tmp_path: Path, rows: list[dict[str, Any]], kind: str) -> None:
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(
            pa.Table.from_pylist(
                [{**row, "score": 1.0 * row["score"]} if "score" in row else row for row in rows]
            ),
            path,
        )
    elif kind == "csv":
        lines = [
            ",".join(rows[0]),
            *(",".join("" if v is None else str(v) for v in row.values()) for row in rows),
        ]
        path.write_text("\n".join(lines) + "\n")
    elif kind == "json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    grid = read_huggingface([str(path)], BadRows())
    assert grid.prompts == ("one?", "two?")
    np.testing.assert_array_equal(grid.scores, [[1, 0], [0.5, NAN]])
    np.testing.assert_array_equal(grid.cost_usd, [[0.5, NAN], [0.25, NAN]])
    assert grid.cost_kind == "true"


def test_other_names_are_mapped(tmp_path: Path) -> None:
    rows = [{"q": "one?", "gpt4": {"ok": True, "usd": 0.1}, "small.ok": 0, "topic": "math"}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    columns = {
        "prompt": "q",
        "score:gpt-4": "gpt4.ok",
        "cost:gpt-4": "gpt4.usd",
        "score:small": "small.ok",
        "domain": "topic",
    }
    grid = read_huggingface([str(tmp_path / "rows.json")], BadRows(), columns=columns)
    assert grid.models == ("gpt-4", "small")
    assert grid.domains == ("math",)
    np.testing.assert_array_equal(grid.scores, [[1, 0]])
    np.testing.assert_array_equal(grid.cost_usd, [[0.1, NAN]])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "one?"}], "row 0: field 'prompt' is missing"),
        ([{"prompt": "one?", "answer": "B"}], "name the fields with --map"),
        ([{**LONG[0], "score": "good"}], "row 0: score is not a number ('good')"),
        ([LONG[0], {**LONG[0], "score": 0}], "row 1: the same prompt and model have another"),
        ([{**WIDE[0], "score:m1": -1}], "row 0: score is outside [0, 1] (-1)"),
        ([{**WIDE[0], "prompt": ["one?"]}], "row 0: prompt is not text"),
    ],
)
def test_bad_rows_are_refused(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(OutcomeError) as caught:
        read_huggingface([str(path)], BadRows())
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_cannot_be_loaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("nobody/nothing-of-the-kind", str(tmp_path)):
        with pytest.raises(OutcomeError, match="no dataset that can be loaded"):
            read_huggingface([name], BadRows())
    other = tmp_path / "rows.xls"
    other.write_bytes(b"")
    with pytest.raises(OutcomeError, match=r"not a .parquet, .json, .jsonl or .csv file"):
        read_huggingface([str(other)], BadRows())
