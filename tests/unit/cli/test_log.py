"""``routoo explain`` and ``routoo tail``: what they show of a decision log."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import orjson
import pytest

from routoo.predictor.artifact import load_artifact
from routoo.routing.outcome import OutcomeReport
from routoo.routing.request import PromptRequest
from routoo.telemetry.decision_log.lookup import followed
from support.logged_engine import logged_engine
from support.processes.process import ENVIRONMENT, ROUTOO, write_tiny_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.processes.command_line import Run


@pytest.fixture
async def log(tmp_path: Path) -> Path:
    """Three decisions, the last of which is reported."""
    write_tiny_config(tmp_path)
    artifact = load_artifact(tmp_path / "predictor")
    async with logged_engine(artifact, tmp_path / "log") as engine:
        for prompt in ("hard", "easy", "long"):
            decision = await engine.route(PromptRequest(prompt, tenant="team-a"))
        await engine.report(OutcomeReport(decision.decision_id, score=0.5, cost_usd=0.125))
    return tmp_path / "log"


def _decisions(log: Path) -> list[dict[str, object]]:
    lines = map(orjson.loads, log.read_bytes().splitlines())
    return [line for line in lines if line["kind"] == "decision"]


def test_a_decision_is_explained_with_all_models_and_its_outcome(run: Run, log: Path) -> None:
    last = _decisions(log)[-1]
    shown = run("explain", str(last["id"]), str(log))
    assert shown.code == 0
    assert shown.out.splitlines()[0] == last["model"]
    for name in ("small", "medium", "large"):
        assert name in shown.out
    assert "team-a" in shown.out
    assert "reported: score 0.5000, $0.125" in shown.out


def test_a_decision_without_a_report_says_so(run: Run, log: Path) -> None:
    shown = run("explain", str(_decisions(log)[0]["id"]), str(log))
    assert shown.out.endswith("nothing was reported of it\n")


def test_what_closed_a_model_and_held_a_session_is_told(run: Run, log: Path) -> None:
    lines = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    decision = next(line for line in lines if line["kind"] == "decision")
    decision |= {"eligible": "100", "healthy": "001", "limited": "001", "fallbacks": ["large"]}
    decision["session"] = {"stay": "TOOL_LOOP"}
    told = {"kind": "outcome", "id": decision["id"], "failed": True}
    told["usage"] = {"input_tokens": 1000, "output_tokens": 1}
    log.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in [*lines, told]))
    shown = run("explain", decision["id"], str(log)).out.splitlines()
    rows = {line.strip("* ").split()[0]: line for line in shown if "$" in line and "  " in line}
    assert rows["small"].endswith("yes, though it fails")
    assert rows["medium"].endswith("no: health")
    assert rows["large"].endswith("no: limits of providers")
    assert any(line.split() == ["stays", "for", "tool", "loop"] for line in shown)
    assert any(line.split() == ["if", "it", "fails", "large"] for line in shown)
    assert shown[-1] == "reported: error, 1,000 input tokens, 1 output token"


def test_json_holds_the_lines_as_they_are(run: Run, log: Path) -> None:
    last = _decisions(log)[-1]
    told = orjson.loads(run("explain", str(last["id"]), str(log), "--json").out)
    assert told["decision"] == last
    assert [line["kind"] for line in told["after"]] == ["outcome"]


def test_an_unknown_decision_names_the_sample_and_older_files(run: Run, log: Path) -> None:
    failed = run("explain", "nobody-1", str(log))
    assert failed.code == 2
    assert "no decision 'nobody-1'" in failed.err
    assert "sample_ratio" in failed.err


@pytest.mark.parametrize("command", [["explain", "x-1"], ["tail"]])
def test_a_file_that_is_missing_is_named(run: Run, tmp_path: Path, command: list[str]) -> None:
    failed = run(*command, str(tmp_path / "none"))
    assert failed.code == 2
    assert f"{tmp_path / 'none'}: cannot be read" in failed.err


def test_tail_shows_a_line_for_each_decision_and_report(run: Run, log: Path) -> None:
    decisions = _decisions(log)
    with log.open("ab") as file:
        file.write(b'{"kind": "decision", "id": ')  # cut off
    shown = run("tail", str(log), "--no-follow")
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert [line.split()[1] for line in lines[:3]] == [one["id"] for one in decisions]
    assert len(lines) == 4
    assert "reported: score 0.500" in lines[3]


@pytest.mark.parametrize("command", [("tail", "--no-follow"), ("explain",), ("spend",)])
def test_names_of_callers_cannot_steer_a_terminal(
    run: Run, log: Path, command: tuple[str, ...]
) -> None:
    words = [*command, str(_decisions(log)[0]["id"])] if command == ("explain",) else [*command]
    steering = orjson.dumps("team\x1b[2J\x07")
    log.write_bytes(log.read_bytes().replace(b'"team-a"', steering))
    shown = run(*words, str(log))
    assert "team?[2J?" in shown.out
    assert shown.out.replace("\n", "").isprintable()


def test_tail_shows_what_is_added_while_it_runs(log: Path) -> None:
    line = log.read_bytes().splitlines()[-1]
    command = [sys.executable, *ROUTOO, "tail", str(log), "--from-start", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        watch = threading.Timer(60, process.kill)
        watch.start()
        there = len(log.read_bytes().splitlines())
        seen = [process.stdout.readline() for _ in range(there)]
        with log.open("ab") as file:
            file.write(line + b"\n")
        added = process.stdout.readline()
        watch.cancel()
        process.terminate()
    assert len(seen) == there
    assert orjson.loads(added) == orjson.loads(line)


def test_lines_are_followed_into_the_file_that_replaces_a_full_one(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"id": "a"}\n')

    def waits() -> Iterator[None]:
        yield None
        with path.open("ab") as file:
            file.write(b'{"id": "b"}\n{"id"')
        yield None
        with path.open("ab") as file:
            file.write(b': "c"}\n')
        path.rename(tmp_path / "log.1")
        path.write_bytes(b'{"id": "d"}\n')
        yield None
        yield None

    found = followed(path, from_start=True, waits=waits())
    assert [values["id"] for values in found] == ["a", "b", "c", "d"]


def test_nothing_is_lost_when_a_line_comes_just_before_the_file_is_replaced(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"id": "a"}\n')

    def waits() -> Iterator[None]:
        yield None
        with path.open("ab") as file:
            file.write(b'{"id": "b"}\n')
            path.rename(tmp_path / "log.1")
            path.write_bytes(b'{"id": "d"}\n')
            file.write(b'{"id": "c"}\n')
        yield None
        yield None

    found = followed(path, from_start=True, waits=waits())
    assert [values["id"] for values in found] == ["a", "b", "c", "d"]


def test_a_file_that_is_emptied_in_its_place_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"id": "a"}\n{"id": "b"}\n')

    def waits() -> Iterator[None]:
        yield None
        path.write_bytes(b'{"id": "c"}\n')
        yield None
        yield None

    found = followed(path, from_start=True, waits=waits())
    assert [values["id"] for values in found] == ["a", "b", "c"]


def test_a_decision_is_explained_over_a_log_in_several_files(
    run: Run, log: Path, tmp_path: Path
) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    ids = [str(one["id"]) for one in _decisions(log)]
    files = []
    for number, line in enumerate(lines):  # the setup stands in the first one alone
        files.append(str(tmp_path / f"log.{len(lines) - number}"))
        (tmp_path / files[-1]).write_bytes(line)
    for one in ids:
        whole = run("explain", one, str(log))
        assert whole.code == 0
        assert run("explain", one, *files).out == whole.out
        assert run("explain", one, *reversed(files)).out == whole.out
    assert run("explain", ids[0], *files[:1]).code == 2
