"""``routoo budgets`` and ``routoo report``: their requests, screens and JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from routoo.v1.budget_pb2 import GetBudgetRequest
from routoo.v1.outcome_pb2 import ReportOutcomeRequest

if TYPE_CHECKING:
    from support.peers.fake_router import FakeRouter
    from support.processes.command_line import Run


def test_budgets_shows_what_is_left(router: FakeRouter, run: Run) -> None:
    ended = run("budgets")
    assert (ended.code, ended.err) == (0, "")
    assert router.requests == [GetBudgetRequest()]
    _, first, second, _, reports = ended.out.splitlines()
    assert first.split() == [
        *("all", "everyone", "$50.00", "$5.00", "$20.00", "##########", "$0.00", "40"),
        *("12,000", "0:30:00"),
    ]
    assert second.split() == [
        *("team-a", "a", "$5.00", "$0.00", "$5.00", "#" * 20, "$0.250", "0", "0", "0:30:00"),
    ]
    assert reports == (
        "all: 2.5 % of the requests were not reported in time; reported answers cost x 0.75 of what"
        " was reserved for them"
    )


def test_budgets_of_a_tenant_as_json(router: FakeRouter, run: Run) -> None:
    ended = run("budgets", "--tenant", "degraded", "--json")
    assert router.requests == [GetBudgetRequest(tenant="degraded")]
    found = json.loads(ended.out)["budgets"]
    assert [(one["name"], one["degraded"]) for one in found] == [("all", False), ("team-a", True)]
    assert "degraded: leases are spent" in run("budgets", "--tenant", "degraded").out


def test_no_budgets_says_how_to_make_them(router: FakeRouter, run: Run) -> None:
    assert "the section budgets" in run("budgets", "--tenant", "nobody").out


def test_report_sends_what_is_known(router: FakeRouter, run: Run) -> None:
    ended = run("report", "abc-1", "--cost-usd", "0.01", "--score", "1")
    assert (ended.code, ended.out, ended.err) == (0, "booked\n", "")
    run("report", "abc-1", "--input-tokens", "5", "--output-tokens", "0", "--model", "gpt-4o")
    assert router.requests == [
        ReportOutcomeRequest(decision_id="abc-1", cost_usd=0.01, score=1.0),
        ReportOutcomeRequest(decision_id="abc-1", input_tokens=5, output_tokens=0, model="gpt-4o"),
    ]


def test_report_sends_all_kinds_of_tokens(router: FakeRouter, run: Run) -> None:
    kinds = {
        "input_tokens": 9600,
        "output_tokens": 100,
        "cached_input_tokens": 9000,
        "cache_write_tokens": 500,
        "cache_write_1h_tokens": 1,
        "reasoning_tokens": 2,
        "audio_input_tokens": 3,
        "image_input_tokens": 4,
        "video_input_tokens": 5,
        "audio_output_tokens": 6,
        "images": 7,
    }
    options = [(f"--{name.replace('_', '-')}", str(number)) for name, number in kinds.items()]
    told = (word for option in options for word in option)
    assert run("report", "abc-1", *told, "--service-tier", "batch").code == 0
    assert router.requests == [
        ReportOutcomeRequest(decision_id="abc-1", service_tier="batch", **kinds)
    ]


def test_a_report_that_is_not_booked_is_bad_input(router: FakeRouter, run: Run) -> None:
    ended = run("report", "abc-2", "--score", "1")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "error: decision abc-2 is unknown, too old, or was reported before; nothing was booked\n"
    )
    assert json.loads(run("report", "abc-2", "--json").out) == {
        "decision_id": "abc-2",
        "accepted": False,
    }


def test_report_sends_how_the_provider_failed(router: FakeRouter, run: Run) -> None:
    told = ("--status-code", "429", "--retry-after-s", "20")
    assert run("report", "abc-1", *told).code == 0
    assert run("report", "abc-1", "--failure", "timeout").code == 0
    assert router.requests == [
        ReportOutcomeRequest(decision_id="abc-1", status_code=429, retry_after_s=20.0),
        ReportOutcomeRequest(decision_id="abc-1", failure="FAILURE_CAUSE_TIMEOUT"),
    ]
    ended = run("report", "abc-1", "--failure", "tired")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: failure 'tired' is none of rate_limited, server_error,")
