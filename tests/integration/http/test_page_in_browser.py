"""The page in a real Chromium: every view does its work, and everybody can use it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from time import time
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest
import yaml

from routoo.api.security.tokens import append_token, new_token
from routoo.config.loading import load_settings
from routoo.config.sections.policy import PolicySettings
from support.processes.browser.chromium import PAGE_S, SHOTS, VIEWS, Tab, chromium
from support.tiny_service import serving
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from conftest import Front

    Fronts = Callable[..., AbstractAsyncContextManager[Front]]

OFFERED = {"name": "lp", "offered": ["cheapest", "lp"]}
PROMPTS = (
    "Hi",
    "Prove that the square root of 2 is irrational",
    "Write a Python function that merges two sorted lists",
    "Translate to French: good morning, everybody",
    "Summarize the causes of the first world war in three sentences",
    "What is the capital of Peru?",
)
PAUSED = "document.getElementById('live-pause').getAttribute('aria-pressed') === 'true'"


@asynccontextmanager
async def shipped(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A service with the shipped predictor and pool, and a client of it."""
    values: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "http": {"listen": "127.0.0.1:0"},
        "metrics": {"enabled": False},
        "policy": OFFERED,
        "budgets": [{"name": "today", "usd": 5, "per": "1d"}],
        "decision_log": {"path": tmp_path / "log.jsonl", "prompts": True},
        "shutdown_grace_s": 1,
    }
    async with serving(load_settings(None, values)) as running:
        base = f"http://{running.service.http_address}"
        async with httpx.AsyncClient(base_url=base, timeout=HANG_S, trust_env=False) as client:
            yield client


def address_of(client: httpx.AsyncClient) -> str:
    return client.base_url.netloc.decode()


async def work(tab: Tab, view: str) -> None:
    """Does in a view what it is for."""
    page = tab.page
    await tab.show(view)
    if view == "try":
        await page.click("#try-form button[type=submit]")
        await tab.text("#try-result .headline")
    elif view == "live":
        await tab.text("#live-decisions tbody th")
        await tab.text("#live-state li")
    elif view == "compare":
        await page.select_option("#compare-one", "cheapest")
        await page.select_option("#compare-other", "lp")
        await page.click("#compare-form button[type=submit]")
        await tab.text("#compare-result .headline")
    elif view == "grade":
        await page.locator("#grade-decisions button").first.click()
        await page.click("#grade-form button[type=submit]")
        await tab.text("#grade-result")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_view_can_be_used_by_everybody(tmp_path: Path, scheme: str) -> None:
    async with asyncio.timeout(PAGE_S), shipped(tmp_path) as client, chromium() as browser:
        tab = await Tab.open(browser, address_of(client), color_scheme=scheme)
        await tab.ready()
        await client.get("/v1/decisions")  # they are noted from when somebody looks
        for prompt in (*PROMPTS, *PROMPTS):
            await client.post("/v1/route", json={"prompt": prompt})
        await client.post("/v1/route", json={"prompt": "Hi", "max_cost_usd": 0})
        found = {}
        for view in VIEWS:
            await work(tab, view)
            await tab.shoot(f"{view}-{scheme}")
            # The rules take a second a view: light on a large screen, dark on a phone.
            if scheme == "light":
                found[view] = await tab.findings()
            await tab.page.set_viewport_size({"width": 360, "height": 740})
            await tab.page.wait_for_function("innerWidth === 360")
            wide = await tab.page.evaluate("document.documentElement.scrollWidth")
            assert wide == 360, view
            if scheme == "dark":
                found[view] = await tab.findings()
                await tab.shoot(f"{view}-phone")
            await tab.page.set_viewport_size({"width": 1200, "height": 900})
    assert {view: findings for view, findings in found.items() if findings} == {}
    assert tab.errors == []


async def test_it_is_small_and_tells_when_it_painted(tmp_path: Path) -> None:
    async with asyncio.timeout(PAGE_S), shipped(tmp_path) as client, chromium() as browser:
        tab = await Tab.open(browser, address_of(client))
        await tab.ready()
        # The page may be ready before its first picture is on the screen.
        await tab.page.wait_for_function(
            "performance.getEntriesByName('first-contentful-paint').length > 0"
        )
        told = await tab.page.evaluate(
            """() => ({
              first_paint_ms: performance.getEntriesByName("first-contentful-paint")[0].startTime,
              bytes: [...performance.getEntriesByType("navigation"),
                      ...performance.getEntriesByType("resource")]
                .map((one) => [new URL(one.name).pathname.split("/").pop(), one.transferSize]),
            })"""
        )
        again = await tab.page.context.new_page()
        await again.goto(f"http://{address_of(client)}/")
        await again.wait_for_selector("html[data-ready=yes]")
        kept = await again.evaluate(
            """() => performance.getEntriesByType("resource")
              .filter((one) => one.name.includes("/console/")).map((one) => one.transferSize)"""
        )
    assert sum(size for _, size in told["bytes"]) < 500_000
    assert "main.js" in dict(told["bytes"])
    assert set(kept) == {0}  # nothing is sent twice
    SHOTS.mkdir(parents=True, exist_ok=True)
    told["bytes_in_all"] = sum(size for _, size in told["bytes"])
    (SHOTS / "measured.json").write_bytes(orjson.dumps(told))


