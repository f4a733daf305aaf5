"""Every failure of a command is one line on stderr, an exit code, and an empty stdout."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import routoo
from routoo.cli.app import main
from routoo.client import DEFAULT_ADDRESS
from routoo.config.settings import Settings
from support.processes.command_line import ROUTOO

if TYPE_CHECKING:
    from support.peers.fake_router import FakeRouter
    from support.processes.command_line import Run


def _assert_fails(run: Run, code: int, *arguments: str) -> str:
    ended = run(*arguments)
    assert ended.code == code
    if "--json" in arguments:
        told = {"error": ended.err[len("error: ") : -1], "exit_code": code}
        assert json.loads(ended.out) == told
    else:
        assert ended.out == ""
    assert ended.err.startswith("error: ")
    assert ended.err.endswith("\n")
    assert ended.err.count("\n") == 1
    return ended.err


@pytest.mark.parametrize(
    ("arguments", "code", "remedy"),
    [
        (["route", "x", "--allow", "gpt-9"], 2, "allowed_models: no model gpt-9"),
        (["route", "x", "--max-cost-usd", "0"], 2, "max_cost_usd leaves no model"),
        (["route", "overload"], 4, "the queue is full; send later"),
        (["route", "hang", "--timeout-s", "0.05"], 4, "within 0.05 s; allow more with --timeout-s"),
        (["route", "stopping"], 3, "(the service is stopping); start it with `routoo serve`"),
        (["route", "broken"], 1, "failed with INTERNAL: internal error; see the log"),
    ],
)
def test_what_the_service_refuses(
    router: FakeRouter, run: Run, arguments: list[str], code: int, remedy: str
) -> None:
    assert remedy in _assert_fails(run, code, *arguments)


@pytest.mark.parametrize(
    "command",
    [["route", "x"], ["models"], ["models", "--curve"], ["info"], ["route", "x", "--json"]],
)
def test_no_service_there(run: Run, command: list[str]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # bound but not listening: nobody else can take the port
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        error = _assert_fails(run, 3, *command, "--address", address)
    assert f"cannot reach the service at {address} (Connection refused" in error
    assert "start it with `routoo serve`" in error


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["route"], "see `routoo route --help`"),
        (["rout", "x"], "see `routoo --help`"),
        (["route", "x", "--max-costs"], "--max-cost-usd"),
        (["route", "x", "--max-cost-usd", "cheap"], "'--max-cost-usd'"),
        (["route", "x", "--expected-output-tokens", "-1"], "'--expected-output-tokens'"),
        (["route", "x", "--timeout-s", "0"], "'--timeout-s'"),
        (["info", "--timeout-s", "nan"], "'--timeout-s'"),
        (["models", "--curve", "--points", "1"], "'--points'"),
        (["batch", "p.jsonl"], "'--out'"),
    ],
)
def test_wrong_arguments(run: Run, arguments: list[str], remedy: str) -> None:
    assert remedy in _assert_fails(run, 2, *arguments)


def test_nothing_at_all_shows_the_help(run: Run) -> None:
    ended = run()
    assert ended.code == 2
    for command in (
        "serve",
        "check-config",
        "route",
        "batch",
        "models",
        "info",
        "budgets",
        "report",
    ):
        assert f"\n  {command} " in ended.out


@pytest.mark.parametrize(
    "command",
    ["serve", "check-config", "route", "batch", "models", "info", "budgets", "report", None],
)
def test_help_is_plain_text_without_a_service(run: Run, command: str | None) -> None:
    ended = run(*([command] if command else []), "--help")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("Usage: routoo")
    assert ended.out.isascii()


def test_version(run: Run) -> None:
    assert run("--version").out == f"routoo {routoo.__version__}\n"


def test_command_client_and_service_agree_on_the_address(run: Run) -> None:
    assert Settings().listen == DEFAULT_ADDRESS
    assert f"default: {DEFAULT_ADDRESS}" in " ".join(run("route", "--help").out.split())


def test_an_option_wins_over_the_environment(
    router: FakeRouter, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROUTOO_ADDRESS", "127.0.0.1:1")
    assert run("info", "--address", router.address).code == 0
    assert run("info").code == 3


def test_ctrl_c_ends_quietly(router: FakeRouter) -> None:
    # What runs the tests may be a job in the background, whose children ignore SIGINT. Not a
    # preexec_fn: that forks this process, which has threads of gRPC.
    heard = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);"
        " os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = [sys.executable, "-c", heard, ROUTOO]
    command += ["route", "hang", "--timeout-s", "60", "--address", router.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert router.is_hanging.wait(60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_a_reader_that_goes_away_is_no_error_message(router: FakeRouter) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [ROUTOO, "models", "--address", router.address],
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_a_full_disk_is_one_line(router: FakeRouter) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        ended = subprocess.run(
            [ROUTOO, "info", "--address", router.address],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr == b"error: cannot write the result: No space left on device\n"


def test_importing_the_command_line_is_light() -> None:
    code = "import sys, routoo.cli.app; print(*sys.modules)"
    python = ROUTOO.with_name("python")
    loaded = subprocess.run([python, "-c", code], capture_output=True, check=True).stdout.split()
    assert not {b"grpc", b"rich", b"numpy", b"pydantic", b"onnxruntime", b"scipy"} & set(loaded)


def test_main_without_arguments_reads_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["routoo", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("routoo ")
