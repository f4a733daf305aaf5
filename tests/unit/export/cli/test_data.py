"""``routoo-export data``: its files, output and errors."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routoo_export.cli.app import main
from routoo_export.errors import OutcomeError
from routoo_export.outcomes.check import require_trainable
from routoo_export.outcomes.outcomes import merge_outcomes, read_outcomes

if TYPE_CHECKING:
    from pathlib import Path


class Run:
    """Run the command line in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: object) -> str:
        code, out, error = self.code(*arguments)
        assert code == 0, error
        return out

    def code(self, *arguments: object) -> tuple[int, str, str]:
        command = ["routoo-export", "data", *(str(argument) for argument in arguments)]
        self._monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as caught:
            main()
        code = caught.value.code
        assert isinstance(code, int)
        return (code, *self._capsys.readouterr())


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(monkeypatch, capsys)


def long_columns(prompts: int, models: tuple[str, ...]) -> dict[str, list[Any]]:
    pairs = [(i, model) for i in range(prompts) for model in models]
    return {
        "prompt_id": [f"p{i}" for i, _ in pairs],
        "prompt": [f"Question number {i}?" for i, _ in pairs],
        "model": [model for _, model in pairs],
        "score": [float(i % 2) for i, _ in pairs],
        "split": ["train" for _ in pairs],
    }


