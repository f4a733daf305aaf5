"""Decisions that may still be reported: bounded in number and in age."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from routoo.open_decisions import OpenDecisions


def decisions(*ids: str) -> Any:
    return [SimpleNamespace(decision_id=one) for one in ids]


def test_the_oldest_go_first_when_there_are_too_many() -> None:
    kept = OpenDecisions(3, 1e9)
    kept.add(decisions("a", "b"))
    kept.add(decisions("c", "d"))
    assert len(kept) == 3
    assert kept.get("a") is None
    found = kept.get("b")
    assert found is not None
    assert found.decision_id == "b"


def test_the_too_old_are_unknown_and_are_let_go() -> None:
    now_s = [0.0]
    kept = OpenDecisions(10, 60.0, lambda: now_s[0])
    kept.add(decisions("a"))
    now_s[0] = 60.0
    kept.add(decisions("b"))
    assert kept.get("a") is not None
    now_s[0] = 60.5
    assert kept.get("a") is None
    assert not kept.report("a")
    kept.add(decisions("c"))
    assert len(kept) == 2


def test_a_decision_is_reported_once_and_stays_known() -> None:
    kept = OpenDecisions(10, 60.0)
    kept.add(decisions("a"))
    assert kept.report("a")
    assert not kept.report("a")
    assert not kept.report("b")
    assert kept.get("a") is not None


def test_what_nobody_received_is_forgotten() -> None:
    kept = OpenDecisions(10, 60.0)
    kept.add(decisions("a", "b"))
    kept.discard(["a", "never known"])
    assert kept.get("a") is None
    assert len(kept) == 1
