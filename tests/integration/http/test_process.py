"""The HTTP front of ``routoo serve``: its line, its workers on one port, and its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx

from support.processes.process import HELD, ROUTOO, exit_code, line_of, process, write_tiny_config
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

START_S = 5 * HANG_S
MOST_CONNECTIONS = 64


def http_of(line: str) -> str:
    return dict(word.split("=", 1) for word in line.split()[2:])["http"]


def client_of(address: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://{address}", timeout=HANG_S, trust_env=False)


async def test_workers_are_one_front(tmp_path: Path) -> None:
    config = write_tiny_config(tmp_path, workers=2, http={"listen": "127.0.0.1:0"})
    async with process(*ROUTOO, "serve", "--config", str(config)) as supervisor:
        address = http_of(await line_of(supervisor, "ready ", START_S))
        ids: dict[str, str] = {}
        for _ in range(MOST_CONNECTIONS):
            # A new connection each, which the kernel gives to either worker.
            async with client_of(address) as client:
                reply = await client.post("/v1/route", json={"prompt": "easy"})
                decided = reply.json()["decision_id"]
                ids.setdefault(decided.partition("-")[0], decided)
                # One process's metrics are not those of the service.
                assert (await client.get("/metrics")).status_code == 404
            if len(ids) == 2:
                break
        assert len(ids) == 2
        async with client_of(address) as client:
            reports = [{"decision_id": one, "score": 0.5} for one in ids.values()]
            booked = await client.post("/v1/outcomes", json=reports)
            assert [one["accepted"] for one in booked.json()] == [True, True]
            weighed = await client.post("/v1/escalate", json={"decision_id": "0" * 20 + "-1"})
            assert weighed.status_code == 404
        supervisor.terminate()
        assert await exit_code(supervisor) == 0


async def test_a_front_that_is_off_is_told(tmp_path: Path) -> None:
    config = write_tiny_config(tmp_path, http={"listen": "127.0.0.1:0"})
    off = ("serve", "--config", str(config), "--http-listen", "")
    async with process(*ROUTOO, *off) as serve:
        assert http_of(await line_of(serve, "ready ")) == "off"
        serve.terminate()
        assert await exit_code(serve) == 0


async def test_what_was_accepted_is_answered_before_the_end(tmp_path: Path) -> None:
    config = write_tiny_config(tmp_path, http={"listen": "127.0.0.1:0"})
    async with process(*HELD, "serve", "--config", str(config)) as held:
        async with client_of(http_of(await line_of(held, "ready "))) as client:
            waiting = asyncio.create_task(client.post("/v1/route", json={"prompt": "hold easy"}))
            await line_of(held, "held")
            held.terminate()
            async with asyncio.timeout(HANG_S):
                # Nothing tells the client when the drain has begun.
                while (await client.get("/readyz")).status_code == 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            late = await client.post("/v1/route", json={"prompt": "easy"})
            assert (late.status_code, late.json()["code"]) == (503, "UNAVAILABLE")
            assert late.headers["connection"] == "close"
            assert held.stdin is not None
            held.stdin.write(b"\n")
            await held.stdin.drain()
            assert (await waiting).json()["model"] == "medium"
        assert await exit_code(held) == 0
