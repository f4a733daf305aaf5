"""``routoo route``: its request, its screen and its JSON."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from routoo.cli.output.render import Facts
from routoo.cli.output.reply_screens import decision
from routoo.v1.route_pb2 import RouteRequest, RouteResponse
from support.processes.command_line import ROUTOO

if TYPE_CHECKING:
    from support.peers.fake_router import FakeRouter
    from support.processes.command_line import Run

LARGE = "meta-llama/Meta-Llama-3.1-70B-Instruct"


def test_every_option_reaches_the_request_under_its_proto_field(
    router: FakeRouter, run: Run
) -> None:
    ended = run(
        *("route", "hello", "--max-cost-usd", "0.01", "--min-score", "0.25"),
        *("--max-latency-ms", "5000", "--allow", LARGE, "--allow", "gpt-4o", "--deny", "gpt-4o"),
        *("--require", "tools", "--require", "chat", "--expected-output-tokens", "77"),
        *("--tenant", "acme", "--session-id", "s1", "--policy", "lp"),
        *("--task", "code"),
    )
    assert ended.code == 0
    assert router.requests == [
        RouteRequest(
            prompt="hello",
            max_cost_usd=0.01,
            min_score=0.25,
            max_latency_ms=5000,
            allowed_models=[LARGE, "gpt-4o"],
            denied_models=["gpt-4o"],
            required_capabilities=["tools", "chat"],
            expected_output_tokens=77,
            tenant="acme",
            session_id="s1",
            policy="lp",
            task="code",
            explain=True,
        )
    ]


def test_options_that_are_not_given_are_not_set(router: FakeRouter, run: Run) -> None:
    assert run("route", "hello").code == 0
    assert router.requests == [RouteRequest(prompt="hello", explain=True)]


def test_zero_is_a_constraint_and_not_the_same_as_none(router: FakeRouter, run: Run) -> None:
    run("route", "hello", "--max-cost-usd", "0", "--min-score", "0")
    (request,) = router.requests
    assert request.HasField("max_cost_usd")
    assert request.HasField("min_score")
    assert not request.HasField("max_latency_ms")


def test_a_dash_reads_the_prompt_from_stdin(
    router: FakeRouter, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "two\nlines, ünïcode"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert run("route", "-").code == 0
    assert router.requests[0].prompt == text


def test_stdin_that_is_not_utf8_is_refused_with_the_byte(
    router: FakeRouter, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"abc\xff")))
    ended = run("route", "-")
    assert (ended.code, ended.out) == (2, "")
    assert "not UTF-8 at byte 3" in ended.err
    assert router.requests == []


def test_a_prompt_that_is_not_utf8_is_refused(router: FakeRouter, run: Run) -> None:
    ended = run("route", os.fsdecode(b"abc\xff"))
    assert (ended.code, ended.out) == (2, "")
    assert "not UTF-8" in ended.err


def test_the_screen_shows_choice_candidates_reason_price_and_versions(
    router: FakeRouter, run: Run
) -> None:
    ended = run("route", "hello", "--max-cost-usd", "0.001")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[:3] == [
        LARGE,
        "score 0.7100, $0.000180, 1.90 s, 240 output tokens expected",
        "best score for its money [not markup]",
    ]
    table = [line.split() for line in lines[4:8]]
    assert table == [
        ["model", "score", "cost", "time", "tokens", "utility", "removed", "by"],
        ["*", LARGE, "0.7100", "$0.000180", "1.90", "s", "240", "0.7028"],
        ["small/tiny-3B", "0.4200", "$0.000012", "0.35", "s", "120", "0.4195"],
        ["gpt-4o", "0.7800", "$0.004200", "2.40", "s", "310", "0.6120", "max_cost_usd"],
    ]
    facts = dict(line.split("  ", 1) for line in lines[9:])
    assert {name: value.strip() for name, value in facts.items()} == {
        "constraints": "max_cost_usd",
        "shadow price": "40 score per $; $0.001 more has to buy 0.0400 of score",
        "prompt": "1 token",
        "decided in": (
            "0.31 ms (queue 0.02, tokenise 0.05, predict 0.20, select 0.03), batch of 1"
        ),
        "predictor": "static-1",
        "policy": "lp-0123abcd",
        "decision": "abc-1",
    }


def test_the_screen_warns_of_degraded_and_truncated_decisions(router: FakeRouter, run: Run) -> None:
    ended = run("route", "word " * 300, "--tenant", "degraded")
    assert "degraded: " in ended.out
    assert "truncated: " in ended.out
    quiet = run("route", "hello")
    assert "degraded" not in quiet.out
    assert "truncated" not in quiet.out


def test_the_screen_shows_what_the_predictor_knows_of_the_prompt(
    router: FakeRouter, run: Run
) -> None:
    said = run("route", "hello", "--task", "code").out
    facts = {line[:14].strip(): line[14:].strip() for line in said.splitlines()}
    assert facts["task"] == "code, 87.5 % sure"
    assert facts["unlike"] == "0.25, where 0 is like the training prompts and 1 is not"
    assert facts["score"] == "standard deviation 0.0625"
    assert facts["evidence"] == "1,234 graded prompts and 12 published averages, on such tasks"
    reply = json.loads(run("route", "hello", "--task", "code", "--json").out)
    assert (reply["task"], reply["task_confidence"], reply["ood"]) == ("code", 0.875, 0.25)
    # Another predictor tells nothing of this.
    assert "like the training prompts" not in run("route", "hello").out
    assert "task" not in json.loads(run("route", "hello", "--json").out)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"evidence": 7.0}, "7 graded prompts"),
        (
            {"evidence": 0.2, "published_averages": 3.4},
            "3 published averages on such tasks; no graded prompts",
        ),
        (
            {"evidence": 0.0, "published_averages": 0.0},
            "none on such tasks; other tasks and similar models tell of it",
        ),
    ],
)
def test_the_screen_says_what_a_score_rests_on(fields: dict[str, float], said: str) -> None:
    (facts,) = (
        block for block in decision(RouteResponse(model="m", **fields)) if isinstance(block, Facts)
    )
    assert ("evidence", said) in facts.pairs


def test_the_screen_names_whom_to_ask_where_the_model_fails() -> None:
    reply = RouteResponse(model="a/1")
    assert "if it fails" not in dict(facts_of(reply))
    reply.fallbacks.add(model="b/1")
    reply.fallbacks.add(model="b/2").arm.name = "high"
    assert dict(facts_of(reply))["if it fails"] == "b/1, b/2@high"


def facts_of(reply: RouteResponse) -> list[tuple[str, str]]:
    (facts,) = [block for block in decision(reply) if isinstance(block, Facts)]
    return list(facts.pairs)


def test_json_is_one_object_with_every_field(router: FakeRouter, run: Run) -> None:
    ended = run("route", "hello", "--json")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("\n") == 1
    reply = json.loads(ended.out)
    assert reply["model"] == LARGE
    assert [candidate["model"] for candidate in reply["candidates"]] == [
        LARGE,
        "gpt-4o",
        "small/tiny-3B",
    ]
    assert reply["reason"]["rule"] == "RULE_PRICE"
    assert reply["timing"]["total_ns"] == 310_000
    assert reply["degraded"] is False
    assert reply["request_id"] == ""
    assert "error" not in reply


def test_a_terminal_gets_colour_and_no_line_wider_than_itself(router: FakeRouter) -> None:
    reader, terminal = pty.openpty()
    with os.fdopen(reader, "rb", buffering=0) as screen:
        environment = {
            **os.environ,
            "TERM": "xterm-256color",
            "COLUMNS": "72",
            "PYTHONUTF8": "1",
        }
        environment.pop("NO_COLOR", None)
        command = [ROUTOO, "route", "hello", "--address", router.address]
        try:
            subprocess.run(
                command, stdout=terminal, stderr=subprocess.PIPE, env=environment, check=True
            )
        finally:
            os.close(terminal)
        shown = _read_all(screen)
    assert "\x1b[" in shown
    plain = _without_colour(shown).splitlines()
    assert max(map(len, plain)) <= 72
    (chosen,) = (line for line in plain if line.startswith("➤"))
    assert "0.7100" in chosen
    assert "$0.000180" in chosen
    assert "0.7028" in chosen


def _read_all(screen: io.FileIO) -> str:
    parts = []
    while True:
        try:
            part = screen.read(65536)
        except OSError:  # Linux says EIO when the other side of a terminal is closed
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts).decode()


def _without_colour(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
