"""Decision logs become outcomes with partial feedback, joined by decision id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from routoo.predictor.artifact import load_artifact
from routoo.routing.outcome import OutcomeReport
from routoo.routing.request import PromptRequest
from routoo_export.autopilot.candidate import convert_logs
from routoo_export.errors import OutcomeError
from routoo_export.outcomes.adapters.decision_log import read_decision_logs
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.feature_prompts import is_feature_prompt
from routoo_export.outcomes.write import write_table
from routoo_export.training.supervision.partial_feedback import read_logged
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.logged_engine import lines_of, logged_engine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
async def log(tmp_path: Path) -> Path:
    """Four decisions: two graded, one whose provider failed, one that nobody reported."""
    write_tiny_artifact(tmp_path / "predictor")
    artifact = load_artifact(tmp_path / "predictor")
    path = tmp_path / "log.jsonl"
    async with logged_engine(artifact, path, log={"prompts": True}) as engine:
        ids = [
            (await engine.route(PromptRequest(prompt))).decision_id
            for prompt in ("hard", "easy", "long", "none")
        ]
        await engine.report(OutcomeReport(ids[0], score=0.5, cost_usd=0.125, latency_ms=12.0))
        await engine.report(OutcomeReport(ids[1], score=1.0, input_tokens=7, output_tokens=3))
        await engine.report(OutcomeReport(ids[2], error="HTTP status 503"))
    return path


def _read(path: Path, *more: Path, skip: bool = False) -> tuple[dict[str, list[Any]], BadRows]:
    bad = BadRows(skip=skip)
    return read_decision_logs([str(path), *map(str, more)], bad).to_pydict(), bad


def _added(log: Path, line: dict[str, Any] | bytes) -> Path:
    with log.open("ab") as file:
        file.write(line if isinstance(line, bytes) else orjson.dumps(line) + b"\n")
    return log


def test_graded_decisions_become_rows_and_the_others_are_counted(log: Path) -> None:
    found, bad = _read(log)
    decisions = lines_of(log)
    assert found["prompt_id"] == [one["id"] for one in decisions[:2]]
    assert found["prompt"] == ["hard", "easy"]
    assert found["model"] == [one["model"] for one in decisions[:2]]
    assert found["score"] == [0.5, 1.0]
    assert found["propensity"] == [1.0, 1.0]
    assert found["cost_usd"] == [0.125, None]
    assert found["output_tokens"] == [None, 3.0]
    assert found["latency_ms"] == [12.0, None]
    assert bad.notes == {"decisions whose provider failed": 1, "decisions without a report": 1}


def test_what_is_written_is_read_as_partial_feedback(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "logged.parquet"
    write_table(read_decision_logs([str(log)], BadRows()), out, {"name": "x", "licence": "y"})
    logged = read_logged(out, name="x", licence="y")
    assert logged.scores.tolist() == [0.5, 1.0]
    assert logged.propensities.tolist() == [1.0, 1.0]


def test_a_log_read_twice_counts_once(log: Path) -> None:
    found, bad = _read(log, log)
    assert len(found["score"]) == 2
    assert bad.duplicates == 7


def test_another_models_answer_tells_nothing_of_the_chosen_one(log: Path) -> None:
    decision = lines_of(log)[3]
    line = {"kind": "outcome", "id": decision["id"], "score": 1.0, "model": "another"}
    found, bad = _read(_added(log, line))
    assert len(found["score"]) == 2
    assert bad.notes["decisions that another model answered"] == 1


def test_a_capped_report_has_the_cost_that_was_booked(log: Path) -> None:
    line = {"kind": "capped", "id": lines_of(log)[0]["id"], "reported_usd": 9, "booked_usd": 0.25}
    assert _read(_added(log, line))[0]["cost_usd"] == [0.25, None]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"kind": "outc', "cut off or no JSON"),
        (b'{"model": "x"}\n', "not one of a decision log"),
        ({"kind": "outcome", "id": "x-1", "score": 1.0}, "not in the log; name its older files"),
        ({"kind": "outcome", "score": 1.0}, "no id"),
        ({"kind": "outcome", "id": "TAKEN", "score": 0.75}, "a second outcome of one id"),
        ({"kind": "outcome", "id": "FREE", "score": 7}, "score is outside [0, 1]"),
        ({"kind": "outcome", "id": "FREE", "score": "good"}, "score is outside [0, 1]"),
    ],
)
def test_what_does_not_join_is_refused_with_its_line_or_counted(
    log: Path, line: dict[str, Any] | bytes, reason: str
) -> None:
    ids = {"TAKEN": lines_of(log)[0]["id"], "FREE": lines_of(log)[3]["id"]}
    if isinstance(line, dict) and line.get("id") in ids:
        line = {**line, "id": ids[line["id"]]}
    _added(log, line)
    with pytest.raises(OutcomeError, match=r"log\.jsonl: line \d+: ") as caught:
        _read(log)
    assert reason in str(caught.value)
    found, bad = _read(log, skip=True)
    assert len(found["score"]) == 2
    assert bad.skipped.total() == 1


def test_a_grade_joins_the_usage_that_was_reported_before(log: Path) -> None:
    before, _ = _read(log)
    lines = []
    for line in map(orjson.loads, log.read_bytes().splitlines()):
        if line["kind"] == "outcome" and line.get("score") is not None:
            grade = {"kind": "outcome", "id": line["id"], "score": line.pop("score")}
            lines.append(orjson.dumps(grade))
        lines.insert(0 if line["kind"] == "setup" else len(lines), orjson.dumps(line))
    log.write_bytes(b"\n".join(lines) + b"\n")
    found, bad = _read(log)
    assert sorted(found["score"]) == sorted(before["score"])
    assert bad.skipped.total() == 0


def changed(log: Path, kind: str, at: int = 0, **values: Any) -> Path:
    """Changes values of one line of a kind; None takes one out."""
    lines = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    line = [one for one in lines if one["kind"] == kind][at]
    line.update(values)
    log.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in lines))
    return log


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"setup": "0123456789ab"}, "setup is not in the log"),
        ({"model": "unknown/model"}, "a model that its pool lacks"),
        ({"eligible": "11"}, "of another pool than its setup"),
        ({"eligible": "000"}, "a model that was not eligible"),
        ({"prices": "1999-01-01"}, "another price version"),
        ({"propensity": 0.0}, "propensity is not in (0, 1]"),
        ({"propensity": 1.5}, "propensity is not in (0, 1]"),
        ({"prompt": None, "features": {"values": "??"}}, "features of the prompt are damaged"),
        ({"prompt": None, "features": 3}, "features of the prompt are damaged"),
    ],
)
def test_a_decision_that_is_not_of_its_setup_is_refused(
    log: Path, values: dict[str, Any], reason: str
) -> None:
    changed(log, "decision", **values)
    with pytest.raises(OutcomeError, match=r"log\.jsonl: line \d+: ") as caught:
        _read(log)
    assert reason in str(caught.value)
    found, bad = _read(log, skip=True)
    assert (len(found["score"]), bad.skipped.total()) == (1, 1)


def test_a_report_of_another_tenants_decision_is_refused(log: Path) -> None:
    changed(log, "outcome", tenant="other")
    with pytest.raises(OutcomeError, match="another tenant's decision"):
        _read(log)


def test_a_decision_of_unknown_propensity_is_counted_and_left_out(log: Path) -> None:
    found, bad = _read(changed(log, "decision", propensity=None))
    assert len(found["score"]) == 1
    assert bad.notes["decisions whose propensity is not known"] == 1


def test_clocks_that_differ_change_nothing_and_are_told(log: Path) -> None:
    before, _ = _read(log)
    found, bad = _read(changed(log, "outcome", time="1999-01-01T00:00:00.000Z"))
    assert found == before
    (told,) = [one for one in bad.notes if "clocks" in one]
    assert bad.notes[told] == 1


def test_what_decided_and_why_it_is_so_are_columns(log: Path) -> None:
    found, bad = _read(changed(log, "outcome", reason_code="tests_failed"))
    assert found["reason_code"] == ["tests_failed", None]
    assert set(found["predictor"]) == {lines_of(log)[0]["predictor"]}
    assert not [one for one in bad.notes if one.startswith("versions")]
    _, bad = _read(changed(log, "decision", predictor="another"))
    assert bad.notes["versions of predictor that decided"] == 2


def test_decisions_without_prompts_name_the_setting(log: Path) -> None:
    lines = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    for line in lines:
        line.pop("prompt", None)
    log.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    with pytest.raises(OutcomeError, match=r"decision_log\.prompts"):
        _read(log)


def test_a_log_of_another_format_is_refused(log: Path) -> None:
    lines = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    log.write_bytes(b"".join(orjson.dumps({**line, "format": 99}) + b"\n" for line in lines))
    with pytest.raises(OutcomeError, match="the log has format 99"):
        _read(log)


def test_a_log_without_grades_says_how_to_report_them(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"")
    with pytest.raises(OutcomeError, match="report scores with ReportOutcome"):
        _read(tmp_path / "log")


def test_an_autopilot_passes_features_by_and_says_so_where_there_is_nothing_else(
    log: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "decisions.parquet"
    features = {"graph": "0" * 16, "hidden": 2, "values": "AAAAAAAA"}
    changed(log, "decision", prompt=None, features=features)
    found, _ = _read(log)
    assert is_feature_prompt(found["prompt"][0])
    assert convert_logs([log], out).outcomes.prompts == ("easy",)
    out.unlink()
    changed(log, "decision", 1, prompt=None, features=features)
    with pytest.raises(OutcomeError, match=r"log decision_log\.prompts: text"):
        convert_logs([log], out)
    assert not out.exists()
    changed(log, "decision", 0, features=None)
    changed(log, "decision", 1, features=None)
    with pytest.raises(OutcomeError, match=r"set decision_log\.prompts: text"):
        convert_logs([log], out)