async def test_the_keyboard_reaches_everything(fronts: Fronts) -> None:
    async with asyncio.timeout(PAGE_S), fronts() as front, chromium() as browser:
        tab = await Tab.open(browser, front.address)
        await tab.ready()
        press = tab.page.keyboard.press

        async def focused(name: str) -> None:
            element = "document.activeElement"
            await tab.page.wait_for_function(
                f"({element}.id || {element}.textContent) === '{name}'"
            )

        await press("Tab")
        await focused("Skip to the content")
        await press("Enter")
        await focused("main")
        await tab.page.focus("#tab-try")
        seen = []
        for key in ("ArrowRight", "ArrowRight", "End", "ArrowRight", "ArrowLeft", "Home"):
            await press(key)
            seen.append(await tab.page.evaluate("location.hash"))
            assert await tab.page.locator("[role=tabpanel]:visible").count() == 1
        assert seen == ["#curve", "#live", "#grade", "#try", "#grade", "#try"]
        await press("Tab")
        await focused("try")
        await tab.page.goto(f"http://{front.address}/#pool")
        await tab.page.locator("#pool").wait_for()


async def test_a_try_books_nothing_unless_it_is_real(fronts: Fronts) -> None:
    async with asyncio.timeout(PAGE_S), fronts() as front, chromium() as browser:
        tab = await Tab.open(browser, front.address)
        await tab.ready()
        page = tab.page
        await page.fill("#try-text", "hard")
        await page.click("#try-form button[type=submit]")
        chosen = await tab.text("#try-result .headline")
        whys = await tab.texts("#try-result tbody td:last-child")
        assert whys.count("chosen") == 1
        assert all(one.startswith(("chosen", "dominated: ", "price: ")) for one in whys)
        listed = (await front.client.get("/v1/decisions")).json()
        assert listed["decisions"] == []
        await page.click("#try-form summary")
        await page.fill("[name=max_cost_usd]", "0.000001")
        await page.select_option("#try-models", ["small", "medium"])
        await page.check("[name=real]")
        await page.fill("#try-text", "easy")
        await page.click("#try-form button[type=submit]")
        await tab.text("#problem")
        await page.fill("[name=max_cost_usd]", "")
        await page.click("#try-form button[type=submit]")
        decision = await tab.text("#try-result code")
        whys = await tab.texts("#try-result tbody td:last-child")
        assert "left out by allowed models" in whys
        assert await page.locator("#problem").is_hidden()
        refused, made = (await front.client.get("/v1/decisions")).json()["decisions"][::-1]
        assert (made["decision_id"], refused["model"]) == (decision, "")
        await page.click("#try-result button")
        assert await page.input_value("#grade-id") == decision
        await page.click("#grade-form button[type=submit]")
        assert await tab.text("#grade-result") == "Counted."
        await page.click("#grade-form button[type=submit]")
        await tab.text("#grade-result:has-text('Not counted')")
        assert chosen in {"small", "medium", "large"}


async def test_a_conversation_with_tools_is_tried(fronts: Fronts) -> None:
    async with asyncio.timeout(PAGE_S), fronts() as front, chromium() as browser:
        tab = await Tab.open(browser, front.address)
        await tab.ready()
        page = tab.page
        await page.check("[name=kind][value=messages]")
        await page.fill("#try-text", "[{]")
        await page.click("#try-form button[type=submit]")
        assert (await tab.text("#problem")).startswith("conversation: not JSON")
        said = [{"type": "text", "text": "hard"}, {"type": "text", "text": "easy"}]
        messages = [{"role": "user", "content": said}]
        tools = [{"type": "function", "function": {"name": "look", "description": "Looks."}}]
        await page.fill("#try-text", orjson.dumps(messages).decode())
        await page.click("#try-form summary")
        await page.fill("#try-tools", orjson.dumps(tools).decode())
        async with page.expect_request("**/v1/decisions/try") as sent:
            await page.click("#try-form button[type=submit]")
        asked = (await sent.value).post_data_json
        assert asked["messages"] == [
            {"role": "tools", "content": "look: Looks."},
            {"role": "user", "content": "hard\neasy"},
        ]
        await tab.text("#try-result .headline")
        assert "left out by required capabilities" in await tab.texts(
            "#try-result tbody td:last-child"
        )