def write(path: Path, columns: dict[str, list[Any]]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def routerdc(path: Path, scores: list[dict[str, float]]) -> Path:
    rows = [{"question": f"Question {i}?", "scores": row} for i, row in enumerate(scores)]
    path.write_text(json.dumps(rows))
    return path


def data_folder(files: Path, folder: Path) -> Path:
    """A copy of the files with a list of their models."""
    lines = ["source_file,source_name,canonical"]
    for path in files.glob("*.parquet"):
        shutil.copy(path, folder)
        names = [n.removeprefix("score:") for n in pq.read_schema(path).names if "score:" in n]
        lines += [f"{path.name},{name},maker/{name}" for name in names]
    (folder / "models.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_convert_writes_what_training_reads(tmp_path: Path, run: Run) -> None:
    source = routerdc(tmp_path / "gsm8k-train.json", [{"a": 0.5, "b": 1.0}, {"a": 0.25, "b": 2.0}])
    out = tmp_path / "out.parquet"
    arguments = ("convert", source, "--format", "routerdc", "--out", out)
    code, _, error = run.code(*arguments)
    assert code == 2
    assert re.fullmatch(r"error: .*gsm8k-train.json: row 1: score is outside .*\n", error)
    assert not out.exists()
    printed = run(*arguments, "--skip-bad", "--licence", "MIT", "--json")
    report = json.loads(printed)
    assert report["skipped_by_reason"] == {"score is outside [0, 1]": 1}
    assert (report["rows"], report["prompts"], report["models"]) == (3, 2, 2)
    assert report["coverage"] == 0.75
    assert report["least_covered"] == {"b": 1}
    assert sum(report["split"].values()) == 2
    outcomes = read_outcomes(out)
    assert outcomes.sources[0].name == "out"
    assert outcomes.sources[0].licence == "MIT"
    np.testing.assert_array_equal(outcomes.scores, [[0.5, 1.0], [0.25, np.nan]])
    columns = pq.read_table(out).column_names
    assert columns == ["prompt_id", "prompt", "model", "score", "domain"]


def test_convert_of_a_parquet_keeps_what_it_says_of_itself(tmp_path: Path, run: Run) -> None:
    wide = {"prompt_id": ["a"], "prompt": ["one?"], "score:m": [1.0], "cost_est:m": [0.5]}
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    arguments = ("--format", "parquet", "--json")
    run("convert", write(tmp_path / "wide.parquet", wide), "--out", first, "--name", "n",
        "--licence", "MIT", *arguments)  # fmt: skip
    report = json.loads(run("convert", first, "--out", second, *arguments))
    assert (report["name"], report["licence"], report["costs"]) == ("n", "MIT", "estimated")


def test_convert_maps_the_names_of_a_dataset(tmp_path: Path, run: Run) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text('{"q": "one?", "gpt4": {"ok": true}}\n')
    out = tmp_path / "out.parquet"
    run("convert", source, "--format", "huggingface", "--out", out, "--map", "prompt=q",
        "--map", "score:gpt-4=gpt4.ok")  # fmt: skip
    assert read_outcomes(out).models == ("gpt-4",)


def test_battles_have_their_own_file(tmp_path: Path, run: Run) -> None:
    source = tmp_path / "rows.jsonl"
    battle = {"prompt": "one?", "model_a": "x", "model_b": "y"}
    lines = [json.dumps({**battle, "winner": winner}) for winner in ("model_a", "tie", "nobody")]
    source.write_text("\n".join(lines))
    out = tmp_path / "battles.parquet"
    printed = run("convert", source, "--format", "battles", "--out", out, "--skip-bad", "--json")
    report = json.loads(printed)
    assert (report["battles"], report["prompts"], report["models"], report["ties"]) == (2, 1, 2, 1)
    assert report["skipped_by_reason"] == {"winner is none of those known": 1}
    checked = json.loads(run("check", out, "--json"))
    assert checked[str(out)]["battles"] == 2


def test_check_counts(tmp_path: Path, run: Run) -> None:
    columns = long_columns(120, ("a", "b"))
    columns = {name: [*values, values[3]] for name, values in columns.items()}
    path = write(tmp_path / "long.parquet", columns)
    report = json.loads(run("check", path, "--json"))[str(path)]
    assert (report["prompts"], report["models"], report["cells"]) == (120, 2, 240)
    assert (report["coverage"], report["rows"]) == (1.0, 241)
    assert report["identical_duplicates_dropped"] == 1
    assert report["ignored_columns"] == {"split": 1}
    assert sum(report["split"].values()) == 120
    assert report["skipped"] == 0


def test_check_tells_repeated_questions_and_contradicting_prompts(tmp_path: Path, run: Run) -> None:
    columns = long_columns(120, ("a", "b"))
    prompts = columns["prompt"]
    # p1 repeats the text of p0 with another score; p2 asks it in other letters.
    prompts[2:4] = prompts[0:2]
    prompts[4:6] = [prompts[0].upper()] * 2
    path = write(tmp_path / "long.parquet", columns)
    report = json.loads(run("check", path, "--json"))[str(path)]
    assert report["repeated_questions"] == 3
    assert report["contradicting_prompts"] == 2


def test_check_of_several_files_judges_them_together(tmp_path: Path, run: Run) -> None:
    a = write(tmp_path / "a.parquet", long_columns(120, ("a",)))
    b = write(tmp_path / "b.parquet", long_columns(120, ("b",)))
    assert run.code("check", a)[0] == 2
    printed = run("check", a, b)
    assert "together" in printed
    assert json.loads(run("check", a, b, "--json"))["together"]["models"] == 2


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"prompt": ["x"]}, "column 'prompt_id' is missing; it has prompt"),
        (long_columns(120, ("a",)), "of one model only (a); training needs at least 2"),
        (long_columns(3, ("a", "b")), "too few prompts: of 3, "),
        (
            {**long_columns(2, ("a", "b")), "score": [0.0, 1.0, 1.0, 1.01]},
            "row 3: score is outside",
        ),
        (
            {
                **long_columns(2, ("a", "b")),
                "model": ["a", "b", "a", "a"],
                "score": [0.0, 0.0, 1.0, 0.0],
            },
            "row 3: the same prompt and model have another outcome",
        ),
    ],
)
def test_check_refuses_in_one_line(
    tmp_path: Path, run: Run, columns: dict[str, list[Any]], message: str
) -> None:
    path = write(tmp_path / "bad.parquet", columns)
    code, out, error = run.code("check", path)
    assert code == 2
    assert out == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


