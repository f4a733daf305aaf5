"""``routoo-export grade``: outcomes that training reads, one line where it cannot go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from routoo.predictor.artifact import load_artifact
from routoo_export.cli.app import main
from routoo_export.outcomes.outcomes import read_metadata, read_outcomes
from support.artifacts.explored_log import write_explored_log
from support.artifacts.tiny_artifact import write_tiny_artifact

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.peers.scripted_llm import ScriptedLlm

CHEAP, GOOD, JUDGE = "ours/cheap", "ours/good", "ours/judge"


class Run(Protocol):
    def __call__(self, *arguments: object, budget: float = 1.0) -> tuple[int, str, str]: ...


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """Ten sums with their results; of one of them, 2+2, both models know the result."""
    path = tmp_path / "sums.jsonl"
    lines = [
        {"prompt": f"2+{one}", "reference": 2 + one, "grader": "numeric", "domain": "sums"}
        for one in range(10)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def run(
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, budget: float = 1.0) -> tuple[int, str, str]:
        fixed = ("--config", config, "--out", "out.parquet", "--licence", "CC0-1.0", "--work", "w")
        every = ("routoo-export", "grade", *arguments, *fixed, "--budget-usd", budget)
        monkeypatch.setattr(sys, "argv", [str(one) for one in every])
        capsys.readouterr()  # what a fixture has logged
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run


BOTH = ("--model", CHEAP, "--model", GOOD)


def test_answers_are_graded_and_written_as_outcomes(
    run: Run, sums: Path, llm: ScriptedLlm, tmp_path: Path
) -> None:
    code, out, _ = run(sums, *BOTH, "--json")
    assert code == 0
    told = json.loads(out)
    assert (told["graded"], told["outcomes"], told["calls"]) == (20, 20, 20)
    assert told["spent_usd"] == pytest.approx(10 * (30 + 210) / 1e6)
    outcomes = read_outcomes(tmp_path / "out.parquet")
    assert outcomes.models == (CHEAP, GOOD)
    assert outcomes.scores.mean(axis=0).tolist() == [0.1, 1.0]
    assert outcomes.cost_usd[0].tolist() == pytest.approx([30e-6, 210e-6])
    assert set(outcomes.domains) == {"sums"}
    assert read_metadata(tmp_path / "out.parquet")["licence"] == "CC0-1.0"
    again = json.loads(run(sums, *BOTH, "--json")[1])
    assert (again["graded"], again["graded_before"], again["calls"]) == (0, 20, 0)
    assert again["spent_usd"] == pytest.approx(told["spent_usd"])
    assert len(llm.asked) == 20


def test_a_cap_that_is_reached_is_told_and_more_money_goes_on(
    run: Run, sums: Path, llm: ScriptedLlm
) -> None:
    code, out, err = run(sums, *BOTH, "--json", "--max-tokens", 100, budget=2e-3)
    told = json.loads(out)
    assert code == 1
    assert told["spent_usd"] <= 2e-3
    assert 0 < told["graded"] == 20 - told["without_money"] < 20
    assert f"{GOOD}: the cap of $0.002 leaves no room" in err
    code, out, _ = run(sums, *BOTH, "--json", "--max-tokens", 100)
    assert (code, json.loads(out)["outcomes"]) == (0, 20)
    assert len(llm.asked) == 20


def test_a_model_that_is_down_leaves_the_others_graded(
    run: Run, sums: Path, llm: ScriptedLlm
) -> None:
    usual = llm.answer
    llm.answer = lambda asked: (400, b"{}") if asked["model"] == "cheap" else usual(asked)
    code, out, err = run(sums, *BOTH, "--json")
    told = json.loads(out)
    assert (code, told["graded"], told["without_answer"]) == (1, 10, 10)
    assert f"{CHEAP}: ours/cheap: HTTP status 400" in err
    llm.answer = usual
    assert json.loads(run(sums, *BOTH, "--json")[1])["outcomes"] == 20


def _labels(path: Path, winner: Callable[[int], str]) -> Path:
    lines = [
        {"prompt": str(n), "answer_a": "much longer", "answer_b": "short", "winner": winner(n)}
        if n % 2
        else {"prompt": str(n), "answer_a": "s", "answer_b": "longer", "winner": winner(n)}
        for n in range(40)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_judge_grades_after_it_was_measured(run: Run, sums: Path, tmp_path: Path) -> None:
    labels = _labels(tmp_path / "labels.jsonl", lambda n: "a" if n % 2 else "b")
    prompts = tmp_path / "bare.jsonl"
    prompts.write_text('{"prompt": "2+3"}\n{"prompt": "2+4"}\n')
    asked = ("--grader", "judge", "--judge", JUDGE, "--baseline", CHEAP, "--judge-labels", labels)
    code, out, _ = run(prompts, *BOTH, *asked, "--json")
    told = json.loads(out)
    assert code == 0
    assert told["agreement"]["kappa"] == pytest.approx(1.0)
    assert told["judge"]["first_share"] == 0.5
    outcomes = read_outcomes(tmp_path / "out.parquet")
    assert outcomes.scores.tolist() == [[0.5, 1.0], [0.5, 1.0]]


def test_a_judge_that_is_not_measured_or_disagrees_is_refused(
    run: Run, sums: Path, tmp_path: Path, llm: ScriptedLlm
) -> None:
    judge = ("--grader", "judge", "--judge", JUDGE, "--baseline", CHEAP)
    code, _, err = run(sums, *BOTH, *judge)
    assert code == 2
    assert "give --judge-labels FILE with at least 30 labelled pairs" in err
    labels = _labels(tmp_path / "labels.jsonl", lambda n: "b" if n % 2 else "a")
    code, _, err = run(sums, *BOTH, *judge, "--judge-labels", labels)
    assert code == 2
    assert "the judge agrees with the labels by a kappa of -1.00" in err
    assert not llm.of("good")
    code, out, _ = run(sums, *BOTH, *judge, "--judge-labels", labels, "--trust-judge", "--json")
    assert (code, json.loads(out)["outcomes"]) == (0, 20)


def test_a_judge_that_answers_prose_is_given_up(run: Run, sums: Path, llm: ScriptedLlm) -> None:
    usual = llm.answer
    llm.answer = lambda asked: "Both are fine." if asked["model"] == "judge" else usual(asked)
    judge = ("--grader", "judge", "--judge", JUDGE, "--trust-judge")
    code, out, err = run(sums, *BOTH, *judge, "--json")
    assert code == 1
    assert json.loads(out)["outcomes"] == 0
    assert "no verdict" in err


def test_a_person_grades_and_goes_on_another_day(
    run: Run, sums: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = iter(["y", "s", "q"])
    monkeypatch.setattr("builtins.input", lambda _: next(keys))
    told = json.loads(run(sums, *BOTH, "--grader", "person", "--json")[1].splitlines()[-1])
    assert (told["graded"], told["without_grade"]) == (1, 19)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    told = json.loads(run(sums, *BOTH, "--grader", "person", "--json")[1].splitlines()[-1])
    assert (told["graded"], told["graded_before"], told["calls"]) == (19, 1, 0)
    assert read_outcomes(tmp_path / "out.parquet").scores.sum() == 1.0


@pytest.fixture
async def log(tmp_path: Path) -> Path:
    """Sixty decisions with prompts, without grades."""
    write_tiny_artifact(tmp_path / "predictor")
    artifact = load_artifact(tmp_path / "predictor")
    return await write_explored_log(artifact, tmp_path / "log", decisions=60, graded=0.0)


def test_a_decision_log_is_sampled_and_reports_are_written(
    run: Run, tmp_path: Path, config: Path, llm: ScriptedLlm, log: Path
) -> None:
    for name in (config, config.with_name("pool.yaml")):
        text = name.read_text().replace("ours/cheap", "small").replace("ours/good", "large")
        name.write_text(text.replace("ours:", "'*':"))
    judge = ("--grader", "judge", "--judge", JUDGE, "--baseline", "small", "--trust-judge")
    models = ("--model", "small", "--model", "large")
    asked = (*models, *judge, "--prompts", 12, "--reports", "reports.jsonl", "--json")

    def answer(request: dict[str, Any]) -> str:
        return '{"winner": "first"}' if request["model"] == JUDGE else request["model"]

    llm.answer = answer
    code, out, err = run(log, *asked)
    assert code == 0, err
    told = json.loads(out)
    assert told["outcomes"] == 24
    reports = [json.loads(line) for line in (tmp_path / "reports.jsonl").read_text().splitlines()]
    decided = {
        line["id"]: line["model"]
        for line in map(json.loads, log.read_text().splitlines())
        if line["kind"] == "decision"
    }
    assert reports
    assert all(decided[one["decision_id"]] in ("small", "large") for one in reports)
    assert {one["score"] for one in reports} == {0.5}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": ""}', "line 1: prompt is missing or empty"),
        ("what", "line 1: no JSON"),
        ("[1]", "line 1: no object"),
        ('{"prompt": "x", "grader": "numeric"}', "line 1: the grader numeric needs a reference"),
        ('{"prompt": "x", "grader": "tests"}', "line 1: the grader tests needs tests"),
        ('{"prompt": "x", "grader": "regex", "reference": "("}', "line 1: the reference '('"),
        ('{"prompt": "x"}', "no prompt has a reference or tests"),
        ("", "no prompt"),
        (
            '{"id": 1, "prompt": "x", "reference": "1"}\n{"id": 1, "prompt": "y"}',
            "line 2: the id '1' has two prompts",
        ),
    ],
)
def test_prompts_that_do_not_fit_are_one_line(
    run: Run, tmp_path: Path, llm: ScriptedLlm, line: str, message: str
) -> None:
    (tmp_path / "bad.jsonl").write_text(f"{line}\n")
    code, _, err = run("bad.jsonl", *BOTH)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not llm.asked


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "ours/none"), "unknown model 'ours/none'"),
        (("--grader", "judge"), "needs --judge MODEL"),
        (("--grader", "judge", "--judge", JUDGE, "--judge-labels", "none"), "none: cannot be read"),
    ],
)
def test_options_that_do_not_fit_are_one_line(
    run: Run, sums: Path, llm: ScriptedLlm, arguments: tuple[str, ...], message: str
) -> None:
    code, _, err = run(sums, *arguments)
    assert code == 2
    assert message in err
    assert not llm.asked


def test_a_run_that_is_killed_goes_on_and_counts_nothing_twice(
    run: Run, sums: Path, llm: ScriptedLlm, config: Path, tmp_path: Path
) -> None:
    usual, arrived, killed = llm.answer, threading.Event(), threading.Event()

    def held(asked: dict[str, Any]) -> str | tuple[int, bytes]:
        if len(llm.asked) == 7:
            arrived.set()
            killed.wait()
        return usual(asked)

    llm.answer = held
    fixed = ("--config", config, "--out", "out.parquet", "--licence", "CC0-1.0", "--work", "w")
    arguments = [sums, *BOTH, *fixed, "--budget-usd", 1, "--at-once", 1, "--max-tokens", 100]
    script = "from routoo_export.cli.app import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", script, "grade", *map(str, arguments)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert arrived.wait(120)
    finally:
        process.kill()
        process.wait()
        killed.set()
    grades = tmp_path / "w" / "grades.jsonl"
    assert len(grades.read_bytes().splitlines()) == 6
    with grades.open("ab") as file:
        file.write(b'{"prompt_id": "cut o')
    code, out, _ = run(sums, *BOTH, "--json", "--max-tokens", 100)
    told = json.loads(out)
    assert (code, told["outcomes"], told["graded_before"]) == (0, 20, 6)
    # What was asked when the run was killed may be billed, and is asked again.
    assert len(llm.asked) == 21
    answered = 10 * (30 + 210) / 1e6
    assert answered < told["spent_usd"] < answered + 1.2e-3
