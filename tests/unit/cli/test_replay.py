"""``routoo replay``: its output, its lines on stderr, and its exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from routoo.predictor.artifact import load_artifact
from routoo.routing.outcome import OutcomeReport
from routoo.routing.request import PromptRequest
from support.artifacts.explored_log import write_explored_log
from support.logged_engine import logged_engine, rewritten
from support.processes.process import write_tiny_config

if TYPE_CHECKING:
    from pathlib import Path

    from support.processes.command_line import Run


@pytest.fixture
async def explored(tmp_path: Path) -> Path:
    """A log whose decisions were explored and graded."""
    write_tiny_config(tmp_path)
    artifact = load_artifact(tmp_path / "predictor")
    return await write_explored_log(artifact, tmp_path / "explored")


@pytest.fixture
async def log(tmp_path: Path) -> Path:
    """Three decisions, one reported; and the configuration that they were made with."""
    write_tiny_config(tmp_path)
    artifact = load_artifact(tmp_path / "predictor")
    async with logged_engine(artifact, tmp_path / "log") as engine:
        for prompt in ("hard", "easy", "long"):
            decision = await engine.route(PromptRequest(prompt))
        await engine.report(OutcomeReport(decision.decision_id, score=0.5, cost_usd=0.125))
    return tmp_path / "log"


def test_the_same_decisions_exit_with_0(run: Run, log: Path) -> None:
    found = run("replay", str(log))
    assert found.code == 0
    assert found.out.startswith("3 decisions reproduced bit for bit\n")
    assert found.err == ""


def test_other_decisions_are_shown_and_exit_with_1(run: Run, log: Path) -> None:
    rewritten(log, model=lambda _: "large")
    found = run("replay", str(log.with_name("changed.jsonl")))
    assert found.code == 1
    assert found.out.startswith("3 of 3 decisions came out otherwise\n")
    assert found.out.splitlines()[4].split()[1:] == ["model", "large", "medium"]
    as_json = orjson.loads(run("replay", str(log.with_name("changed.jsonl")), "--json").out)
    first = as_json["mismatches"][0]
    assert first.pop("decision_id").startswith("test-")
    assert first == {"what": "model", "logged": "large", "replayed": "medium"}


def test_a_line_that_is_cut_off_is_told_on_stderr(run: Run, log: Path) -> None:
    with log.open("ab") as file:
        file.write(b'{"kind":"decision","id":')
    found = run("replay", str(log))
    assert found.code == 0
    assert found.err == f"warning: {log}:6: 1 line is left out: cut off in the middle\n"


def test_another_policy_is_shown_beside(run: Run, log: Path) -> None:
    found = run("replay", str(log), "--policy", "best", "--json")
    compared = orjson.loads(found.out)
    assert compared["instead"] == "policy best"
    assert compared["as_decided"]["models"]["medium"] == 2
    assert compared["as_instead"]["models"]["large"] == 2
    assert compared["as_decided"]["reported"]["mean_score"] == 0.5
    assert compared["as_decided"]["reported"]["cost_usd"] == 0.125
    screen = run("replay", str(log), "--policy", "best").out
    assert screen.startswith("instead: policy best\n33.3 % of 3 decisions the same\n")
    assert "reported with a score" in screen


def test_another_configuration_is_shown_beside(run: Run, log: Path) -> None:
    config = log.with_name("config.yaml")
    found = run("replay", str(log), "--config", str(config), "--policy", "cheapest", "--json")
    compared = orjson.loads(found.out)
    assert compared["instead"].startswith(f"policy cheapest of {config} at ")
    assert compared["as_instead"]["models"] == {"small": 2, "medium": 1, "large": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.jsonl",), "none.jsonl: cannot be read: No such file or directory"),
        (("log", "--policy", "fixed"), "the log says nothing of the settings of policy fixed"),
        (("log", "--price", "-1"), "-1.0 is not a number of at least 0"),
        (("log", "--config", "none.yaml"), "none.yaml: cannot be read"),
    ],
)
def test_what_cannot_be_replayed_is_one_line(
    run: Run, log: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(log.parent)
    found = run("replay", *arguments)
    assert found.code == 2
    assert message in found.err
    assert found.err.count("\n") == 1


def test_the_value_of_another_policy_is_estimated(run: Run, explored: Path) -> None:
    found = run("replay", str(explored), "--policy", "best", "--value", "--json")
    assert found.code == 0
    judged = orjson.loads(found.out)
    assert judged["instead"] == "policy best"
    assert judged["quality"]["refusal"] == judged["cost_usd"]["refusal"] == ""
    robust = judged["quality"]["robust"]
    assert robust["interval"]["low"] < robust["value"] < robust["interval"]["high"]
    screen = run("replay", str(explored), "--policy", "best", "--value")
    assert screen.code == 0
    assert "instead, doubly robust" in screen.out
    assert "without support" in screen.out


def test_another_predictor_decides_by_the_logged_prompts(run: Run, explored: Path) -> None:
    same = run(
        "replay",
        str(explored),
        "--value",
        "--json",
        "--predictor",
        str(explored.parent / "predictor"),
    )
    assert same.code == 0
    judged = orjson.loads(same.out)
    assert judged["same"] < judged["decisions"] == 600
    plain = orjson.loads(run("replay", str(explored), "--value", "--json").out)
    # The same scores decide the same again.
    assert judged["same"] == plain["same"]
    assert judged["quality"] == plain["quality"]


def test_a_log_that_cannot_tell_exits_with_1(run: Run, log: Path) -> None:
    found = run("replay", str(log), "--policy", "best", "--value")
    assert found.code == 1
    assert "warning: cannot tell: no decision has a reported score" in found.err
    without = run("replay", str(log), "--value", "--predictor", str(log.parent / "predictor"))
    assert without.code == 2
    assert "set decision_log.prompts" in without.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--predictor", "predictor"), "--predictor goes with --value"),
        (("--value", "--most-weight", "0.5"), "0.5 is not a number of at least 1"),
        (("--value", "--predictor", "none"), "none"),
    ],
)
def test_options_of_values_that_do_not_fit_are_one_line(
    run: Run, log: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(log.parent)
    found = run("replay", "log", *arguments)
    assert found.code == 2
    assert message in found.err
    assert found.err.count("\n") == 1
