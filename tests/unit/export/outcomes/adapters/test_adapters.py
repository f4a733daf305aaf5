"""Each published format, on a small file written as its project writes it."""

from __future__ import annotations

import csv
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.adapters.formats import ADAPTERS
from routoo_export.outcomes.adapters.routerbench import CUT_NOTE
from routoo_export.outcomes.bad_rows import BadRows

if TYPE_CHECKING:
    from pathlib import Path

    from routoo_export.outcomes.columns import OutcomeGrid

NAN = float("nan")
MIXTRAL, GPT4 = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"


def convert(source_format: str, *inputs: Path, skip: bool = False) -> tuple[OutcomeGrid, BadRows]:
    bad = BadRows(skip=skip)
    return ADAPTERS[source_format]([str(path) for path in inputs], bad), bad


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_json(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_jsonl(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


MMLU = [
    {"prompt": "Is 4 even?\nA. yes\nB. no\nAnswer:", MIXTRAL: "True", GPT4: "True"},
    {"prompt": 'Say "a, b"\nA. 1\nB. 2\nAnswer:', MIXTRAL: "False", GPT4: ""},
]


def test_routellm_folder(tmp_path: Path) -> None:
    write_csv(tmp_path / "mmlu_anatomy.csv", MMLU)
    gsm8k = {"prompt": "2 + 2?", MIXTRAL: "False", GPT4: "True"}
    answers = {f"{MIXTRAL}_response": "", f"{GPT4}_response": "It is four. 4"}
    write_csv(tmp_path / "gsm8k_responses.csv", [{**gsm8k, **answers}])
    grid, _ = convert("routellm", tmp_path)
    assert grid.models == (MIXTRAL, GPT4)
    assert grid.prompt_ids == ("gsm8k_responses-0", "mmlu_anatomy-0", "mmlu_anatomy-1")
    assert grid.domains == ("gsm8k", "anatomy", "anatomy")
    assert grid.prompts[2] == MMLU[1]["prompt"]
    np.testing.assert_array_equal(grid.scores, [[0, 1], [1, 1], [0, NAN]])
    np.testing.assert_array_equal(grid.output_tokens[0], [NAN, 13 / 4])
    assert grid.cost_kind == "none"


def test_routellm_refuses_a_grade_that_is_none(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "mmlu_anatomy.csv", [MMLU[0], {**MMLU[1], MIXTRAL: "perhaps"}])
    with pytest.raises(OutcomeError, match=r"mmlu_anatomy.csv: row 1: score is not a number"):
        convert("routellm", path)
    grid, bad = convert("routellm", path, skip=True)
    assert bad.skipped == {"score is not a number": 1}
    assert grid.prompt_ids == ("mmlu_anatomy-0",)


def test_a_ragged_csv_row_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "mmlu_anatomy.csv", MMLU)
    path.write_text(path.read_text() + "one,True,True,more\n")
    with pytest.raises(OutcomeError, match="row 2: not as many cells"):
        convert("routellm", path)


def test_routerdc(tmp_path: Path) -> None:
    record = {
        "question": "Who?\nA. a\nB. b\nAnswer:",
        "scores": {"m1": 0.41, "m2": 0.0, "m3": None},
    }
    write_json(tmp_path / "mmlu_test.json", [record])
    write_json(tmp_path / "gsm8k-train.json", [{"question": "1?", "scores": {"m1": 0.3, "m2": 1}}])
    grid, _ = convert("routerdc", tmp_path)
    assert grid.domains == ("gsm8k", "mmlu")
    assert grid.prompt_ids == ("gsm8k-train-0", "mmlu_test-0")
    # A probability of the right choice is right or wrong; a share of samples stays one.
    np.testing.assert_array_equal(grid.scores, [[0.3, 1.0], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"question": "Who?"}], "row 0: field 'scores' is missing"),
        ([{"question": "Who?", "scores": [1]}], "row 0: scores is not an object"),
        ([{"question": "Who?", "scores": {"m": -2}}], "row 0: score is outside"),
        ([{"question": "Who?", "scores": {"m": "x"}}], "row 0: score is not a number"),
        ([{"question": 7, "scores": {"m": 1}}], "row 0: prompt is not text"),
        ([{"question": " ", "scores": {"m": 1}}], "row 0: prompt is empty"),
        (["Who?"], "row 0: not a JSON object"),
        ({"question": "Who?"}, "not an array of rows"),
        ([], "holds no outcome"),
    ],
)
def test_bad_routerdc_is_refused(tmp_path: Path, content: object, message: str) -> None:
    path = write_json(tmp_path / "mmlu_test.json", content)
    with pytest.raises(OutcomeError) as caught:
        convert("routerdc", path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def mmlu_pro(question_id: int, pred: str | None, text: str) -> dict[str, Any]:
    return {
        "question_id": question_id,
        "question": f"Question {question_id}?",
        "options": ["first", "second", "N/A"],
        "answer": "B",
        "answer_index": 1,
        "cot_content": "",
        "category": "biology",
        "src": "ori_mmlu-high_school_biology",
        "pred": pred,
        "model_outputs": text,
    }


def test_mmlu_pro_files_zips_and_folders(tmp_path: Path) -> None:
    records = [
        mmlu_pro(1, "B", "12345678"),
        mmlu_pro(2, "A", "The answer is (B)."),
        mmlu_pro(3, None, "So the answer is (B)."),
        mmlu_pro(4, None, "Final Answer: B"),
        mmlu_pro(5, None, "It can only be B, i think"),
        mmlu_pro(6, None, "no idea"),
    ]
    write_json(tmp_path / "model_outputs_Yi-6B_5shots.json", records)
    with zipfile.ZipFile(tmp_path / "model_outputs_gemini-1.5_5shots.zip", "w") as archive:
        archive.writestr("model_outputs_gemini-1.5_5shots.json", json.dumps(records[:1]))
        archive.writestr("__MACOSX/._model_outputs_gemini-1.5_5shots.json", b"\x00\x01")
    folder = tmp_path / "gpt4o"
    folder.mkdir()
    answered = {**records[5], "response": "It is\n\nB"}
    del answered["model_outputs"]
    write_json(folder / "biology_result.json", [answered])
    write_json(folder / "biology_summary.json", {"total": {"acc": 1.0}})
    grid, _ = convert("mmlu-pro", tmp_path)
    assert sorted(grid.models) == ["Yi-6B", "gemini-1.5", "gpt4o"]
    column = {model: grid.scores[:, j] for j, model in enumerate(grid.models)}
    row = {prompt_id: i for i, prompt_id in enumerate(grid.prompt_ids)}
    in_order = [row[f"mmlupro-{number}"] for number in range(1, 7)]
    np.testing.assert_array_equal(column["Yi-6B"][in_order], [1, 0, 1, 1, 1, 0])
    np.testing.assert_array_equal(column["gemini-1.5"][in_order], [1, *[NAN] * 5])
    np.testing.assert_array_equal(column["gpt4o"][in_order], [*[NAN] * 5, 1])
    assert grid.prompts[row["mmlupro-1"]] == "Question 1?\nA. first\nB. second"
    assert set(grid.domains) == {"biology"}
    assert grid.output_tokens[row["mmlupro-1"], grid.models.index("Yi-6B")] == 2.0


def test_mmlu_pro_in_two_versions_is_refused(tmp_path: Path) -> None:
    changed = {**mmlu_pro(1, "B", ""), "options": ["other", "options"]}
    a = write_json(tmp_path / "model_outputs_a_5shots.json", [mmlu_pro(1, "B", "")])
    b = write_json(tmp_path / "model_outputs_b_5shots.json", [mmlu_pro(2, "B", ""), changed])
    with pytest.raises(OutcomeError) as caught:
        convert("mmlu-pro", a, b)
    assert f"{b}: row 1: prompt differs" in str(caught.value)
    assert f"{a}: row 0" in str(caught.value)
    grid, bad = convert("mmlu-pro", a, b, skip=True)
    assert bad.skipped.total() == 1
    np.testing.assert_array_equal(grid.scores, [[1, NAN], [NAN, 1]])


def test_a_broken_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model_outputs_a_5shots.zip"
    path.write_bytes(b"PK nothing")
    with pytest.raises(OutcomeError, match="not a readable zip"):
        convert("mmlu-pro", path)


def llmrouter(model: str, **change: object) -> dict[str, Any]:
    return {
        "task_name": "mmlu",
        "query": "What is the capital of France?",
        "ground_truth": "A",
        "metric": "em_mc",
        "choices": '{"text": ["Paris", "London"], "labels": ["A", "B"]}',
        "task_id": None,
        "model_name": model,
        "response": "(A)",
        "token_num": 453,
        "input_tokens": 449,
        "output_tokens": 4,
        "response_time": 1.5,
        "api_key_used": "",
        "performance": 1.0,
        "embedding_id": 42,
        "user_id": None,
        "fig_id": None,
        **change,
    }


def test_llmrouter(tmp_path: Path) -> None:
    gsm8k = {"task_name": "gsm8k", "query": "2+2?", "metric": "GSM8K", "choices": None}
    tests = {"task_name": "mbpp", "query": "Add.", "metric": "code_eval", "choices": '["assert"]'}
    path = write_jsonl(
        tmp_path / "default_routing_train_data.jsonl",
        [
            llmrouter("llama3"),
            llmrouter("gpt", performance=0.25, response_time=None),
            llmrouter("gpt", **gsm8k),
            llmrouter("gpt", **tests),
        ],
    )
    grid, _ = convert("llmrouter", path)
    assert grid.models == ("llama3", "gpt")
    assert grid.prompts == ("What is the capital of France?\nA. Paris\nB. London", "2+2?", "Add.")
    assert grid.domains == ("mmlu", "gsm8k", "mbpp")
    np.testing.assert_array_equal(grid.scores, [[1, 0.25], [NAN, 1], [NAN, 1]])
    assert grid.latency_ms is not None
    assert grid.input_tokens is not None
    np.testing.assert_array_equal(grid.latency_ms[0], [1500, NAN])
    assert grid.input_tokens[0, 0] == 449
    assert grid.output_tokens[0, 0] == 4


def test_the_mark_of_an_editor_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "routing.jsonl", [llmrouter("llama3"), llmrouter("gpt")])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    grid, _ = convert("llmrouter", path)
    assert grid.models == ("llama3", "gpt")