def test_too_few_rows_say_how_many_are_needed(tmp_path: Path) -> None:
    few = read_outcomes(write(tmp_path / "few.parquet", long_columns(3, ("a", "b"))))
    with pytest.raises(OutcomeError, match="needs at least 20 and 5, so bring about 100"):
        require_trainable(few)
    require_trainable(
        read_outcomes(write(tmp_path / "many.parquet", long_columns(100, ("a", "b"))))
    )


def test_a_model_without_a_training_outcome_is_named(tmp_path: Path) -> None:
    known = read_outcomes(write(tmp_path / "many.parquet", long_columns(100, ("a", "b"))))
    late = read_outcomes(write(tmp_path / "late.parquet", long_columns(100, ("late",))))
    test_only = late.rows(np.isin(late.buckets, (8, 9)))
    with pytest.raises(OutcomeError, match="model 'late' has no outcome on a training prompt"):
        require_trainable(merge_outcomes([known, test_only]))


def test_one_model_may_be_onboarded(tmp_path: Path, run: Run) -> None:
    path = write(tmp_path / "new.parquet", long_columns(3, ("new",)))
    report = json.loads(run("check", path, "--for", "onboarding", "--json"))
    assert report[str(path)]["models"] == 1


def test_sources_are_listed_with_what_is_missing_and_unknown(
    synthetic_data: Path, tmp_path: Path, run: Run
) -> None:
    folder = data_folder(synthetic_data, tmp_path)
    write(folder / "stranger.parquet", {"prompt_id": ["a"]})
    report = json.loads(run("sources", "--data", folder, "--json"))
    source = {entry["name"]: entry for entry in report["sources"]}
    found = source["mmlu_pro"]
    assert (found["rows"], found["prompts"], found["models"]) == (400, 400, 3)
    assert found["kinds"] == {"multiple_choice_exam": 400}
    assert (found["licence"], found["ships"], found["judge"]) == ("Apache-2.0", True, None)
    assert source["shaberi_ja_gpt41"]["judge"] == "gpt-4.1"
    assert source["kor_bench"]["rows"] is None
    assert "kor_bench.parquet" in report["missing_files"]
    assert "mmlu_pro.parquet" not in report["missing_files"]
    assert report["unknown_files"] == ["stranger.parquet"]
    shown = run("sources", "--data", folder)
    assert "missing: kor_bench.parquet\n" in shown
    assert "not registered: stranger.parquet\n" in shown


def test_overlaps_are_listed(synthetic_data: Path, tmp_path: Path, run: Run) -> None:
    folder = data_folder(synthetic_data, tmp_path)
    report = json.loads(run("overlaps", "--data", folder, "--json"))
    assert report["pairs"] == []
    assert {entry["source"]: entry["prompts"] for entry in report["sources"]} == {
        "mmlu_pro": 400,
        "mmlu_routellm": 400,
    }
    assert "mmlu_routellm" in run("overlaps", "--data", folder)
    code, _, error = run.code("overlaps", "--data", tmp_path / "nowhere")
    assert code == 2
    assert re.fullmatch(r"error: .*nowhere: no file of a registered source; .*\n", error)


@pytest.mark.parametrize(
    "arguments",
    [
        ("convert", "x", "--format", "excel", "--out", "o"),
        ("convert", "x", "--format", "routellm"),
        ("convert", "x.csv", "--format", "routellm", "--out", "o", "--split", "test"),
        ("convert", "x.json", "--format", "huggingface", "--out", "o", "--map", "prompt"),
        ("check", "nowhere.parquet"),
    ],
)
def test_wrong_arguments_are_refused(run: Run, arguments: tuple[str, ...]) -> None:
    code, _, error = run.code(*arguments)
    assert code == 2
    assert error


def test_help_names_the_formats(run: Run) -> None:
    shown = re.sub(r"[│\s]", "", run("convert", "--help"))
    for name in ("routerbench", "mmlu-pro", "huggingface", "battles"):
        assert name in shown