async def test_the_curve_becomes_settings(fronts: Fronts) -> None:
    async with asyncio.timeout(PAGE_S), fronts() as front, chromium() as browser:
        tab = await Tab.open(browser, front.address)
        await tab.ready()
        await tab.show("curve")
        costs, scores = [], []
        for at in ("0", "400", "1000"):
            await tab.page.fill("#curve-budget", at)
            told = yaml.safe_load(await tab.text("#curve-settings"))
            costs.append(PolicySettings.model_validate(told["policy"]).max_mean_cost_usd)
            scores.append(float((await tab.text("#curve-quality-out")).split()[0]))
        assert costs == sorted(set(costs))
        assert scores == sorted(scores)
        curve = (await front.client.get("/v1/pool?curve_points=60")).json()["curve"]
        assert costs[0] == pytest.approx(curve[0]["mean_cost_usd"], rel=1e-3)
        assert costs[-1] == pytest.approx(curve[-1]["mean_cost_usd"], rel=1e-3)
        await tab.page.fill("#curve-quality", "0")
        assert await tab.page.input_value("#curve-budget") == "0"
        shares = await tab.texts("#curve-shares td.number")
        assert shares == ["100 %"]
        await tab.page.click("#curve-presets button:has-text('balanced')")
        told = yaml.safe_load(await tab.text("#curve-settings"))
        assert PolicySettings.model_validate(told["policy"]).name == "balanced"
        await tab.page.fill("#curve-budget", "400")
        assert "max_mean_cost_usd" in await tab.text("#curve-settings")
        await tab.page.click("#curve-copy")
        await tab.text("#curve-copied")


async def test_decisions_are_watched_and_held(fronts: Fronts) -> None:
    async with asyncio.timeout(PAGE_S), fronts() as front, chromium() as browser:
        tab = await Tab.open(browser, front.address)
        await tab.ready()
        await tab.show("live")
        await tab.text("#live-note")
        made = (await front.post("/v1/route", {"prompt": "easy"})).json()
        await tab.text(f"#live-decisions code:has-text('{made['decision_id']}')")
        await front.post("/v1/route", {"prompt": "easy", "max_cost_usd": 0})
        assert "max_cost_usd 0" in await tab.text("#live-refusals li")
        await tab.page.click("#live-pause")
        assert await tab.page.evaluate(PAUSED)
        later = (await front.post("/v1/route", {"prompt": "hard"})).json()
        await tab.text("#live-figures div:first-child dd:text-matches('^2')")
        shown = await tab.texts("#live-decisions code")
        assert later["decision_id"] not in shown
        await tab.page.click("#live-pause")
        assert later["decision_id"] in await tab.texts("#live-decisions code")


async def test_pasted_prompts_are_compared(fronts: Fronts) -> None:
    async with asyncio.timeout(PAGE_S), fronts(policy=OFFERED) as front, chromium() as browser:
        tab = await Tab.open(browser, front.address)
        await tab.ready()
        await tab.show("compare")
        page = tab.page
        await page.check("[name=source][value=pasted]")
        await page.click("#compare-form button[type=submit]")
        assert await tab.text("#problem") == "prompts: paste at least one"
        await page.fill("#compare-prompts", "easy\n\nhard hard hard\n")
        await page.click("#compare-form button[type=submit]")
        assert "of 2 requests" in await tab.text("#compare-result p:not(.headline)")
        rows = await tab.texts("#compare-result table >> nth=0 >> tbody tr")
        assert [row.split()[0] for row in rows] == ["lp", "cheapest"]
        assert (await front.client.get("/v1/decisions")).json()["decisions"] == []


async def test_a_token_is_asked_for_and_kept_for_the_tab(fronts: Fronts, tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    text, stored = new_token("a", ("route",), time(), None)
    append_token(file, stored)
    other, theirs = new_token("b", ("route",), time(), None)
    append_token(file, theirs)
    async with (
        asyncio.timeout(PAGE_S),
        fronts(security={"tokens": file}) as front,
        chromium() as browser,
    ):
        tab = await Tab.open(browser, front.address)
        page = tab.page
        await page.wait_for_selector("#token-dialog[open]")
        assert await tab.findings() == []
        await page.fill("#token-text", "routoo_no_token")
        await page.keyboard.press("Enter")
        await tab.text("#token-why")
        await page.fill("#token-text", text)
        await page.keyboard.press("Enter")
        await tab.ready()
        await tab.show("live")
        await tab.text("#live-note")  # the page looks, so that decisions are noted
        for who in (text, other):
            await front.post("/v1/route", {"prompt": "easy"}, authorization=f"Bearer {who}")
        await tab.text("#live-decisions code")
        assert len(await tab.texts("#live-decisions code")) == 1
        assert await page.evaluate("localStorage.length") == 0
        await page.reload()
        await tab.ready()
        await page.click("#sign-in")
        await page.click("#token-forget")
        await page.wait_for_selector("#token-dialog[open]")
