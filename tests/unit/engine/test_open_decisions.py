"""Open decisions are bounded in number and in age."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from routoo.engine.open_decisions import OpenDecisions


def decisions(*ids: str, made_ns: int = 0) -> Any:
    batch = SimpleNamespace(timing=SimpleNamespace(finished_ns=made_ns))
    return [SimpleNamespace(decision_id=one, batch=batch) for one in ids]


def standing_still() -> int:
    return 0


def test_the_oldest_go_first_when_there_are_too_many() -> None:
    kept = OpenDecisions(3, 60.0, standing_still)
    kept.add(decisions("a", "b"))
    kept.add(decisions("c", "d"))
    assert len(kept) == 3
    assert kept.get("a") is None
    found = kept.get("b")
    assert found is not None
    assert found.decision_id == "b"


def test_the_too_old_are_unknown_and_are_let_go() -> None:
    second = 10**9
    now_ns = [0]
    kept = OpenDecisions(10, 60.0, lambda: now_ns[0])
    kept.add(decisions("a"))
    now_ns[0] = 60 * second
    kept.add(decisions("b", made_ns=60 * second))
    assert kept.get("a") is not None
    now_ns[0] += 1
    assert kept.get("a") is None
    assert not kept.report("a")
    kept.add(decisions("c", made_ns=60 * second))
    assert len(kept) == 2


def test_a_decision_is_reported_once_and_stays_known() -> None:
    kept = OpenDecisions(10, 60.0, standing_still)
    kept.add(decisions("a"))
    assert kept.report("a")
    assert not kept.report("a")
    assert not kept.report("b")
    assert kept.get("a") is not None


def test_what_nobody_received_is_forgotten() -> None:
    kept = OpenDecisions(10, 60.0, standing_still)
    kept.add(decisions("a", "b"))
    kept.discard(["a", "never known"])
    assert kept.get("a") is None
    assert len(kept) == 1


def test_a_decision_is_graded_once_beside_its_report_and_forgotten_with_it() -> None:
    kept = OpenDecisions(1, 60.0, standing_still)
    kept.add(decisions("a"))
    assert kept.grade("a")
    assert not kept.grade("a")
    assert kept.report("a", 2)
    assert (kept.answered("a"), kept.was_graded("a")) == (2, True)
    kept.add(decisions("b"))
    assert (kept.answered("a"), kept.was_graded("a"), kept.was_reported("a")) == (
        None,
        False,
        False,
    )
    assert not kept.grade("a")
