"""``routoo spend``: sums of a log by tenant, model and day, and the savings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from routoo.cli.output import spend_screens
from routoo.cli.output.render import UNICODE, layout
from routoo.predictor.artifact import load_artifact
from routoo.routing.escalation import EscalationRequest
from routoo.routing.outcome import OutcomeReport
from routoo.routing.request import PromptRequest
from routoo.tariffs.usage import Usage
from routoo.telemetry.decision_log.spend import Spending, Spent
from support.logged_engine import logged_engine
from support.processes.process import write_tiny_config

if TYPE_CHECKING:
    from pathlib import Path

    from support.processes.command_line import Run

# One word in, 200 tokens out.
SMALL_USD = 0.0000401
MEDIUM_USD = 0.000401
LARGE_USD = 0.00601


@pytest.fixture
async def log(tmp_path: Path) -> Path:
    """Three decisions for medium and two for small; all but one are reported."""
    write_tiny_config(tmp_path)
    artifact = load_artifact(tmp_path / "predictor")
    async with logged_engine(artifact, tmp_path / "log") as engine:
        ids = []
        medium = [("a", "medium"), ("a", "medium"), ("", "medium")]
        for tenant, model in (*medium, ("", "small"), ("b", "small")):
            constraints = {"allowed_models": (model,)}
            request = PromptRequest("hard", tenant=tenant, constraints=constraints)
            ids.append((await engine.route(request)).decision_id)
        await engine.report(OutcomeReport(ids[0], usage=Usage(1000, 100, model="small")))
        await engine.report(OutcomeReport(ids[1], cost_usd=0.25))
        await engine.report(OutcomeReport(ids[2], error="HTTP status 500"))
        await engine.report(OutcomeReport(ids[4], usage=Usage(None, 1000), estimated=True))
    return tmp_path / "log"


def test_costs_are_told_apart_by_tenant_model_and_day(run: Run, log: Path) -> None:
    found = orjson.loads(run("spend", str(log), "--json").out)
    assert found["best_model"] == "large"
    assert [
        (one["tenant"], one["model"], one["decisions"], one["reported"]) for one in found["rows"]
    ] == [
        ("", "medium", 1, 1),
        ("", "small", 1, 0),
        ("a", "medium", 1, 1),
        ("a", "small", 1, 1),
        ("b", "small", 1, 1),
    ]
    assert {one["day"] for one in found["rows"]} == {"2023-11-14"}
    settled = [one["settled_usd"] for one in found["rows"]]
    assert settled == pytest.approx([0.0, SMALL_USD, 0.25, 0.00012, 0.1e-6 + 1000 * 0.2e-6])
    total = found["total"]
    assert total["predicted_usd"] == pytest.approx(3 * MEDIUM_USD + 2 * SMALL_USD)
    assert total["best_model_usd"] == pytest.approx(5 * LARGE_USD)
    assert total["saved_usd"] == total["best_model_usd"] - total["predicted_usd"]


def test_a_log_that_is_named_twice_counts_once(run: Run, log: Path) -> None:
    link = log.with_name("link")
    link.symlink_to(log)
    once = run("spend", str(log), "--json").out
    assert run("spend", str(log), str(link), str(log), "--json").out == once


def test_rows_may_be_joined_and_the_best_model_named(run: Run, log: Path) -> None:
    ended = run("spend", str(log), "--by", "tenant", "--best", "medium", "--json")
    found = orjson.loads(ended.out)
    assert [one["tenant"] for one in found["rows"]] == ["", "a", "b"]
    assert all(set(one) & {"model", "day"} == set() for one in found["rows"])
    assert found["total"]["best_model_usd"] == pytest.approx(5 * MEDIUM_USD)


def test_the_table_tells_the_savings(run: Run, log: Path) -> None:
    ended = run("spend", str(log), "--by", "model")
    head, *rows, _, savings = ended.out.splitlines()
    assert head.split()[:3] == ["model", "decisions", "unreported"]
    assert [row.split()[:2] for row in rows] == [["medium", "2"], ["small", "3"], ["total", "5"]]
    assert savings.startswith("sending everything to large was predicted at $0.0300: $0.0288")


async def test_answers_of_escalations_are_spent_too(run: Run, tmp_path: Path) -> None:
    write_tiny_config(tmp_path)
    artifact = load_artifact(tmp_path / "predictor")
    path = tmp_path / "log"
    async with logged_engine(artifact, path, price=10.0) as engine:
        request = PromptRequest("easy", tenant="a")
        first = (await engine.route(request)).decision_id
        second = (await engine.escalate(EscalationRequest(first, min_score=0.5))).decision
        assert second is not None
        third = (
            await engine.escalate(EscalationRequest(second.decision_id, min_score=0.85))
        ).decision
        assert third is not None
        await engine.report(OutcomeReport(first, usage=Usage(1000, 100)))
        await engine.report(OutcomeReport(second.decision_id, usage=Usage(1000, 100)))
    ended = run("spend", str(path), "--by", "model", "--json")
    assert ended.err == ""
    found = orjson.loads(ended.out)
    rows = {one["model"]: one for one in found["rows"]}
    assert [(name, one["decisions"], one["escalated"]) for name, one in rows.items()] == [
        ("large", 1, 1),
        ("medium", 1, 1),
        ("small", 1, 0),
    ]
    assert rows["medium"]["settled_usd"] == pytest.approx(0.0012), "1,000 in and 100 out, reported"
    assert rows["large"]["settled_usd"] == rows["large"]["predicted_usd"] > 0.0, "not reported"
    assert rows["medium"]["best_model_usd"] == 0.0, "the prompt is sent to the best model once"
    total = found["total"]
    assert total["saved_usd"] == total["best_model_usd"] - total["predicted_usd"]
    apart = orjson.loads(run("spend", str(path), "--by", "tenant", "--json").out)["rows"]
    assert [(one["tenant"], one["decisions"]) for one in apart] == [("a", 3)]


def test_the_table_fits_a_terminal() -> None:
    spent = Spent(decisions=12_345, reported=12_000, predicted_usd=1234.5678, settled_usd=1111.25)
    rows = {
        (f"tenant-of-a-long-name-{n}", f"meta-llama/llama-3.{n}-70b-instruct", "2026-11-26"): spent
        for n in range(3)
    }
    found = Spending(("tenant", "model", "day"), "best", rows, spent)
    lines = [line.text for line in layout(spend_screens.spending(found), UNICODE, 80)]
    assert max(map(len, lines)) <= 80
    assert lines[0] == "tenant"
    assert lines[1].split()[:3] == ["model", "day", "predicted"]
    for n in range(3):  # names stay whole
        assert f"tenant-of-a-long-name-{n}" in lines
        assert any(f" meta-llama/llama-3.{n}-70b-instruct  2026-11-26 " in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--best", "gpt-9"), "model 'gpt-9' could not be chosen for all decisions; name one of"),
        (("--by", "weather"), "'weather' is not one of 'tenant', 'model', 'day'"),
    ],
)
def test_what_it_cannot_tell_is_bad_input(
    run: Run, log: Path, arguments: tuple[str, ...], message: str
) -> None:
    ended = run("spend", str(log), *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