def test_bad_llmrouter_lines_are_skipped_by_reason(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "routing.jsonl",
        [
            llmrouter("a"),
            llmrouter("b", performance=None),
            llmrouter("b", performance=1.2),
            {"query": "no model"},
            llmrouter("a", performance=0.0, query="other"),
        ],
    )
    path.write_text(path.read_text() + "{broken\n\n")
    with pytest.raises(OutcomeError, match=r"routing.jsonl: row 3: field 'model_name' is missing"):
        convert("llmrouter", path)
    grid, bad = convert("llmrouter", path, skip=True)
    assert bad.skipped == {
        "field 'model_name' is missing": 1,
        "not a JSON object": 1,
        "score is missing": 1,
        "score is outside [0, 1]": 1,
    }
    np.testing.assert_array_equal(grid.scores, [[1], [0]])


def routerbench(sample: str, prompt: object) -> dict[str, Any]:
    return {
        "sample_id": sample,
        "prompt": prompt,
        "eval_name": "arc-challenge",
        "gpt-4-1106-preview": 1.0,
        "gpt-4-1106-preview|model_response": "['A) this']",
        "gpt-4-1106-preview|total_cost": 0.00123,
        "mistralai/mixtral-8x7b-chat": 0.25,
        "mistralai/mixtral-8x7b-chat|model_response": "",
        "mistralai/mixtral-8x7b-chat|total_cost": 4.2e-05,
        "oracle_model_to_route_to": "mistralai/mixtral-8x7b-chat",
    }


