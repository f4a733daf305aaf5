"""Credentials on the command line: a mistake is reported in one line, without the secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from support.processes.command_line import Run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--token-file", "none", "models"), "none: cannot be read: No such file or directory"),
        (("--cert", "c", "--key", "k", "models"), "--cert and --key need --ca"),
        (("--ca", "a", "--cert", "c", "models"), "--cert needs --key, and --key needs --cert"),
        (("token", "new", "--file", "t", "--role", "root"), "--role root: there are the roles"),
        (("token", "new", "--file", "t", "--expires-in", "soon"), "write 30m, 12h or 90d"),
        (("token", "new", "--file", "no/t"), "no/t: cannot be written: No such file"),
        (("serve", "--listen", "0.0.0.0:0"), "has no TLS (security.tls) and no authentication"),
        (("serve", "--listen", "unix:a.sock"), "has to be unix:/path, the path from the root"),
    ],
)
def test_a_mistake_is_one_line_with_its_remedy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: str,
    run: Run,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert ended.err.count("\n") == 1


def test_a_broken_file_of_tokens_is_not_made_longer(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "tokens.jsonl"
    file.write_text("nonsense\n")
    ended = run("token", "new", "--file", str(file))
    assert (ended.code, ended.out) == (2, "")
    assert f"{file}:1: not a line of `routoo token new`; remove it" in ended.err
    assert file.read_text() == "nonsense\n"


def test_a_token_is_not_sent_in_the_clear(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "token"
    file.write_text("routoo_0123456789ab_secret\n")
    ended = run("--token-file", str(file), "models", "--address", "10.0.0.1:1")
    assert ended.code == 2
    assert (
        "10.0.0.1:1 is another machine, and the token would be sent there unencrypted" in ended.err
    )
    assert "secret" not in ended.err
