"""The page of the HTTP API in a real Chromium: it lists every call, and sends any of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from support.processes.browser.chromium import PAGE_S, Tab, chromium

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from conftest import Front

    Fronts = Callable[..., AbstractAsyncContextManager[Front]]

STREAMS = {"/v1/route/stream", "/v1/decisions/stream"}


@pytest.mark.parametrize("path", ["/v1/info", "/v1/route", *sorted(STREAMS)])
async def test_each_form_of_call_is_listed_and_sent(fronts: Fronts, path: str) -> None:
    async with asyncio.timeout(PAGE_S), fronts() as front, chromium() as browser:
        paths = set((await front.client.get("/openapi.json")).json()["paths"])
        tab = await Tab.open(browser, front.address)
        await tab.page.goto(f"http://{front.address}/docs")
        await tab.text("#list h2")
        assert paths | STREAMS == set(
            await tab.texts("#list > details > summary > code:nth-child(2)")
        )
        entry = tab.page.locator("details").filter(has=tab.page.locator(f"code:text-is('{path}')"))
        await entry.locator("summary").click()
        await entry.locator("button").click()
        reply = entry.locator("pre").filter(has_text="200")
        # A stream of decisions does not end: what has come is shown before.
        await reply.filter(has_text="{").wait_for()
        assert tab.errors == []
