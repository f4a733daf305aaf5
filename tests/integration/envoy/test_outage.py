"""A provider dies behind a real Envoy and returns: no request fails, and each is booked once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from support.peers.two_providers import STREAMED, USD, Site, site_of
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

CALLERS = 8


async def load(site: Site, n: int) -> None:
    """Sends n requests by some callers; each has to be answered."""
    left = iter(range(n))

    async def caller() -> None:
        for _ in left:
            assert (await site.post(STREAMED)).status_code == 200

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


def billed_usd(site: Site) -> float:
    """Returns what the providers' answers cost."""
    return sum(USD[model] for one in (site.first, site.other) for model in one.answered)


@pytest.mark.parametrize("trouble", ["503", "429", "breaks", "silent"])
async def test_no_request_fails_and_each_is_booked_once(tmp_path: Path, trouble: str) -> None:
    health = {"enabled": True, "open_s": 0.2, "max_open_s": 0.4, "slow_start_s": 0.1}
    # A reply that is given up was answered all the same, and would be billed twice.
    processor = {"usage_from": "access_log", "first_byte_s": 1.0 if trouble == "silent" else 0.0}
    async with site_of(tmp_path, processor=processor, health=health) as site:
        await load(site, 20)
        assert (len(site.first.received), len(site.other.received)) == (20, 0)
        site.first.silent, site.first.breaks = trouble == "silent", trouble == "breaks"
        if trouble.isdigit():
            site.first.status = int(trouble)
        await load(site, 100)
        await site.settled_usd()
        before = len(site.first.received)
        await load(site, 100)  # it is left out now, but for probes
        assert len(site.first.received) - before < 30
        site.first.silent = site.first.breaks = False
        site.first.status = 200
        answered = len(site.first.answered)
        async with asyncio.timeout(HANG_S):
            while len(site.first.answered) == answered:
                await load(site, 10)
        assert await site.settled_usd() == pytest.approx(billed_usd(site), abs=1e-12)
