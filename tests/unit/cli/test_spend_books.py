"""``routoo spend`` from the books of budgets: the journal of a service, and Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
import yaml

from routoo.budget.ledger import Settled
from routoo.budget.memory.books import DAYS_KEPT
from routoo.budget.memory.journal import Journal
from support.budgets import FakeClock, budget, opened, overdraw, reserve, with_journaling
from support.peers.redis_replica import replica
from support.peers.redis_server import RedisServer

if TYPE_CHECKING:
    from pathlib import Path

    from routoo.budget.ledger import Ledger
    from support.processes.command_line import Run

DAY_S = 86_400
BUDGETS = (budget(usd=9.0, per="7d"), budget("a", 5.0, "1h", tenant="a", window="sliding"))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def use(ledger: Ledger) -> None:
    """Books a decision of each kind: reported, open, overdrawn, and of a tenant of its own."""
    reserve(ledger, {"1": 0.5, "2": 0.25})
    reserve(ledger, {"3": 1.0}, tenant="a")
    overdraw(ledger, {"4": 2.0}, tenant="a")
    ledger.settle("1", 0.125)
    ledger.settle("3", 1.5)
    ledger.settle("4", 0.5)


def told(run: Run, *arguments: str) -> dict[tuple[str, ...], dict[str, Any]]:
    found = orjson.loads(run("spend", *arguments, "--json").out)
    return {tuple(row[name] for name in found["by"]): row for row in found["rows"]}


def test_a_journal_tells_tenants_and_days_while_it_is_written(
    run: Run, clock: FakeClock, path: Path
) -> None:
    ledger = opened(clock, *BUDGETS, journal=path)
    use(ledger)
    clock.forward_s(DAY_S)
    reserve(ledger, {"5": 0.75}, tenant="a")
    before = path.read_bytes()
    found = told(run, "--journal", str(path))
    assert path.read_bytes() == before
    assert list(found) == [("", "2026-11-26"), ("a", "2026-11-26"), ("a", "2026-11-27")]
    everyone, first, second = found.values()
    # What was open on the first day has expired by the last record.
    assert (everyone["granted"], everyone["settled_usd"], everyone["expired"]) == (2, 0.375, 1)
    assert (everyone["reported_usd"], everyone["reported_reserved_usd"]) == (0.125, 0.5)
    assert (first["granted"], first["settled_usd"], first["overdraft_usd"]) == (1, 1.5, 0.5)
    assert (second["granted"], second["open_usd"], second["settled_usd"]) == (1, 0.75, 0.0)
    assert told(run, "--journal", str(path), "--by", "tenant").keys() == {("",), ("a",)}
    ledger.close()


def test_a_rewritten_journal_tells_the_same(run: Run, clock: FakeClock, path: Path) -> None:
    ledger, journaling = with_journaling(clock, path, *BUDGETS)
    use(ledger)
    before = told(run, "--journal", str(path))
    assert journaling.rewrite()
    assert told(run, "--journal", str(path)) == before
    # Reports come in time, and late: both correct the day of their decision.
    reserve(ledger, {"6": 0.25}, tenant="a")
    clock.forward_s(90)
    ledger.states()
    assert journaling.rewrite()
    assert ledger.settle("2", 0.0625) is Settled.EXPIRED
    ledger.close()
    everyone, own = told(run, "--journal", str(path)).values()
    assert (everyone["settled_usd"], everyone["expired"]) == (0.1875, 0)
    assert (own["settled_usd"], own["expired"]) == (1.75, 1)


def test_days_are_kept_for_a_year_and_more(run: Run, clock: FakeClock, path: Path) -> None:
    ledger = opened(clock, *BUDGETS, journal=path)
    use(ledger)
    clock.forward_s((DAYS_KEPT + 1) * DAY_S)
    reserve(ledger, {"7": 0.25})
    ledger.close()
    assert list(told(run, "--journal", str(path))) == [("", "2028-01-01")]


def test_settings_name_the_journal(run: Run, tmp_path: Path, path: Path, clock: FakeClock) -> None:
    ledger = opened(clock, *BUDGETS, journal=path)
    use(ledger)
    ledger.close()
    settings = {"ledger": {"journal": str(path)}}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    lines = run("spend", "--config", str(file), "--by", "tenant").out.splitlines()
    assert lines[0].split()[:2] == ["tenant", "granted"]
    assert [line.split()[0] for line in lines[1:4]] == ["no", "a", "total"]
    assert lines[-1] == "models and savings need the decision log: routoo spend LOG"


def test_redis_tells_what_all_replicas_spent(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    with RedisServer(tmp_path) as server:
        ledger = replica(server, *BUDGETS)
        use(ledger)
        names = [one.model_dump(include={"name", "tenant", "usd", "per"}) for one in BUDGETS]
        settings = {
            "budgets": names,
            "ledger": {"backend": "redis", "redis_url": server.url, "redis_timeout_s": 60},
        }
        file.write_text(yaml.safe_dump(settings), encoding="utf-8")
        found = told(run, "--config", str(file), "--by", "tenant")
        ledger.close()
    assert found["",]["open_usd"] == 0.25
    assert (found["",]["settled_usd"], found["",]["granted"]) == (0.125, 2)
    own = found["a",]
    assert (own["settled_usd"], own["overdraft_usd"], own["granted"]) == (1.5, 0.5, 1)
    assert (own["reported_usd"], own["reported_reserved_usd"]) == (1.5, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name either decision logs, or --journal F, or --config F"),
        (("log", "--journal", "x"), "name either decision logs"),
        (("--journal", "gone"), "gone cannot be read: No such file or directory"),
        (("--journal", "x", "--by", "model"), "--by model: the books hold no models"),
        (("--journal", "x", "--best", "m"), "--best: the books hold no models"),
    ],
)
def test_what_it_cannot_tell_is_bad_input(
    run: Run, arguments: tuple[str, ...], message: str
) -> None:
    ended = run("spend", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err


def test_books_in_memory_alone_cannot_be_read(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("ledger: {backend: memory}\n", encoding="utf-8")
    assert "set ledger.journal, or name decision logs" in run("spend", "--config", str(file)).err


def test_a_damaged_journal_is_named(run: Run, clock: FakeClock, path: Path) -> None:
    ledger = opened(clock, *BUDGETS, journal=path)
    use(ledger)
    ledger.close()
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    assert "is damaged at byte 0" in run("spend", "--journal", str(path)).err


def test_an_empty_journal_holds_nothing(run: Run, path: Path) -> None:
    Journal(path).close()
    assert run("spend", "--journal", str(path)).out == "nothing is booked by day yet\n"
    assert orjson.loads(run("spend", "--journal", str(path), "--json").out)["total"] is None
