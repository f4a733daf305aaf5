"""Habits of command lines: short help, completion, options on either side, chats from files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from routoo.v1.route_pb2 import ChatMessage, RouteRequest
from support.processes.process import ROUTOO

if TYPE_CHECKING:
    from pathlib import Path

    from support.peers.fake_router import FakeRouter
    from support.processes.command_line import Run

CHAT = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


@pytest.mark.parametrize("command", [(), ("route",), ("pool",), ("pool", "add"), ("token", "new")])
def test_short_help_is_help(run: Run, command: tuple[str, ...]) -> None:
    short, long = run(*command, "-h"), run(*command, "--help")
    assert short.code == 0
    assert short.out == long.out
    assert short.out.startswith("Usage: routoo")
    assert "[[" not in short.out


@pytest.mark.parametrize("command", ["route", "health"])
def test_options_of_the_connection_say_what_they_are_after_a_command(
    run: Run, command: str
) -> None:
    shown = run(command, "--help").out
    for words in ("File that holds the token to call with.", "PEM: its private key."):
        assert words in shown


@pytest.mark.parametrize(("group", "commands"), [("token", "new"), ("pool", "add")])
def test_a_group_alone_names_its_commands_in_one_line(run: Run, group: str, commands: str) -> None:
    ended = run(group)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith(f"error: name a command of routoo {group}: ")
    assert commands in ended.err
    assert "Usage" not in ended.err


def test_a_wrong_choice_is_told_in_plain_words(run: Run) -> None:
    ended = run("schema", "nonsense")
    assert ended.code == 2
    assert "'kind': 'nonsense' is not one of 'settings', 'pool'; see" in ended.err


def test_a_new_token_is_one_object_with_json(run: Run, tmp_path: Path) -> None:
    made = json.loads(run("token", "new", "--file", str(tmp_path / "t"), "--json").out)
    assert list(made) == ["token"]
    assert made["token"].startswith("routoo_")


@pytest.mark.parametrize("before", [True, False])
def test_an_address_stands_before_or_after_the_command(
    run: Run, router: FakeRouter, monkeypatch: pytest.MonkeyPatch, *, before: bool
) -> None:
    monkeypatch.setenv("ROUTOO_ADDRESS", "127.0.0.1:1")
    named = ("--address", router.address)
    assert run(*((*named, "info") if before else ("info", *named))).code == 0


def test_what_stands_after_the_command_goes_before_the_rest(run: Run, router: FakeRouter) -> None:
    assert run("--address", "127.0.0.1:1", "info", "--address", router.address).code == 0
    failed = run("--address", router.address, "info", "--address", "127.0.0.1:1")
    assert failed.code == 3
    assert "127.0.0.1:1" in failed.err


@pytest.mark.parametrize("command", [("models",), ("route", "x"), ("health",), ("budgets",)])
def test_credentials_stand_before_or_after_the_command(run: Run, command: tuple[str, ...]) -> None:
    words = "--cert and --key need --ca"
    assert words in run("--cert", "c", "--key", "k", *command).err
    assert words in run(*command, "--cert", "c", "--key", "k").err


def test_a_chat_is_read_from_a_file(run: Run, router: FakeRouter, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    wanted = [RouteRequest(messages=[ChatMessage(**one) for one in CHAT], explain=True)]
    for value in (CHAT, {"model": "auto", "messages": CHAT}):
        file.write_text(json.dumps(value))
        router.requests.clear()
        assert run("route", "--messages", str(file)).code == 0
        assert router.requests == wanted


def test_parts_of_text_are_joined(run: Run, router: FakeRouter, tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    (tmp_path / "chat").write_text(json.dumps([{"role": "user", "content": parts}]))
    assert run("route", "--messages", str(tmp_path / "chat")).code == 0
    assert router.requests[0].messages[0].content == "a\nb"


def test_tools_ask_for_a_model_that_calls_them(
    run: Run, router: FakeRouter, tmp_path: Path
) -> None:
    (tmp_path / "tools").write_text(json.dumps(TOOLS))
    assert run("route", "x", "--tools", str(tmp_path / "tools"), "--require", "json").code == 0
    (request,) = router.requests
    assert list(request.required_capabilities) == ["json", "tools"]
    assert 10 < request.added_input_tokens < 100


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[", ": no JSON: "),
        ("[]", "holds no chat"),
        ('"text"', "holds no chat"),
        ('[{"content": "x"}]', 'message 1 has no "role"'),
        ('[{"role": "user", "content": [{"type": "image_url"}]}]', "message 1 has a part that is"),
        ('[{"role": "user", "content": [{"type": "image_url"}]}]', "with --require and --added"),
        ('[{"role": "user", "content": 7}]', "message 1 has a part that is no text"),
    ],
)
def test_a_wrong_chat_is_refused_in_one_line(
    run: Run, tmp_path: Path, content: str, words: str
) -> None:
    (tmp_path / "chat").write_text(content)
    failed = run("route", "--messages", str(tmp_path / "chat"))
    assert (failed.code, failed.out, failed.err.count("\n")) == (2, "", 1)
    assert words in failed.err


@pytest.mark.parametrize("arguments", [("x", "--messages", "f"), ()])
def test_a_prompt_or_a_chat_is_needed_and_not_both(run: Run, arguments: tuple[str, ...]) -> None:
    assert "one of them" in run("route", *arguments).err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(run: Run, shell: str) -> None:
    printed = run("completion", shell)
    assert printed.code == 0
    assert "_ROUTOO_COMPLETE" in printed.out


def test_a_shell_is_told_what_may_come_next() -> None:
    asked = {"COMP_WORDS": "routoo route --max-c", "COMP_CWORD": "2"}
    ended = subprocess.run(
        [sys.executable, *ROUTOO],
        env={**os.environ, **asked, "_ROUTOO_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.split() == ["--max-cost-usd"]
