"""The examples of clients run unchanged, through the HTTP front and through a real Envoy."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.peers.llm_upstream import TEXT, Upstream, upstream
from support.peers.proxied import proxied
from support.peers.real_envoy import envoy_config, processor, running_envoy
from support.processes.tools import missing
from support.tables.client_bodies import ABLE, pool_of_clients
from support.tiny_processor import with_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples"
LANGCHAIN = ROOT / ".langchain"
RUN_S = 240.0  # the libraries alone take seconds to import


@asynccontextmanager
async def front(folder: Path) -> AsyncIterator[tuple[str, Upstream]]:
    async with proxied(folder, pool=pool_of_clients(folder)) as one:
        yield one.url, one.upstream


@asynccontextmanager
async def envoy(folder: Path) -> AsyncIterator[tuple[str, Upstream]]:
    async with (
        upstream() as provider,
        with_settings(folder, pool=pool_of_clients(folder)) as running,
    ):
        config, port = envoy_config(
            routoo=int(running.service.address.rpartition(":")[2]),
            local=provider.port,
            hosted=provider.port,
        )
        processor(config).update({"message_timeout": f"{HANG_S:.0f}s"})
        async with running_envoy(config, folder, port):
            yield f"http://127.0.0.1:{port}", provider


@pytest.fixture(params=[front, envoy], ids=["front", "envoy"])
async def door(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[str, Upstream]]:
    async with request.param(tmp_path) as found:
        yield found


async def ran(
    example: str, url: str, folder: Path, *words: str, paths: Path | None = None
) -> dict[str, list[str]]:
    """Runs an example; returns what it has printed, by the word before the colon.

    Args:
        example: its file.
        url: the door.
        folder: where it runs.
        words: its arguments.
        paths: a folder of further packages; None: it needs none.
    """
    found_at = os.pathsep.join(filter(None, [str(paths or ""), os.environ.get("PYTHONPATH", "")]))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / example), *words),
        env={**os.environ, "ROUTOO_URL": url, "NO_PROXY": "*", "PYTHONPATH": found_at},
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(RUN_S):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, err.decode()
    found: dict[str, list[str]] = {}
    for line in out.decode().splitlines():
        name, _, value = line.partition(": ")
        found.setdefault(name, []).append(value)
    return found


async def test_a_chat_application(door: tuple[str, Upstream], tmp_path: Path) -> None:
    url, provider = door
    told = await ran("chat_app.py", url, tmp_path, "hard")
    assert told["answer"] == told["title"] == [TEXT]
    assert "auto" in told["models"][0]
    streamed, titled = (one.json for one in provider.received)
    assert told["chosen"] == [streamed["model"]]
    assert streamed["stream_options"] == {"include_usage": True}
    assert titled["model"] in ABLE


async def test_a_coding_agent_stays_with_its_model(
    door: tuple[str, Upstream], tmp_path: Path
) -> None:
    url, provider = door
    (tmp_path / "three.txt").write_text("1\n2\n3\n")
    provider.calls = '{"path": "three.txt"}'
    told = await ran("coding_agent.py", url, tmp_path, "hard")
    assert told["answer"] == [TEXT]
    assert int(told["input"][0].split()[0]) > 0
    first, second = (one.json for one in provider.received)
    assert told["chosen"] == [first["model"], second["model"]]
    assert first["model"] == second["model"]
    assert second["messages"][-1]["content"][0]["content"] == "3"
    assert second["system"][0]["cache_control"] == {"type": "ephemeral"}


async def test_a_terminal_agent_stays_with_its_model(
    door: tuple[str, Upstream], tmp_path: Path
) -> None:
    url, provider = door
    (tmp_path / "src").mkdir()
    provider.calls = '{"path": "src/.."}'
    told = await ran("terminal_agent.py", url, tmp_path, "hard")
    assert told["answer"] == [TEXT]
    first, second = (one.json for one in provider.received)
    assert told["chosen"] == [first["model"], second["model"]]
    assert first["model"] == second["model"]
    assert first["prompt_cache_key"] == second["prompt_cache_key"]
    kinds = [item["type"] for item in second["input"]]
    assert kinds == ["message", "function_call", "function_call_output"]
    assert "src" in second["input"][-1]["output"]


async def test_a_chain_of_langchain(door: tuple[str, Upstream], tmp_path: Path) -> None:
    if not (LANGCHAIN / "langchain_openai").is_dir():
        missing("no LangChain in .langchain; make test installs it there")
    url, provider = door
    provider.calls = '{"city": "Paris"}'
    told = await ran("langchain_chat.py", url, tmp_path, "hard", paths=LANGCHAIN)
    assert told["answer"] == [TEXT]
    assert told["tool"] == ["Paris: 2,100,000"]
    streamed, called = (one.json for one in provider.received)
    assert streamed["model"] in ABLE
    assert told["chosen"] == [called["model"]]
    assert "tools" in ABLE[called["model"]]
