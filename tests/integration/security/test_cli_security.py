"""The command line makes tokens, and calls a service with TLS and tokens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from routoo.api.security.tokens import read_tokens
from support.certificates import authority
from support.processes.process import ROUTOO, line_of, process, write_tiny_config

if TYPE_CHECKING:
    from pathlib import Path


async def routoo(*arguments: str) -> tuple[int | None, str, str]:
    """Runs one command, and returns its exit code, stdout and stderr."""
    async with process(*ROUTOO, *arguments) as running:
        out, err = await running.communicate()
        return running.returncode, out.decode(), err.decode()


async def test_a_token_from_its_making_to_its_use(tmp_path: Path) -> None:
    signed = authority(tmp_path)
    tls = signed.serve()
    del tls["client_ca"]
    tokens, mine = tmp_path / "tokens.jsonl", tmp_path / "token"
    code, made, _ = await routoo("token", "new", "--file", str(tokens), "--tenant", "a")
    assert code == 0
    mine.write_text(made)
    config = write_tiny_config(tmp_path, security={"tls": tls, "tokens": "tokens.jsonl"})
    ca = ("--ca", str(tmp_path / "clients.pem"))
    async with process(*ROUTOO, "serve", "--config", str(config)) as running:
        address = (await line_of(running, "ready ")).split()[1]
        patient = ("--timeout-s", "60")
        ask = ("route", "easy", "--address", address, *patient)
        code, out, err = await routoo(*ca, "--token-file", str(mine), *ask)
        assert (code, err) == (0, "")
        assert "small" in out
        code, _, err = await routoo(*ca, *ask)
        assert code == 2
        assert err.startswith("error: who calls is asked here;")
        assert err.endswith("name a file with a token: routoo --token-file F ...\n")
        code, _, err = await routoo(
            *(*ca, "--token-file", str(mine), "budgets", "--tenant", "b", "--address", address),
            *patient,
        )
        assert (code, err) == (
            2,
            "error: tenant: another than that of your token or certificate; leave it empty\n",
        )
        assert (await routoo(*ca, "health", address, *patient))[:2] == (0, "SERVING\n")
        code, _, err = await routoo("--token-file", str(mine), *ask)
        assert code == 3
        assert "cannot reach the service" in err


async def test_many_commands_at_once_lose_no_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens.jsonl"

    async def made(number: int) -> str:
        arguments = ("token", "new", "--file", str(path), "--tenant", f"t{number}")
        code, out, err = await routoo(*arguments)
        assert (code, err) == (0, "")
        return out.strip()

    texts = await asyncio.gather(*(made(number) for number in range(16)))
    tokens = read_tokens(path)
    assert len(tokens) == 16
    for number, text in enumerate(texts):
        caller = tokens.caller_of(text, 0.0)
        assert caller is not None
        assert caller.tenant == f"t{number}"


async def test_a_damaged_file_gets_no_further_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens.jsonl"
    path.write_text('{"id": "half of a li')
    code, out, err = await routoo("token", "new", "--file", str(path))
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {path}:1: not a line of `routoo token new`")
    assert path.read_text() == '{"id": "half of a li'
