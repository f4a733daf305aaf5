"""``routoo batch``: its request, its files, its screen and its JSON."""

from __future__ import annotations

import io
import json
import os
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.client.prompts_file import read_prompts
from routoo.v1.batch_pb2 import RouteBatchRequest
from routoo.v1.route_pb2 import ChatMessage, RouteRequest

if TYPE_CHECKING:
    from pathlib import Path

    from support.peers.fake_router import FakeRouter
    from support.processes.command_line import Run

LARGE = "meta-llama/Meta-Llama-3.1-70B-Instruct"


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """A file with every kind of line that is good."""
    path = tmp_path / "prompts.jsonl"
    lines = [
        '"plain text"',
        "",
        '{"prompt": "cheap", "request_id": "b", "max_cost_usd": 0.0001, "min_score": null}',
        (
            '{"messages": [{"role": "user", "content": "hi"}], "denied_models": ["gpt-4o"],'
            ' "required_capabilities": ["tools"], "expected_output_tokens": 5,'
            ' "max_latency_ms": 9}'
        ),
        (
            '{"prompt": "explained", "explain": true, "tenant": "acme", "session_id": "s",'
            ' "task": "code"}'
        ),
    ]
    path.write_text("\n".join(lines))
    return path


def test_the_file_becomes_one_joint_request(
    router: FakeRouter, run: Run, prompts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "decisions.jsonl"
    ended = run("batch", str(prompts), "--budget-usd", "0.5", "--out", str(out))
    assert (ended.code, ended.err) == (0, "")
    assert router.requests == [
        RouteBatchRequest(
            budget_usd=0.5,
            requests=[
                RouteRequest(prompt="plain text"),
                RouteRequest(prompt="cheap", request_id="b", max_cost_usd=0.0001),
                RouteRequest(
                    messages=[ChatMessage(role="user", content="hi")],
                    denied_models=["gpt-4o"],
                    required_capabilities=["tools"],
                    expected_output_tokens=5,
                    max_latency_ms=9,
                ),
                RouteRequest(
                    prompt="explained", explain=True, tenant="acme", session_id="s", task="code"
                ),
            ],
        )
    ]
    decisions = [json.loads(line) for line in out.read_text().splitlines()]
    assert [decision["model"] for decision in decisions] == [LARGE, "small/tiny-3B", LARGE, LARGE]
    assert [decision["request_id"] for decision in decisions] == ["", "b", "", ""]
    assert [len(decision["candidates"]) for decision in decisions] == [0, 0, 0, 3]


def test_the_summary_counts_models_and_money(
    router: FakeRouter, run: Run, prompts: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "decisions.jsonl")
    ended = run("batch", str(prompts), "--budget-usd", "0.5", "--out", out)
    lines = ended.out.splitlines()
    assert "cost          $0.000552 of $0.500" in lines
    assert "gap           none, optimal" in lines
    assert "bound by      budget_usd" in lines
    assert [line.split()[:4] for line in lines[-2:]] == [
        [LARGE, "3", "75.0", "%"],
        ["small/tiny-3B", "1", "25.0", "%"],
    ]


def test_a_floor_alone_is_sent_without_a_budget(
    router: FakeRouter, run: Run, prompts: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "decisions.jsonl")
    assert run("batch", str(prompts), "--min-mean-score", "0", "--out", out).code == 0
    (request,) = router.requests
    assert request.HasField("min_mean_score")
    assert not request.HasField("budget_usd")


def test_every_constraint_of_a_batch_is_sent(
    router: FakeRouter, run: Run, prompts: Path, tmp_path: Path
) -> None:
    options = {
        "--min-mean-score": "0.5",
        "--score-per-usd": "20",
        "--max-mean-latency-ms": "900",
        "--alpha": "0.5",
    }
    repeated = [
        ("--capacity", f"{LARGE}=7"),
        ("--capacity", "a=b=0"),
        ("--token-capacity", "gpt-4o=5000000000"),
        ("--tenant-budget", "acme=0.25"),
        ("--tenant-budget", "=0"),
    ]
    arguments = [part for option in (*options.items(), *repeated) for part in option]
    ended = run("batch", str(prompts), *arguments, "--out", str(tmp_path / "out.jsonl"))
    assert (ended.code, ended.err) == (0, "")
    (request,) = router.requests
    assert isinstance(request, RouteBatchRequest)
    assert not request.HasField("budget_usd")
    assert (request.min_mean_score, request.score_per_usd) == (0.5, 20.0)
    assert (request.max_mean_latency_ms, request.score_std_weight) == (900.0, 0.5)
    assert dict(request.max_requests) == {LARGE: 7, "a=b": 0}
    assert dict(request.max_tokens) == {"gpt-4o": 5_000_000_000}
    assert dict(request.tenant_budgets_usd) == {"acme": 0.25, "": 0.0}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--capacity", "gpt-4o"], "--capacity gpt-4o: write NAME=K, K a whole number from 0 to"),
        (["--capacity", "gpt-4o=1.5"], "--capacity gpt-4o=1.5: write NAME=K, K a whole number"),
        (["--capacity", "gpt-4o=-1"], "--capacity gpt-4o=-1: write NAME=K"),
        (["--capacity", "gpt-4o=4294967296"], "--capacity gpt-4o=4294967296: write NAME=K"),
        (["--token-capacity", f"m={2**64}"], f"--token-capacity m={2**64}: write NAME=K"),
        (
            ["--tenant-budget", "a=nan"],
            "--tenant-budget a=nan: write NAME=K, K a number of at least 0",
        ),
        (
            ["--tenant-budget", "a=inf"],
            "--tenant-budget a=inf: write NAME=K, K a number of at least 0",
        ),
        (["--tenant-budget", "a=1", "--tenant-budget", "a=2"], "--tenant-budget names 'a' twice"),
    ],
)
def test_a_capacity_or_budget_of_another_form_is_refused(
    router: FakeRouter,
    run: Run,
    prompts: Path,
    tmp_path: Path,
    arguments: list[str],
    expected: str,
) -> None:
    ended = run("batch", str(prompts), *arguments, "--out", str(tmp_path / "out.jsonl"))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {expected}")
    assert ended.err.count("\n") == 1
    assert router.requests == []


