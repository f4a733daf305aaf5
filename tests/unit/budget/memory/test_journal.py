"""The journal: restarts, an incomplete end, damage, a second process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import structlog.testing

from routoo.budget.ledger import Settled
from routoo.budget.memory import journal as journal_module
from routoo.budget.memory.journal import Journal
from routoo.errors import ConfigError
from support.budgets import (
    FakeClock,
    all_figures,
    all_reports,
    budget,
    figures,
    opened,
    overdraw,
    reserve,
    usd,
    with_journaling,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from routoo.budget.ledger import Ledger


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "books" / "ledger.journal"


def used(clock: FakeClock, path: Path, *budgets: Any, **more: Any) -> Ledger:
    """Opens a ledger and books every kind of record; it is not closed."""
    ledger = opened(clock, *budgets, journal=path, reservation_ttl_s=60, **more)
    assert reserve(ledger, {"a": 0.25, "late": 0.125}) == [-1, -1]
    ledger.settle("a", 0.5)
    clock.forward_s(50)
    reserve(ledger, {"b": 0.0625, "refused": 5.0})
    overdraw(ledger, {"o": 3.0})
    clock.forward_s(15)
    return ledger


@pytest.mark.parametrize("fsync", ["always", "interval", "never"])
@pytest.mark.parametrize("window", ["fixed", "sliding"])
def test_books_survive_a_restart(clock: FakeClock, path: Path, fsync: str, window: str) -> None:
    budgets = (budget(window=window), budget("t", 2.0, "1d", tenant="t"))
    ledger = used(clock, path, *budgets, fsync=fsync)
    before = ledger.states()
    assert all_figures(before) == [(0.0625, 0.625, 3.0, 3)] * 2
    assert all_reports(before) == [(0.5, 0.25, 1)] * 2
    ledger.close()
    again = opened(clock, *budgets, journal=path, reservation_ttl_s=60)
    assert again.states() == before
    assert again.settle("a", 0.1) is Settled.TWICE
    assert again.settle("late", 0.1) is Settled.EXPIRED
    assert again.settle("b", 0.03125) is Settled.SETTLED
    assert again.settle("o", 1.0) is Settled.SETTLED
    assert again.settle("refused", 1.0) is Settled.UNKNOWN
    assert all_figures(again.states()) == [(0.0, 0.63125, 1.0, 3)] * 2
    again.close()


def test_a_crash_loses_nothing(clock: FakeClock, path: Path) -> None:
    ledger = used(clock, path)
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())  # the file that a process would leave behind if it died now
    again = opened(clock, journal=copy, reservation_ttl_s=60)
    assert again.states() == ledger.states()
    again.close()
    ledger.close()


def delete(path: Path) -> None:
    path.unlink()


def delete_its_folder(path: Path) -> None:
    rmtree(path.parent)
    path.parent.mkdir()


def put_another_in_its_place(path: Path) -> None:
    (path.parent / "other").write_bytes(b"not a journal")
    (path.parent / "other").replace(path)


def cut(path: Path) -> None:
    os.truncate(path, 5)


@pytest.mark.parametrize("harm", [delete, delete_its_folder, put_another_in_its_place, cut])
def test_a_journal_that_somebody_has_harmed_is_written_anew(
    clock: FakeClock, path: Path, harm: Callable[[Path], None]
) -> None:
    ledger, journaling = with_journaling(clock, path, budget())
    assert reserve(ledger, {"before": 0.25}) == [-1]
    harm(path)
    assert reserve(ledger, {"unnoticed": 0.125}) == [-1]
    journaling.tend()
    assert not journaling.failed
    assert reserve(ledger, {"after": 0.0625}) == [-1]
    harm(path)  # and so is one that nobody has looked at since, when it is closed
    ledger.close()
    again = opened(clock, journal=path)
    assert figures(again.states()[0]) == (0.4375, 0.0, 0.0, 3)
    again.close()


@pytest.mark.parametrize("harm", [delete, lambda path: os.truncate(path, 0)])
def test_a_journal_that_is_gone_at_a_start_is_noticed(
    clock: FakeClock, path: Path, harm: Callable[[Path], None]
) -> None:
    def opened_once(name: str) -> list[str]:
        with structlog.testing.capture_logs() as logs:
            ledger, _ = with_journaling(clock, path, budget())
        assert reserve(ledger, {name: 0.25}) == [-1]
        ledger.close()
        return [one["event"] for one in logs]

    assert opened_once("first") == opened_once("second") == []
    harm(path)
    (said,) = opened_once("third")
    assert said.startswith("the journal was deleted or emptied since it was used")


def test_time_goes_on_from_the_journal(clock: FakeClock, path: Path) -> None:
    used(clock, path).close()
    earlier = FakeClock(clock.now_ns - 20 * 10**9)
    again = opened(earlier, journal=path, reservation_ttl_s=60)
    # The last record is from 15 s before the end.
    assert again.states()[0].period_left_s == 3600.0 - 50
    again.close()


def test_other_budgets_keep_what_is_theirs(clock: FakeClock, path: Path) -> None:
    used(clock, path, budget(), budget("gone", 9.0)).close()
    changed = (budget("new", 9.0, tenant="t"), budget(usd=0.7))
    again = opened(clock, *changed, journal=path, reservation_ttl_s=60)
    # Decisions are replayed into the budgets that apply to their tenants now.
    assert [row[:2] for row in all_figures(again.states())] == [(0.0, 0.0), (0.0625, 0.625)]
    assert reserve(again, {"c": 0.02}) == [1]
    again.close()


class TestRewriting:
    def test_it_keeps_the_books(self, clock: FakeClock, path: Path) -> None:
        ledger, journaling = with_journaling(clock, path, budget(), budget("s", 2.0, "1d"))
        for call in range(40):
            reserve(ledger, {f"{call}-{row}": 1e-4 for row in range(100)})
            for row in range(100):
                ledger.settle(f"{call}-{row}", 1e-5)
        overdraw(ledger, {"o": 1.0})
        reserve(ledger, {"open": 0.01})
        before, size = ledger.states(), path.stat().st_size
        assert journaling.rewrite()
        assert path.stat().st_size < size / 2
        reserve(ledger, {"after": 0.01})
        ledger.close()
        again, _ = with_journaling(clock, path, budget(), budget("s", 2.0, "1d"))
        reserved, settled, overdraft, granted = figures(again.states()[0])
        assert (round(reserved, 9), settled, overdraft) == (0.02, before[0].settled_usd, 1.0)
        assert granted == before[0].granted + 1
        assert all_reports(again.states()) == all_reports(before) == [(0.04, 0.4, 0)] * 2
        assert again.settle("o", 2.0) is Settled.SETTLED
        assert again.settle("39-99", 2.0) is Settled.TWICE
        again.close()
        assert not list(path.parent.glob("*.new"))

    def test_what_comes_meanwhile_is_kept(
        self, clock: FakeClock, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ledger, journaling = with_journaling(clock, path, budget())
        reserve(ledger, {"a": 0.25})
        replace = Journal.replace

        def slow(journal: Journal, data: list[bytes]) -> Any:
            reserve(ledger, {"b": 0.5})
            ledger.settle("a", 0.125)
            return replace(journal, data)

        monkeypatch.setattr(Journal, "replace", slow)
        assert journaling.rewrite()
        ledger.close()
        again, _ = with_journaling(clock, path, budget())
        assert figures(again.states()[0]) == (0.5, 0.125, 0.0, 2)
        again.close()

    def test_it_happens_when_the_file_has_grown(
        self, clock: FakeClock, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("routoo.budget.memory.persistence._REWRITE_BYTES", 1000)
        ledger, journaling = with_journaling(clock, path, budget())
        for call in range(100):
            reserve(ledger, {f"{call}": 1e-4})
            ledger.settle(f"{call}", 1e-4)
        clock.forward_s(200)
        ledger.states()
        journaling.tend()
        assert path.stat().st_size < 1000
        ledger.close()

    def test_a_changed_period_counts_no_less(self, clock: FakeClock, path: Path) -> None:
        ledger, journaling = with_journaling(clock, path, budget(per="1h"))
        reserve(ledger, {"a": 0.5, "b": 0.25})
        ledger.settle("a", 0.5)
        assert journaling.rewrite()
        ledger.close()
        clock.forward_s(600)
        again, _ = with_journaling(clock, path, budget(per="2h", window="sliding"))
        assert figures(again.states()[0]) == (0.0, 0.75, 0.0, 1 + 1)
        again.close()


def test_enormous_sums_survive(clock: FakeClock, path: Path) -> None:
    ledger, journaling = with_journaling(clock, path, budget())
    overdraw(ledger, {str(row): 9_000_000.0 for row in range(3000)})
    assert journaling.rewrite()
    before = ledger.states()
    ledger.close()
    again, _ = with_journaling(clock, path, budget())
    assert again.states() == before
    again.close()


def whole_size(path: Path) -> int:
    return path.stat().st_size


class TestTornEnd:
    def test_whatever_is_cut_off_the_rest_is_kept(self, clock: FakeClock, path: Path) -> None:
        ledger = opened(clock, journal=path)
        reserve(ledger, {"a": 0.25})
        first = whole_size(path)
        reserve(ledger, {"b": 0.5})
        ledger.close()
        content = path.read_bytes()
        for end in range(first, len(content)):
            path.write_bytes(content[:end])
            again = opened(clock, journal=path)
            assert figures(again.states()[0]) == (0.25, 0.0, 0.0, 1)
            reserve(again, {"c": 0.125})  # the next record lies where the torn one began
            again.close()
            third = opened(clock, journal=path)
            assert figures(third.states()[0]) == (0.375, 0.0, 0.0, 2)
            third.close()

    @pytest.mark.parametrize("tail", [bytes(1), bytes(4096)])
    def test_blocks_that_were_never_written_are_cut_off(
        self, clock: FakeClock, path: Path, tail: bytes
    ) -> None:
        used(clock, path).close()
        before = path.read_bytes()
        path.write_bytes(before + tail)
        opened(clock, journal=path).close()
        assert path.read_bytes() == before

    def test_it_is_counted(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_bytes(journal_module.encode({"k": "x"}) + b"torn")
        journal = Journal(path)
        assert list(journal.replay()) == [{"k": "x"}]
        assert journal.torn_bytes == 4
        journal.close()


class TestDamage:
    def test_any_changed_byte_before_the_last_record_refuses_the_start(
        self, clock: FakeClock, path: Path
    ) -> None:
        ledger = opened(clock, journal=path)
        reserve(ledger, {"a": 0.25})
        first = whole_size(path)
        reserve(ledger, {"b": 0.5})
        ledger.close()
        content = path.read_bytes()
        for at in range(first):
            damaged = bytearray(content)
            damaged[at] ^= 0x55
            path.write_bytes(damaged)
            with pytest.raises(ConfigError) as caught:
                opened(clock, journal=path)
            assert str(caught.value) == (
                f"ledger.journal: {path} is damaged at byte 0; restore it from a backup, or move"
                " it away to start with nothing spent"
            )

    @pytest.mark.parametrize("record", [{"k": "later"}, {}, {"k": "snapshot", "v": 2, "t": 1}])
    def test_another_version_is_refused(
        self, clock: FakeClock, path: Path, record: dict[str, Any]
    ) -> None:
        path.parent.mkdir()
        path.write_bytes(journal_module.encode({"t": 0, **record}))
        with pytest.raises(ConfigError, match="another version of routoo"):
            opened(clock, journal=path)

    def test_a_folder_is_no_journal(self, clock: FakeClock, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be opened: Is a directory"):
            opened(clock, journal=tmp_path)


class TestOneProcess:
    def test_a_second_ledger_is_refused_until_the_first_is_closed(
        self, clock: FakeClock, path: Path
    ) -> None:
        ledger = opened(clock, journal=path)
        with pytest.raises(ConfigError) as caught:
            opened(clock, journal=path)
        assert str(caught.value) == (
            f"ledger.journal: {path} is in use by another process; give each its own journal, or"
            " share budgets with backend: redis"
        )
        ledger.close()
        opened(clock, journal=path).close()

    def test_another_process_is_refused(self, clock: FakeClock, path: Path) -> None:
        ledger = opened(clock, journal=path)
        program = (
            "import sys, pathlib\nfrom routoo.budget.memory.journal import Journal\n"
            "try:\n  Journal(pathlib.Path(sys.argv[1]))\nexcept Exception as e:\n  print(e)\n"
        )
        found = subprocess.run(
            [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
        )
        assert "is in use by another process" in found.stdout
        ledger.close()


def test_fsync_always_returns_when_its_own_record_is_on_the_disk(
    clock: FakeClock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, _ = with_journaling(clock, path, budget(), fsync="always")
    events: list[str] = []
    first, second = threading.Event(), threading.Event()
    append = Journal.append

    def appending(journal: Journal, data: bytes) -> None:
        append(journal, data)
        events.append("append")
        if events.count("append") == 2:
            second.set()

    def forcing(_: int) -> None:
        events.append("fsync")
        first.set()
        # The other thread's record comes while this one is being forced, and is no part of it.
        assert second.wait(60)

    monkeypatch.setattr(Journal, "append", appending)
    monkeypatch.setattr(journal_module.os, "fsync", forcing)
    threads = [threading.Thread(target=reserve, args=(ledger, {key: 0.1})) for key in ("a", "b")]
    threads[0].start()
    assert first.wait(60)
    threads[1].start()
    for thread in threads:
        thread.join()
    assert events == ["append", "fsync", "append", "fsync"]
    monkeypatch.undo()
    ledger.close()


def test_many_rows_in_one_record(clock: FakeClock, path: Path) -> None:
    ledger = opened(clock, budget(usd=1e6), journal=path)
    ids = [str(row) for row in range(20_000)]
    found = ledger.reserve(ids, ["x", "y"] * 10_000, usd(np.full(20_000, 0.25)))
    assert set(found.refused_by.tolist()) == {-1}
    before = ledger.states()
    ledger.close()
    again = opened(clock, budget(usd=1e6), journal=path)
    assert again.states() == before
    again.close()
