"""Opens the page of a service in a headless Chromium, and looks at it by the rules of axe-core."""

from __future__ import annotations

import os
import platform
import re
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.processes.tools import missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).resolve().parents[4]
FOLDER = ROOT / ".chromium"
SHOTS = ROOT / "artifacts" / "page"
VIEWS = ("try", "curve", "live", "pool", "compare", "grade")
PAGE_S = 240.0
"""What a test of the page has: a machine that is busy starts a browser in half a minute."""
_STEP_MS = 120_000  # of the browser's start, and of each wait within a page
_SOMETHING = re.compile(r"\S")
# Without a sandbox, which root and containers do not have; the pages are our own.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@asynccontextmanager
async def chromium() -> AsyncIterator[Any]:
    """Starts a Chromium; where there is none, the test is skipped, and fails in CI."""
    if not (FOLDER / "chromium").is_file() or platform.machine() != "x86_64":
        missing("no Chromium in .chromium; make test installs it there, on Linux on x86-64")
    if str(FOLDER / "python") not in sys.path:
        sys.path.append(str(FOLDER / "python"))
    from playwright.async_api import async_playwright

    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(FOLDER / "lib"),
        "FONTCONFIG_FILE": str(FOLDER / "fonts.conf"),
        "HOME": str(FOLDER),
    }
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=FOLDER / "chromium",
            args=ARGUMENTS,
            env=environment,
            timeout=_STEP_MS,
        )
        try:
            yield browser
        finally:
            await browser.close()


class Tab:
    """A tab that shows the page, and what went wrong in it.

    Attributes:
        page: of Playwright.
        errors: what the browser's console has told of errors, refused contents among them.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console",
            lambda one: self.errors.append(one.text) if one.type == "error" else None,
        )

    @classmethod
    async def open(cls, browser: Any, address: str, **context: Any) -> Tab:
        """Opens the page of a service in a profile of its own."""
        opened = await browser.new_context(viewport={"width": 1200, "height": 900}, **context)
        opened.set_default_timeout(_STEP_MS)
        tab = cls(await opened.new_page())
        await tab.page.goto(f"http://{address}/")
        return tab

    async def ready(self) -> None:
        """Waits until the page has read what it needs of the service."""
        await self.page.wait_for_selector("html[data-ready=yes]")

    async def show(self, view: str) -> None:
        """Shows a view."""
        await self.page.click(f"#tab-{view}")

    async def text(self, selector: str) -> str:
        """Waits for an element that has a text, and returns it."""
        found = self.page.locator(selector).filter(has_text=_SOMETHING).first
        await found.wait_for()
        return str(await found.inner_text())

    async def texts(self, selector: str) -> list[str]:
        """Returns the texts of all elements."""
        return [str(one) for one in await self.page.locator(selector).all_inner_texts()]

    async def findings(self) -> list[dict[str, Any]]:
        """Returns what axe-core finds wrong."""
        if not await self.page.evaluate("'axe' in window"):
            rules = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
            await self.page.evaluate(rules.read_text(encoding="utf-8"))
        found = await self.page.evaluate("axe.run()")
        return [
            {
                "impact": one["impact"],
                "rule": one["id"],
                "where": [node["html"][:120] for node in one["nodes"]],
            }
            for one in found["violations"]
        ]

    async def shoot(self, name: str, *, whole: bool = True) -> None:
        """Keeps a picture in ``artifacts/page``."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=SHOTS / f"{name}.png", full_page=whole)