def test_json_is_the_summary(router: FakeRouter, run: Run, prompts: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "decisions.jsonl")
    ended = run("batch", str(prompts), "--budget-usd", "0.5", "--out", out, "--json")
    assert (ended.code, ended.err, ended.out.count("\n")) == (0, "", 1)
    summary = json.loads(ended.out)
    assert summary["out"] == out
    assert summary["prompts"] == 4
    assert summary["prompts_per_model"] == {LARGE: 3, "small/tiny-3B": 1}
    assert summary["total_predicted_cost_usd"] == pytest.approx(0.000552)
    assert summary["binding_constraints"] == ["budget_usd"]
    assert "responses" not in summary


def test_dashes_are_stdin_and_stdout(
    router: FakeRouter, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'"one"\n"two"\n')))
    ended = run("batch", "-", "--budget-usd", "1", "--out", "-")
    assert ended.code == 0
    assert [json.loads(line)["model"] for line in ended.out.splitlines()] == [LARGE, LARGE]
    assert "mean score" in ended.err  # the summary makes way for the decisions


def test_two_outputs_on_stdout_are_refused(router: FakeRouter, run: Run, prompts: Path) -> None:
    ended = run("batch", str(prompts), "--out", "-", "--json")
    assert ended.code == 2
    assert json.loads(ended.out) == {"error": ended.err[len("error: ") : -1], "exit_code": 2}
    assert "name a file with --out" in ended.err
    assert router.requests == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"promt": "x"}', ':2: unknown key "promt"; did you mean "prompt"?'),
        ('{"prompt": "x", "policy": "lp"}', ':2: unknown key "policy"; known here: request_id,'),
        ('{"prompt": "x", "zzz": 1}', ':2: unknown key "zzz"; known here: request_id, prompt,'),
        ('{"prompt": "x"', ":2: not JSON ("),
        ('{"prompt": "x", "max_cost_usd": NaN}', ":2: not JSON ("),
        ("{}", ':2: needs either "prompt" or "messages", and not both'),
        ('{"prompt": null}', ':2: needs either "prompt" or "messages"'),
        ('{"prompt": "x", "messages": []}', ':2: needs either "prompt" or "messages"'),
        ("[1]", ":2: has to be an object or a string; write one JSON object per line"),
        ("5", ":2: has to be an object or a string"),
        ('{"prompt": 5}', ':2: "prompt" has to be a string'),
        ('{"prompt": "x", "max_cost_usd": "1"}', ':2: "max_cost_usd" has to be a number'),
        ('{"prompt": "x", "max_cost_usd": true}', ':2: "max_cost_usd" has to be a number'),
        ('{"prompt": "x", "explain": 1}', ':2: "explain" has to be true or false'),
        (
            '{"prompt": "x", "expected_output_tokens": 1.5}',
            ':2: "expected_output_tokens" has to be a whole number',
        ),
        (
            '{"prompt": "x", "expected_output_tokens": -1}',
            ':2: "expected_output_tokens" has to be a whole number',
        ),
        (
            '{"prompt": "x", "expected_output_tokens": true}',
            ':2: "expected_output_tokens" has to be a whole number',
        ),
        ('{"prompt": "x", "denied_models": "m"}', ':2: "denied_models" has to be a list'),
        ('{"prompt": "x", "denied_models": [1]}', ':2: "denied_models[0]" has to be a string'),
        ('{"messages": ["x"]}', ':2: "messages[0]" has to be an object'),
        ('{"messages": [{"text": "x"}]}', ':2: unknown key "messages[0].text"'),
        ('{"messages": [{"content": 1}]}', ':2: "messages[0].content" has to be a string'),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_sent_or_written(
    router: FakeRouter, run: Run, tmp_path: Path, line: str, expected: str
) -> None:
    path, out = tmp_path / "bad.jsonl", tmp_path / "out.jsonl"
    path.write_text(f'"good"\n{line}\n')
    ended = run("batch", str(path), "--budget-usd", "1", "--out", str(out))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {path}{expected}")
    assert ended.err.count("\n") == 1
    assert router.requests == []
    assert not out.exists()


