"""A journal on a disk that is full, or that cannot be forced: nothing in memory is lost."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from routoo.budget.ledger import Settled
from routoo.budget.memory import journal as journal_module
from support.budgets import FakeClock, budget, figures, reserve, with_journaling

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "books" / "ledger.journal"


class FullDisk:
    """A disk that takes a few bytes of each write, then has no space, until the test frees some."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        self._write = os.write
        monkeypatch.setattr(journal_module.os, "write", self)

    def __call__(self, file: int, data: bytes) -> int:
        if not self.full:
            return self._write(file, data)
        if len(data) <= 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(file, data[: len(data) // 2])


class TestFullDisk:
    def test_the_service_goes_on_and_says_so(
        self, clock: FakeClock, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ledger, journaling = with_journaling(clock, path, budget())
        reserve(ledger, {"a": 0.25})
        size = path.stat().st_size
        disk = FullDisk(monkeypatch)
        assert reserve(ledger, {"b": 0.5, "c": 0.5}) == [-1, 0]
        assert ledger.settle("a", 0.125) is Settled.SETTLED
        assert ledger.states()[0].degraded
        # The file ends with its last whole record.
        assert path.stat().st_size == size
        journaling.tend()
        assert ledger.states()[0].degraded
        assert not list(path.parent.glob("*.new"))
        disk.full = False
        journaling.tend()
        assert not ledger.states()[0].degraded
        reserve(ledger, {"d": 0.0625})
        before = ledger.states()
        ledger.close()
        again, _ = with_journaling(clock, path, budget())
        assert again.states() == before
        again.close()

    def test_closing_writes_what_is_missing(
        self, clock: FakeClock, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ledger, _ = with_journaling(clock, path, budget())
        disk = FullDisk(monkeypatch)
        reserve(ledger, {"b": 0.5})
        disk.full = False
        ledger.close()
        again, _ = with_journaling(clock, path, budget())
        assert figures(again.states()[0]) == (0.5, 0.0, 0.0, 1)
        again.close()

    def test_a_disk_that_cannot_be_forced_is_degraded(
        self, clock: FakeClock, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ledger, _ = with_journaling(clock, path, budget(), fsync="always")

        def broken(_: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(journal_module.os, "fsync", broken)
        assert reserve(ledger, {"b": 0.5}) == [-1]
        assert ledger.states()[0].degraded
        monkeypatch.undo()
        ledger.close()
