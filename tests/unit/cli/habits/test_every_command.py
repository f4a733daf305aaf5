"""Every command of both programs: help, and wrong input as one line with its exit code."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from typer.main import get_command

from routoo.cli.app import app, main
from routoo.cli.program import EXIT_CODES
from routoo_export.cli.app import app as export_app
from routoo_export.cli.app import main as export_main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.processes.command_line import Run

# What these name is written, made or waited for.
WRITTEN = {("init", "config"), ("token", "file")}
OUTPUTS = {"out", "folder", "repository", "plot"}
BAD = {"missing": None, "folder": None, "empty": b"", "binary": bytes(range(256)) * 8, "[": b"["}


def commands_of(found: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields the commands of a program, by their words."""
    inner = getattr(found, "commands", None)
    if inner is None:
        yield before, found
        return
    for name, one in inner.items():
        yield from commands_of(one, (*before, name))


COMMANDS = dict(commands_of(get_command(app)))
EXPORT_COMMANDS = dict(commands_of(get_command(export_app)))
BY_WORDS = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
EXPORT_BY_WORDS = pytest.mark.parametrize("words", EXPORT_COMMANDS, ids=" ".join)


def is_path(parameter: Any) -> bool:
    return "Path" in str(parameter.type_descriptor.annotation)


def given(parameter: Any, value: str) -> list[str]:
    """Returns a parameter with a value as words of a command line."""
    if parameter.opts[0].startswith("-"):
        return [parameter.opts[0], value]
    return [value]


def needed(words: tuple[str, ...], but: Any, path: str) -> list[str]:
    """Returns what a command needs besides one parameter, each of a value that may be right."""
    found = []
    for one in COMMANDS[words].params:
        if one.required and one is not but:
            kinds = str(one.type_descriptor.annotation)
            value = "1" if "int" in kinds or "float" in kinds else "x"
            value = "lp" if one.name == "policy" else value
            found += given(one, path if is_path(one) else value)
    return found


def wrong_paths(words: tuple[str, ...]) -> Iterator[Any]:
    for one in COMMANDS[words].params:
        if is_path(one) and one.name not in OUTPUTS and (words[0], one.name) not in WRITTEN:
            yield one


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No service, no data and no file of this machine is found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROUTOO_ADDRESS", "unix:nobody")
    monkeypatch.delenv("ROUTOO_DATA", raising=False)
    (tmp_path / "folder").mkdir()
    for name, content in BAD.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)


@BY_WORDS
def test_help_of_a_command(run: Run, words: tuple[str, ...]) -> None:
    shown = run(*words, "-h")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == run(*words, "--help").out
    assert shown.out.startswith(f"Usage: routoo {' '.join(words)}")


def test_the_help_of_both_programs_ends_with_their_exit_codes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = EXIT_CODES.split()
    assert main(["-h"]) == 0
    assert capsys.readouterr().out.split()[-len(wanted) :] == wanted
    monkeypatch.setattr(sys, "argv", ["routoo-export", "-h"])
    with pytest.raises(SystemExit) as ended:
        export_main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.split()[-len(wanted) :] == wanted


@BY_WORDS
def test_an_unknown_option_is_one_line(run: Run, words: tuple[str, ...]) -> None:
    failed = run(*words, "--no-such-option")
    assert (failed.code, failed.out) == (2, "")
    assert failed.err.startswith("error: ")
    assert failed.err.endswith(f"see `routoo {' '.join(words)} --help`\n")


@BY_WORDS
def test_files_that_are_none_are_named_in_one_line(run: Run, words: tuple[str, ...]) -> None:
    has_json = any("--json" in one.opts for one in COMMANDS[words].params)
    more = ["--json"] if has_json else []
    more += ["--no-follow"] if words == ("tail",) else []
    for parameter in wrong_paths(words):
        for name in BAD:
            if words == ("serve",) and name == "empty":
                continue  # no settings are the defaults, with which it would serve
            arguments = [*words, *needed(words, parameter, name), *given(parameter, name)]
            ended = run(*arguments, *more)
            told = (arguments, ended)
            if ended.code == 0:
                assert name not in ("missing", "folder"), told
                continue
            assert ended.code in (2, 3), told
            assert ended.err.startswith("error: "), told
            assert ended.err.count("\n") == 1, told
            if has_json:
                printed = json.loads(ended.out)
                assert printed == {"error": ended.err[7:-1], "exit_code": ended.code}, told


@EXPORT_BY_WORDS
def test_an_unknown_option_of_the_trainer_is_one_line(
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["routoo-export", *words, "--no-such-option", "--json"])
    with pytest.raises(SystemExit) as ended:
        export_main()
    found = capsys.readouterr()
    assert ended.value.code == 2
    assert found.err.startswith("error: ")
    assert found.err.endswith(f"see `routoo-export {' '.join(words)} --help`\n")
    assert json.loads(found.out) == {"error": found.err[7:-1], "exit_code": 2}
