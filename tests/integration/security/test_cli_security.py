"""The command line makes tokens, and calls a service with TLS and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
        ask = ("route", "easy", "--address", address)
        code, out, err = await routoo(*ca, "--token-file", str(mine), *ask)
        assert (code, err) == (0, "")
        assert "small" in out
        code, _, err = await routoo(*ca, *ask)
        assert code == 2
        assert err.startswith("routoo: who calls is asked here;")
        assert err.endswith("name a file with a token: routoo --token-file F ...\n")
        code, _, err = await routoo(
            *(*ca, "--token-file", str(mine), "budgets", "--tenant", "b", "--address", address)
        )
        assert (code, err) == (
            2,
            "routoo: tenant: another than that of your token or certificate; leave it empty\n",
        )
        assert (await routoo(*ca, "health", address))[:2] == (0, "SERVING\n")
        code, _, err = await routoo("--token-file", str(mine), *ask)
        assert code == 3
        assert "cannot reach the service" in err
