"""A token that no longer holds ends the streams that were opened with it."""

from __future__ import annotations

import asyncio
from time import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from routoo.api import open_streams
from routoo.api.security import gate
from routoo.api.security.tokens import append_token, new_token
from routoo.v1 import route_pb2
from support.access_log import entry, log_stream, message
from support.processor_stream import request_headers, stream
from support.tiny_processor import with_settings
from support.tiny_service import Running, refusal, serving, tiny_settings
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EASY = route_pb2.RouteRequest(prompt="easy")
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_streams, "RECHECK_S", 0.02)
    monkeypatch.setattr(gate, "_LOOK_EVERY_S", 0.0)


@pytest.fixture
def token(tmp_path: Path) -> Callable[..., Any]:
    """Makes a token that is in the file, and returns the metadata that show it."""

    def make(tenant: str, *roles: str) -> Any:
        text, stored = new_token(tenant, roles or ("route",), time())
        append_token(tmp_path / "tokens.jsonl", stored)
        return (("authorization", f"Bearer {text}"),)

    return make


def take_back(folder: Path, place: int) -> None:
    """Removes one line of the file of the tokens."""
    lines = (folder / "tokens.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "tokens.jsonl").write_text("".join(lines[:place] + lines[place + 1 :]), "utf-8")


async def answered(running: Running, call: Any) -> None:
    await call.write(EASY)
    assert (await call.read()).model == "small"


async def test_an_idle_stream_ends_with_its_token_and_others_go_on(
    tmp_path: Path, token: Callable[..., Any]
) -> None:
    ended, kept = token("a"), token("b")
    settings = tiny_settings(tmp_path, security={"tokens": tmp_path / "tokens.jsonl"})
    async with serving(settings) as running, asyncio.timeout(HANG_S):
        calls = [running.stub.RouteStream(metadata=one, timeout=60) for one in (ended, kept)]
        for call in calls:
            await answered(running, call)
        take_back(tmp_path, 0)
        code, text = await refusal(calls[0].read())
        assert code is UNAUTHENTICATED
        assert text.startswith("the token is not known here")
        await answered(running, calls[1])
        await calls[1].done_writing()
        assert await calls[1].read() is grpc.aio.EOF


async def test_other_rights_under_the_same_token_end_its_stream(
    tmp_path: Path, token: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = token("a")
    file = tmp_path / "tokens.jsonl"
    checked = asyncio.Event()
    identify = gate.Gate.identify

    def watched(*arguments: Any) -> Any:
        checked.set()
        return identify(*arguments)

    monkeypatch.setattr(gate.Gate, "identify", watched)
    async with serving(tiny_settings(tmp_path, security={"tokens": file})) as running:
        async with asyncio.timeout(HANG_S):
            call = running.stub.RouteStream(metadata=shown, timeout=60)
            await answered(running, call)
            await checked.wait()
            changed = file.read_text("utf-8").replace('"tenant":"a"', '"tenant":"b"')
            file.write_text(changed, "utf-8")
            code, text = await refusal(call.read())
        assert code is UNAUTHENTICATED
        assert text == "the tenant or roles of your credential have changed; open a new stream"


async def test_envoys_streams_end_with_its_token(tmp_path: Path, token: Callable[..., Any]) -> None:
    shown = token("a")
    security = {"tokens": tmp_path / "tokens.jsonl"}
    async with with_settings(tmp_path, security=security) as running, asyncio.timeout(HANG_S):
        log = log_stream(running.channel, shown)
        await log.write(message(entry("1")))
        async with stream(running.channel, shown) as one:
            await one.say(request_headers())
            take_back(tmp_path, 0)
            assert await log.code() == UNAUTHENTICATED
            assert await one.ended() == UNAUTHENTICATED
