"""The page's files, and the latest decisions over HTTP."""

from __future__ import annotations

import asyncio
import gzip
import re
from time import time
from typing import TYPE_CHECKING, Any

import jsonschema
import orjson
import pytest

from routoo.api.security.tokens import append_token, new_token
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    import httpx

    from conftest import Front

    Fronts = Callable[..., AbstractAsyncContextManager[Front]]

OFFERED = {"name": "lp", "offered": ["cheapest", "lp"]}


async def test_the_page_and_its_files(fronts: Fronts) -> None:
    async with fronts() as front:
        page = await front.client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["content-security-policy"].startswith("default-src 'self'; ")
        assert page.headers["cache-control"] == "no-cache"
        again = await front.client.get("/", headers={"if-none-match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        paths = re.findall(r'(?:href|src)="(/console/[^"]+)"', page.text)
        assert {path.rpartition("/")[2] for path in paths} == {"icon.svg", "main.js", "page.css"}
        sent = len(page.content)
        for path in paths:
            file = await front.client.get(path)
            assert file.status_code == 200
            assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
            sent += len(file.content)
            plain = await front.client.get(path, headers={"accept-encoding": "identity"})
            assert plain.content == file.content
            assert "content-encoding" not in plain.headers
            old = await front.client.get(re.sub("/console/[0-9a-f]+/", "/console/old/", path))
            assert (old.status_code, old.headers["cache-control"]) == (200, "no-cache")
        assert (await front.client.get("/console/x/none.js")).status_code == 404
    assert sent < 500_000


async def test_no_file_names_another_site(fronts: Fronts) -> None:
    async with fronts() as front:
        page = (await front.client.get("/")).text
        base = re.findall(r'src="(/console/[0-9a-f]+/)', page)[0]
        texts, left = {"": page}, ["main.js", "page.css"]
        while left:
            name = left.pop()
            texts[name] = (await front.client.get(base + name)).text
            left += [one for one in re.findall(r'from "\./([a-z]+\.js)"', texts[name])
                     if one not in texts]  # fmt: skip
    assert len(texts) > 10
    for name, text in texts.items():
        found = set(re.findall(r"https?://[^\"' ]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not found, name
        assert "innerHTML" not in text


@pytest.mark.parametrize(("console", "status"), [(None, 200), (True, 200), (False, 404)])
async def test_a_setting_turns_it_off(fronts: Fronts, *, console: bool | None, status: int) -> None:
    async with fronts(http={"console": console}) as front:
        for path in ("/", "/v1/decisions"):
            assert (await front.client.get(path)).status_code == status
        described = (await front.client.get("/openapi.json")).json()["paths"]
        assert ("/v1/decisions" in described) == (status == 200)


async def test_the_latest_decisions_are_listed(fronts: Fronts) -> None:
    async with fronts(policy=OFFERED) as front:
        await front.post("/v1/route", {"prompt": "easy"})
        first = (await front.client.get("/v1/decisions")).json()
        assert first["decisions"] == []
        ids = [
            (await front.post("/v1/route", {"prompt": one})).json()["decision_id"]
            for one in ("easy", "hard", "hard")
        ]
        await front.post("/v1/route", {"prompt": "easy", "max_cost_usd": 0})
        reply = (await front.client.get("/v1/decisions")).json()
        api = (await front.client.get("/openapi.json")).json()
        shown = api["paths"]["/v1/decisions"]["get"]["responses"]["200"]["content"]
        schema = {**shown["application/json"]["schema"], "components": api["components"]}
        jsonschema.validate(reply, schema)
        refused, *made = reply["decisions"]
        assert [one["decision_id"] for one in made] == ids[::-1]
        assert refused["refused"].startswith("max_cost_usd 0 ")
        assert reply["totals"]["decisions"] == sum(reply["totals"]["models"].values()) == 3
        assert (reply["totals"]["refused"], reply["workers"], reply["has_prompts"]) == (1, 1, False)
        two = (await front.client.get(f"/v1/decisions?limit=2&after={made[2]['number']}")).json()
        assert [one["number"] for one in two["decisions"]] == ["4", "3"]
        wrong = await front.client.get("/v1/decisions?limit=501")
        assert (wrong.status_code, wrong.json()["field"]) == (400, "limit")


async def test_two_policies_are_compared(fronts: Fronts) -> None:
    async with fronts(policy=OFFERED) as front:
        asked = {"policy": "cheapest", "other_policy": "lp"}
        nothing = (await front.post("/v1/decisions/compare", asked)).json()
        assert (nothing["same"], nothing["differences"]) == (0, [])
        for prompt in ("easy", "hard", "hard hard"):
            await front.post("/v1/route", {"prompt": prompt})
        told = (await front.post("/v1/decisions/compare", asked)).json()
        cheapest, lp = told["side"]["totals"], told["other_side"]["totals"]
        assert cheapest["decisions"] == lp["decisions"] == 3
        assert cheapest["predicted_cost_usd"] < lp["predicted_cost_usd"]
        assert cheapest["mean_predicted_score"] < lp["mean_predicted_score"]
        assert told["same"] + len(told["differences"]) == 3
        same = (await front.post("/v1/decisions/compare", {"policy": "lp"})).json()
        assert same["same"] == 3
        wrong = await front.post("/v1/decisions/compare", {"other_policy": "no"})
        assert (wrong.status_code, wrong.json()["field"]) == (400, "other_policy")


async def test_a_comparison_is_the_same_before_and_after(fronts: Fronts) -> None:
    offered = {"name": "lp", "offered": ["economy", "quality", "lp"]}
    async with fronts(policy=offered) as front:
        await front.client.get("/v1/decisions")
        prompts = [{"prompt": one} for one in ("easy", "hard", "hard hard hard", "easy hard")]
        for prompt in prompts:
            await front.post("/v1/route", prompt)
        for names in (("economy", "quality"), ("lp", "quality")):
            asked = dict(zip(("policy", "other_policy"), names, strict=True))
            made = (await front.post("/v1/decisions/compare", asked)).json()
            planned = (
                await front.post("/v1/decisions/compare", {**asked, "requests": prompts})
            ).json()
            for side in ("side", "other_side"):
                assert made[side] == planned[side]
            assert made["same"] == planned["same"]


async def test_prompts_are_compared_and_tried_without_booking(fronts: Fronts) -> None:
    budget = {"name": "all", "usd": 9e6, "per": "30d"}
    async with fronts(policy=OFFERED, budgets=[budget]) as front:
        one = {"prompt": "hard", "explain": True, "max_output_tokens": 50}
        tried = (await front.post("/v1/decisions/try", one)).json()
        made = (await front.post("/v1/route", one)).json()
        for name in ("model", "predicted_score", "predicted_cost_usd", "candidates", "fallbacks"):
            assert tried[name] == made[name]
        assert tried["decision_id"] == ""
        cheap = (await front.post("/v1/decisions/try", {**one, "policy": "cheapest"})).json()
        assert cheap["reason"]["rule"] == "RULE_CHEAPEST"
        none = (await front.post("/v1/decisions/try", {**one, "max_cost_usd": 0})).json()
        assert none["detail"].startswith("max_cost_usd 0 (raise it")
        asked: dict[str, Any] = {"policy": "cheapest", "other_policy": "lp"}
        asked["requests"] = [one, {"prompt": "easy"}]
        told = (await front.post("/v1/decisions/compare", asked)).json()
        assert told["side"]["totals"]["decisions"] == 2
        assert told["differences"][-1]["model"] == cheap["model"]
        assert told["differences"][-1]["other_model"] == tried["model"]
        assert told["differences"][-1]["prompt"] == "hard"
        for wrong, field in (
            ([{"prompt": "x", "policy": "lp"}], "requests[0].policy"),
            ([{"prompt": "x"}, {}], "requests[1]"),
            ([{"prompt": "x"}] * 201, "requests"),
        ):
            reply = await front.post("/v1/decisions/compare", {**asked, "requests": wrong})
            assert reply.status_code == 400
            assert reply.json()["field"].startswith(field)
        (left,) = (await front.client.get("/v1/budgets")).json()["budgets"]
        assert left["granted_requests"] == "1"
        api = (await front.client.get("/openapi.json")).json()["paths"]
        names = [one["operationId"] for path in api.values() for one in path.values()
                 if "operationId" in one]  # fmt: skip
        assert len(names) == len(set(names))


async def events(reply: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in reply.aiter_lines():
        if line.startswith("data: "):
            yield orjson.loads(line[6:])


async def test_decisions_come_as_events_until_the_service_stops(fronts: Fronts) -> None:
    async with (
        asyncio.timeout(HANG_S),
        fronts() as front,
        front.client.stream("GET", "/v1/decisions/stream") as reply,
    ):
        assert reply.headers["content-type"] == "text/event-stream"
        told = events(reply)
        assert (await anext(told))["decisions"] == []
        made = (await front.post("/v1/route", {"prompt": "easy"})).json()
        (seen,) = (await anext(told))["decisions"]
        assert seen["decision_id"] == made["decision_id"]
        assert seen["predicted_score"] == made["predicted_score"]
        front.running.service.metrics.draining()
        assert [one async for one in told] == []


async def test_so_many_may_look_and_no_more(
    fronts: Fronts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routoo.api.http.console.decisions._MOST_VIEWERS", 1)
    path = "/v1/decisions/stream"
    async with asyncio.timeout(HANG_S), fronts() as front:
        async with front.client.stream("GET", path) as reply:
            await anext(events(reply))
            assert (await front.client.get(path)).status_code == 503
        status = 503
        while status != 200:  # that the first one has left is noticed a little later
            async with front.client.stream("GET", path) as reply:
                status = reply.status_code


async def test_prompts_are_shown_where_the_log_has_them(fronts: Fronts, tmp_path: Path) -> None:
    log = {"path": tmp_path / "log.jsonl", "prompts": True}
    async with fronts(decision_log=log) as front:
        await front.client.get("/v1/decisions")
        await front.post("/v1/route", {"prompt": "easy"})
        reply = (await front.client.get("/v1/decisions")).json()
    assert reply["has_prompts"]
    assert reply["decisions"][0]["prompt"] == "easy"


class Tokens:
    """A file of tokens, and the headers that show them."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "tokens.jsonl"
        self.file.touch()

    def new(self, tenant: str, *roles: Any) -> dict[str, str]:
        text, stored = new_token(tenant, roles or ("route",), time(), None)
        append_token(self.file, stored)
        return {"authorization": f"Bearer {text}"}


async def test_tenants_see_their_own_decisions(
    fronts: Fronts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routoo.api.http.console.decisions._ASK_AGAIN_S", 0.0)
    tokens = Tokens(tmp_path)
    a, b, nobody = tokens.new("a"), tokens.new("b"), tokens.new("")
    admin = tokens.new("", "admin")
    async with (
        asyncio.timeout(HANG_S),
        fronts(security={"tokens": tokens.file}, policy=OFFERED) as front,
    ):
        client = front.client
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/v1/decisions")).status_code == 401
        assert (await client.get("/v1/decisions/stream")).status_code == 401
        assert (await client.get("/v1/decisions", headers=nobody)).status_code == 403
        await client.get("/v1/decisions", headers=admin)
        for who in (a, b, b):
            await client.post("/v1/route", json={"prompt": "easy"}, headers=who)
        seen = {}
        for name, who in (("a", a), ("b", b), ("admin", admin)):
            reply = (await client.get("/v1/decisions", headers=who)).json()
            seen[name] = [one["tenant"] for one in reply["decisions"]]
            assert reply["totals"]["decisions"] == len(seen[name])
            compared = await client.post("/v1/decisions/compare", json={}, headers=who)
            assert compared.json()["same"] == len(seen[name])
        assert seen == {"a": ["a"], "b": ["b", "b"], "admin": ["b", "b", "a"]}
        async with client.stream("GET", "/v1/decisions/stream", headers=a) as reply:
            told = events(reply)
            assert [one["tenant"] for one in (await anext(told))["decisions"]] == ["a"]
            tokens.file.write_text("")
            assert [one async for one in told] == []
        assert (await client.get("/v1/decisions", headers=a)).status_code == 401


async def test_a_packed_file_is_the_file(fronts: Fronts) -> None:
    async with fronts() as front:
        headers = {"accept-encoding": "gzip"}
        async with front.client.stream("GET", "/", headers=headers) as reply:
            packed = b"".join([part async for part in reply.aiter_raw()])
        plain = await front.client.get("/", headers={"accept-encoding": "identity"})
    assert reply.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed) == plain.content
    assert len(packed) < len(plain.content) / 2