def test_a_mark_of_the_byte_order_is_passed_over(
    router: FakeRouter, run: Run, tmp_path: Path
) -> None:
    path, out = tmp_path / "marked.jsonl", tmp_path / "out"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "one"}\n"two"\n')
    ended = run("batch", str(path), "--out", str(out))
    assert (ended.code, ended.err) == (0, "")
    marked = tmp_path / "decided.jsonl"
    marked.write_bytes(b"\xef\xbb\xbf" + out.read_bytes())
    again = run("batch", str(path), "--out", str(out), "--assignment", str(marked))
    assert (again.code, again.err) == (0, "")
    first, _ = router.requests
    assert [one.prompt for one in first.requests] == ["one", "two"]


def test_text_that_is_not_utf8_is_named(router: FakeRouter, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'"caf\xe9"\n')
    ended = run("batch", str(path), "--out", str(tmp_path / "out"))
    assert ended.code == 2
    assert f"{path}:1: not JSON (" in ended.err


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_file_is_refused(
    router: FakeRouter, run: Run, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    ended = run("batch", str(path), "--out", str(tmp_path / "out"))
    assert ended.code == 2
    assert f"{path}: holds no prompt; write one JSON object per line" in ended.err


def test_a_missing_file_is_refused(router: FakeRouter, run: Run, tmp_path: Path) -> None:
    ended = run("batch", str(tmp_path / "none"), "--out", str(tmp_path / "out"))
    assert ended.code == 2
    assert "cannot be read: No such file or directory" in ended.err


def test_what_the_service_refuses_is_named_by_its_line(
    router: FakeRouter, run: Run, tmp_path: Path
) -> None:
    path, out = tmp_path / "prompts.jsonl", tmp_path / "out.jsonl"
    path.write_text('"good"\n\n\n{"prompt": "x", "allowed_models": ["gpt-9"]}\n')
    out.write_text("before")
    ended = run("batch", str(path), "--out", str(out))
    assert ended.code == 2
    assert ended.err == f"error: {path}:4: allowed_models: no model gpt-9\n"
    assert out.read_text() == "before"


@pytest.mark.parametrize("where", ["", "missing/out.jsonl"])
def test_an_output_that_cannot_be_written_is_refused_before_the_call(
    router: FakeRouter, run: Run, prompts: Path, tmp_path: Path, where: str
) -> None:
    ended = run("batch", str(prompts), "--out", str(tmp_path / where))
    assert (ended.code, ended.out) == (2, "")
    assert "folder" in ended.err
    assert router.requests == []


def test_the_output_is_replaced_whole_and_leaves_nothing_else(
    router: FakeRouter, run: Run, prompts: Path, tmp_path: Path
) -> None:
    out, link = tmp_path / "out.jsonl", tmp_path / "link.jsonl"
    out.write_text("old\n" * 1000)
    link.symlink_to(out)
    assert run("batch", str(prompts), "--out", str(link)).code == 0
    assert link.is_symlink()
    assert len(out.read_text().splitlines()) == 4
    assert {path.name for path in tmp_path.iterdir()} == {prompts.name, out.name, link.name}


def test_a_device_is_written_to_and_not_replaced(
    router: FakeRouter, run: Run, prompts: Path, tmp_path: Path
) -> None:
    assert run("batch", str(prompts), "--out", os.devnull).code == 0
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)  # noqa: PTH116 - the device itself
    ended = run("batch", str(prompts), "--out", "/dev/full")
    assert ended.code == 2
    assert ended.err == "error: /dev/full: cannot be written: No space left on device\n"


def test_the_file_of_the_prompts_may_be_replaced_by_the_decisions(
    router: FakeRouter, run: Run, prompts: Path
) -> None:
    assert run("batch", str(prompts), "--out", str(prompts)).code == 0
    assert json.loads(prompts.read_text().splitlines()[0])["model"] == LARGE


# Surrogates have no UTF-8; everything else that JSON can carry has to arrive unchanged.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
OBJECTS = st.fixed_dictionaries(
    {"prompt": TEXT},
    optional={
        "request_id": TEXT,
        "max_cost_usd": st.floats(allow_nan=False, allow_infinity=False),
        "min_score": st.integers(-5, 5),
        "allowed_models": st.lists(TEXT, max_size=3),
        "expected_output_tokens": st.integers(0, 2**32 - 1),
        "explain": st.booleans(),
    },
)


@given(st.lists(OBJECTS | TEXT, min_size=1, max_size=5))
def test_what_json_says_is_what_is_asked(values: list[dict[str, object] | str]) -> None:
    lines = [json.dumps(value).encode() + b"\n" for value in values]
    expected = [RouteRequest(**(v if isinstance(v, dict) else {"prompt": v})) for v in values]
    read = read_prompts(lines, "f")
    assert read.requests == expected
    assert read.line_numbers == list(range(1, len(values) + 1))
