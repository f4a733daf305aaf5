"""Budgets that change while their books stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from routoo.budget.ledger import Settled
from routoo.budget.memory.ledger import MemoryLedger
from routoo.config.sections.budget import LedgerSettings
from routoo.server.budgets import open_ledger
from support.budgets import budget
from support.tiny_money import FOREVER, NOW_NS, books, hourly

if TYPE_CHECKING:
    from pathlib import Path


def reserve(ledger: MemoryLedger, decision_id: str, usd: float, tenant: str = "") -> int:
    return int(ledger.reserve([decision_id], [tenant], np.array([usd])).refused_by[0])


def test_what_is_spent_and_open_counts_against_the_new_limit() -> None:
    old = books(hourly(10.0))
    assert reserve(old, "a", 4.0) == -1
    assert reserve(old, "b", 2.0) == -1
    assert old.settle("a", 3.0) is Settled.SETTLED
    new = old.succeeded_by((hourly(6.0),), FOREVER)
    (state,) = new.states()
    assert (state.settled_usd, state.reserved_usd, state.granted) == (3.0, 2.0, 2)
    assert reserve(new, "c", 1.5) == 0
    assert reserve(new, "c", 1.0) == -1
    assert new.settle("b", 2.0) is Settled.SETTLED
    assert new.settle("a", 1.0) is Settled.TWICE


def test_both_spend_one_money_while_the_old_one_is_still_used() -> None:
    old = books(hourly(10.0), hourly(1.0, "small", "t"))
    new = old.succeeded_by((hourly(2.0, "other", "t"), hourly(5.0)), FOREVER)
    assert reserve(old, "a", 3.0, "u") == -1
    assert reserve(new, "b", 1.5, "u") == -1
    assert reserve(old, "c", 1.0, "u") == 0, "the budget of all, by its old index"
    assert reserve(new, "d", 1.0, "u") == 1, "and by its new one"
    assert reserve(old, "e", 3.0, "t") == 0, "one that the old ones lack is told as the first"
    assert [round(one.reserved_usd, 6) for one in old.states()] == [4.5, 0.0]
    assert [one.terms.limit_nano_usd for one in old.states()] == [10**10, 10**9]
    assert [round(one.reserved_usd, 6) for one in new.states()] == [0.0, 4.5]


def test_the_journal_goes_on_and_the_old_ledger_leaves_it_open(tmp_path: Path) -> None:
    settings = LedgerSettings(journal=tmp_path / "journal")
    old = open_ledger((budget(usd=10.0),), settings, lambda: NOW_NS)
    assert isinstance(old, MemoryLedger)
    assert reserve(old, "a", 4.0) == -1
    new = old.succeeded_by((budget(usd=20.0).terms(),), FOREVER)
    assert reserve(old, "b", 1.0) == -1
    old.close()
    assert reserve(new, "c", 2.0) == -1
    new.close()
    again = open_ledger((budget(usd=20.0),), settings, lambda: NOW_NS)
    assert again is not None
    assert again.states()[0].reserved_usd == 7.0
    again.close()