def assert_is_routerbench(grid: OutcomeGrid) -> None:
    assert grid.models == ("gpt-4-1106-preview", "mistralai/mixtral-8x7b-chat")
    assert grid.cost_kind == "true"
    np.testing.assert_array_equal(grid.cost_usd[0], [0.00123, 4.2e-05])
    np.testing.assert_array_equal(grid.scores[0], [1.0, 0.25])
    np.testing.assert_array_equal(grid.output_tokens[0], [7 / 4, NAN])
    assert set(grid.domains) == {"arc-challenge"}


def test_routerbench_csv(tmp_path: Path) -> None:
    question = "Why?\nA) this\nB) that\nPrint only a single choice.\nAnswer:"
    shots = f"Please answer with the letter of the correct answer.\n\n{question}\nB\n\n"
    rows = [
        routerbench("arc.1", repr([question])),
        routerbench("arc.2", repr([shots * 5 + question])),
        routerbench("arc.3", "[a list?] no, text"),
        {**routerbench("arc.4", "both turns"), "gpt-4-1106-preview": ""},
    ]
    grid, bad = convert("routerbench", write_csv(tmp_path / "routerbench_5shot.csv", rows))
    assert_is_routerbench(grid)
    assert grid.prompts == (question, question, "[a list?] no, text", "both turns")
    assert bad.notes[CUT_NOTE] == 1
    assert np.isnan(grid.scores[3, 0])
    assert grid.scores[3, 1] == 0.25


def test_routerbench_without_models_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "x.csv", [{"sample_id": "1", "prompt": "p", "eval_name": "e"}])
    with pytest.raises(OutcomeError, match="total_cost"):
        convert("routerbench", path)


@pytest.mark.parametrize("source_format", sorted(ADAPTERS))
def test_what_is_not_there_is_named(tmp_path: Path, source_format: str) -> None:
    with pytest.raises(OutcomeError, match="nowhere"):
        convert(source_format, tmp_path / "nowhere")


@pytest.mark.parametrize("source_format", sorted(set(ADAPTERS) - {"parquet"}))
def test_files_of_another_kind_and_empty_folders_are_refused(
    tmp_path: Path, source_format: str
) -> None:
    with pytest.raises(OutcomeError, match="in this folder"):
        convert(source_format, tmp_path)
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(OutcomeError, match=r"notes.txt: not a .* file; check --format"):
        convert(source_format, path)
