"""Fixtures for tests of the client: a fake router."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.peers.fake_router import FakeRouter, fake_router

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def router() -> Iterator[FakeRouter]:
    """A router on a free port."""
    with fake_router() as fake:
        yield fake
