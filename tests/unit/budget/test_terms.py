"""Money in whole nano-USD, and the settings of budgets."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import routoo.budget
from routoo.budget.scopes import applying, nano_usd
from routoo.budget.terms import one_nano_usd
from routoo.config.loading import load_settings
from routoo.config.sections.budget import BudgetSettings, LedgerSettings
from routoo.errors import ConfigError, InvalidRequestError
from routoo.server.budgets import open_ledger
from support.budgets import START_NS, FakeClock, budget, opened, reserve

KNOWN_TO_LEDGER = ("routoo.errors", "routoo.interval_thread", "routoo.config.sections.budget")


@given(amount=st.floats(0.0, 9_000_000.0))
def test_nano_usd_round_up_and_by_less_than_one(amount: float) -> None:
    nano = one_nano_usd(amount)
    exact = Fraction(amount) * 10**9
    # A float stands for its value up to half of its last digit.
    error = exact / 2**51
    assert exact - error <= nano < exact + error + 1
    assert nano_usd(np.array([amount])).tolist() == [nano]


@given(nano=st.integers(0, 2**50))
def test_whole_nano_usd_stay_what_they_are(nano: int) -> None:
    assert one_nano_usd(nano / 10**9) == nano


@pytest.mark.parametrize("amount", [-1e-12, float("nan"), float("inf"), 9_000_000.01])
def test_amounts_that_are_none_are_refused(amount: float) -> None:
    for call in (lambda: nano_usd(np.array([0.5, amount])), lambda: one_nano_usd(amount)):
        with pytest.raises(InvalidRequestError, match=r"cost_usd: is .* has to be from 0 to 9,000"):
            call()


def test_no_amounts_are_none() -> None:
    assert nano_usd(np.array([])).tolist() == []


def test_budgets_of_all_tenants_come_first() -> None:
    terms = [
        budget("a", tenant="x").terms(),
        budget("all").terms(),
        budget("b", tenant="y").terms(),
        budget("c", tenant="x").terms(),
    ]
    assert applying(terms, "x") == (1, 0, 3)
    assert applying(terms, "y") == (1, 2)
    assert applying(terms, "z") == (1,)
    assert applying(terms[:1], "z") == ()


@pytest.mark.parametrize(
    ("per", "seconds"),
    [("1s", 1), ("30s", 30), ("15m", 900), ("1h", 3600), ("1d", 86_400), ("366d", 31_622_400)],
)
def test_periods(per: str, seconds: int) -> None:
    assert budget(per=per).terms().period_ns == seconds * 10**9
    sliding = budget(per=per, window="sliding").terms()
    # Sixty whole steps of whole microseconds hold the period.
    assert 0 <= 60 * sliding.step_ns - sliding.period_ns < 60 * 1000
    assert sliding.step_ns % 1000 == 0


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"usd": 0}, "greater than 0"),
        ({"usd": -1}, "greater than 0"),
        ({"usd": float("nan")}, "finite number"),
        ({"usd": 9_000_001}, "less than or equal to 9000000"),
        ({"per": "0s"}, "whole number and s, m, h or d, up to 366d"),
        ({"per": "367d"}, "up to 366d"),
        ({"per": "1.5h"}, "whole number"),
        ({"per": "1 h"}, "whole number"),
        ({"per": "hour"}, "whole number"),
        ({"window": "rolling"}, "'fixed' or 'sliding'"),
        ({"on_exhausted": "best"}, "'refuse' or 'cheapest'"),
        ({"name": ""}, "up to 64 letters"),
        ({"name": "a:b"}, "up to 64 letters"),
        ({"limit": 3}, "Extra inputs"),
    ],
)
def test_a_wrong_budget_is_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        BudgetSettings(**{"name": "a", "usd": 1.0, "per": "1h", **change})


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"backend": "redis", "journal": "j"}, "journal needs backend: memory"),
        (
            {
                "backend": "redis",
                "redis_sentinels": ["redis://s:26379"],
                "redis_cluster": True,
            },
            "redis_sentinels and redis_cluster exclude each other",
        ),
        ({"backend": "redis", "redis_sentinels": ["s:26379"]}, "have to start with redis://"),
        (
            {
                "backend": "redis",
                "redis_sentinels": ["redis://s:26379"],
                "redis_url": "unix:///redis.sock",
            },
            "have to start with redis://",
        ),
        ({"redis_cluster": True}, "need backend: redis"),
        ({"redis_sentinels": ["redis://s:26379"]}, "need backend: redis"),
        ({"redis_url": "localhost:6379"}, "has to start with redis://"),
        ({"local_share": 1.1}, "less than or equal to 1"),
        ({"reservation_ttl_s": 0}, "greater than or equal to 1"),
        ({"key_prefix": "{a}"}, "the braces are added"),
    ],
)
def test_a_wrong_ledger_is_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        LedgerSettings(**settings)


def test_two_budgets_of_one_name_are_refused(tmp_path: Any) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("budgets: [{name: a, usd: 1, per: 1h}, {name: a, usd: 2, per: 1d}]")
    with pytest.raises(ConfigError, match="budgets: name a stands twice"):
        load_settings(path)


def test_a_journal_is_relative_to_the_file_that_names_it(tmp_path: Any) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("ledger: {journal: ledger.journal}")
    assert load_settings(path).ledger.journal == tmp_path / "ledger.journal"


def test_without_budgets_there_is_no_ledger() -> None:
    assert open_ledger((), LedgerSettings(), FakeClock()) is None


def test_the_ledger_knows_nothing_of_the_rest_of_the_service() -> None:
    folder = Path(routoo.budget.__file__).parent
    for path in folder.rglob("*.py"):
        found = re.findall(
            r"^ *(?:from|import) (routoo\S*|grpc\S*|google\S*)", path.read_text(), re.MULTILINE
        )
        # The settings' types are named for the type checker only; a thread knows of no service.
        others = {
            name
            for name in found
            if not name.startswith("routoo.budget.") and name not in KNOWN_TO_LEDGER
        }
        assert not others, path.name


def test_a_smallest_budget_holds_one_nano_usd() -> None:
    ledger = opened(FakeClock(START_NS), budget(usd=1e-12))
    assert reserve(ledger, {"a": 1e-9, "b": 1e-9}) == [-1, 0]
