"""``RouteStream`` over HTTP: lines in, lines out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from support.watched import HANG_S, watch_predictor

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    import httpx

    from conftest import Front

    Fronts = Callable[..., AbstractAsyncContextManager[Front]]

PATH = "/v1/route/stream"
BUDGET = {"name": "all", "usd": 9e6, "per": "30d"}


def lines_of(*values: Any) -> bytes:
    return b"\n".join(one if isinstance(one, bytes) else orjson.dumps(one) for one in values)


def told(reply: httpx.Response) -> dict[str, Any]:
    """The replies by the ids of their requests."""
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/x-ndjson"
    return {one["request_id"]: one for one in map(orjson.loads, reply.content.splitlines())}


async def test_each_line_gets_a_line(fronts: Fronts) -> None:
    async with fronts() as front:
        asked = [{"request_id": str(at), "prompt": "hard" * (at % 3)} for at in range(400)]
        asked[7]["prompt"] = "easy"
        asked = [one for one in asked if one["prompt"]]
        reply = await front.client.post(PATH, content=lines_of(*asked) + b"\r\n\n")
        found = told(reply)
        assert found.keys() == {one["request_id"] for one in asked}
        alone = (await front.post("/v1/route", asked[0])).json()
        same = found[alone["request_id"]]
        for name in ("model", "predicted_score", "predicted_cost_usd", "reason"):
            assert same[name] == alone[name]
        assert len({one["decision_id"] for one in found.values()}) == len(asked)


async def test_a_wrong_line_leaves_the_others(fronts: Fronts) -> None:
    async with fronts() as front:
        body = lines_of(
            {"request_id": "a", "prompt": "easy"},
            b"{",
            {"request_id": "c", "prompt": "easy", "max_cost_usd": 0},
            {"request_id": "d", "prompt": "hard"},
        )
        found = told(await front.client.post(PATH, content=body))
        assert found["a"]["model"]
        assert found["d"]["model"]
        assert found[""]["error"]["message"].startswith("line 2: the body is not JSON")
        assert found["c"]["error"] == {
            "code": 9,
            "message": found["c"]["error"]["message"],
        }
        assert found["c"]["error"]["message"].startswith("line 3: max_cost_usd 0 (raise it")


async def test_nothing_and_too_much_are_refused(fronts: Fronts) -> None:
    async with fronts(limits={"max_batch_prompts": 2}) as front:
        for body in (b"", b"\n \n", lines_of(*[{"prompt": "x"}] * 3)):
            reply = await front.client.post(PATH, content=body)
            assert reply.status_code == 400
            assert "of 1 to 2 lines" in reply.json()["detail"]


async def test_a_client_s_limits_count_each_line(fronts: Fronts) -> None:
    limits = {"prompts_per_s": 0.001, "burst_prompts": 2}
    async with fronts(security={"per_client": limits}) as front:
        body = lines_of(*({"request_id": str(at), "prompt": "easy"} for at in range(4)))
        found = told(await front.client.post(PATH, content=body))
        assert sum("error" not in one for one in found.values()) == 2
        assert {one["error"]["code"] for one in found.values() if "error" in one} == {8}


async def test_of_a_caller_that_leaves_nothing_stays_booked(fronts: Fronts) -> None:
    async with asyncio.timeout(HANG_S), fronts(budgets=[BUDGET]) as front:
        engine = front.running.service.engine
        predictor = watch_predictor(engine)
        predictor.hold()
        body = lines_of(*({"prompt": "easy"} for _ in range(20)))
        async with front.client.stream("POST", PATH, content=body) as reply:
            assert reply.status_code == 200
        admission = front.running.service._http._admission  # type: ignore[union-attr]
        await admission._idle.wait()
        predictor.release()
        await front.post("/v1/route", {"prompt": "easy"})
        granted = 0
        while granted != 1:  # what nobody takes is given back in a thread of its own
            await asyncio.sleep(0.01)
            ((budget, _),) = await engine.budgets()
            granted = budget.granted
