"""The guard counts what decisions take of limits, and never lets any minute have more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.engine.limits.guard import MOST_OPEN, LimitGuard
from routoo.engine.limits.minute import SLOT_S
from routoo.routing.arms.usage_limits import ProviderSpec
from routoo.routing.pool import Pool
from support.tiny_pool import LARGE, MEDIUM, SMALL, pool_of

NAMES = ("small", "medium", "large")
TIMEOUT_S = 20.0


def limited(providers: dict[str, dict[str, int]], **large: int) -> Pool:
    """Makes the tiny pool: two models of "acme", and "large" of "other" with limits of its own."""
    models = pool_of(
        {**SMALL, "provider": "acme"},
        {**MEDIUM, "provider": "acme"},
        {**LARGE, "provider": "other", **large},
    ).models
    return Pool.of(models, {name: ProviderSpec(**one) for name, one in providers.items()})


@dataclass
class Counted:
    """A guard on a clock that the test moves."""

    pool: Pool
    timeout_s: float = TIMEOUT_S
    now_s: float = 1000.0
    guard: LimitGuard = field(init=False)
    made: int = 0

    def __post_init__(self) -> None:
        rows = self.pool.limits
        assert rows is not None
        self.guard = LimitGuard(
            rows, rows.limits, self.pool.names, self.timeout_s, lambda: self.now_s
        )

    def take(self, *cells: tuple[str, int, int], whole: bool = False) -> list[str]:
        """Reserves cells of a model, input and output tokens; returns the ids, empty if refused."""
        ids = [f"d{self.made + at}" for at in range(len(cells))]
        self.made += len(cells)
        columns = np.array([self.pool.index[name] for name, _, _ in cells], np.intp)
        amounts = np.array([[1, tokens_in, tokens_out] for _, tokens_in, tokens_out in cells])
        granted = self.guard.reserve(ids, columns, amounts.astype(np.float64), all_or_nothing=whole)
        return [one if kept else "" for one, kept in zip(ids, granted.tolist(), strict=True)]

    def used(self, name: str) -> float:
        """Returns what is used of a limit."""
        zeros = np.zeros(len(self.guard.limits))
        return next(one.used for one in self.guard.states(zeros) if one.name == name)


def test_a_provider_counts_all_its_models_and_a_model_its_own() -> None:
    counted = Counted(limited({"acme": {"requests_per_minute": 2}}, requests_per_minute=1))
    assert counted.take(("small", 1, 1), ("medium", 1, 1)) == ["d0", "d1"]
    assert counted.take(("small", 1, 1)) == [""]
    assert counted.take(("large", 1, 1)) == ["d3"]
    assert counted.take(("large", 1, 1)) == [""]
    assert counted.used("requests_per_minute[acme]") == 2
    assert counted.used("requests_per_minute[large]") == 1


def test_tokens_count_by_their_kind() -> None:
    counted = Counted(
        limited(
            {
                "acme": {"input_tokens_per_minute": 100, "output_tokens_per_minute": 50},
                "other": {"tokens_per_minute": 100},
            }
        )
    )
    assert counted.take(("small", 60, 10), ("small", 60, 10)) == ["d0", ""]
    assert counted.take(("small", 40, 41)) == [""]
    assert counted.take(("small", 40, 40)) == ["d3"]
    assert counted.take(("large", 50, 51)) == [""]
    assert counted.take(("large", 50, 50)) == ["d5"]


def test_what_is_older_than_a_minute_comes_back() -> None:
    counted = Counted(limited({"acme": {"requests_per_minute": 1}}))
    assert counted.take(("small", 1, 1)) == ["d0"]
    counted.now_s += 60.0
    assert counted.take(("small", 1, 1)) == [""]
    counted.now_s += SLOT_S
    assert counted.take(("small", 1, 1)) == ["d2"]


def test_a_refusal_tells_when_to_try_again() -> None:
    counted = Counted(limited({"acme": {"tokens_per_minute": 100, "max_concurrent": 9}}))
    counted.take(("small", 30, 30))
    counted.now_s += 10.0
    counted.take(("small", 20, 20))
    # 20 more fit when the first 60 come back; 70 more need both.
    assert counted.guard.refused(0, 20) == pytest.approx(50.0, abs=2 * SLOT_S)
    assert counted.guard.refused(0, 70) == pytest.approx(60.0, abs=2 * SLOT_S)
    assert counted.guard.refused(1, 1) > 0.0
    wait_s = counted.guard.refused(0, 20)
    counted.now_s += wait_s
    assert counted.take(("small", 10, 10)) != [""]


def test_a_concurrent_request_ends_with_its_report_or_with_the_time_out() -> None:
    counted = Counted(limited({"acme": {"max_concurrent": 2}}))
    first, _ = counted.take(("small", 1, 1), ("medium", 1, 1))
    assert counted.take(("small", 1, 1)) == [""]
    counted.guard.ended(first)
    counted.guard.ended(first)  # a second report ends nothing else
    assert counted.take(("small", 1, 1), ("small", 1, 1)) == ["d3", ""]
    counted.now_s += TIMEOUT_S + 1.0
    assert counted.take(("small", 1, 1), ("small", 1, 1)) == ["d5", "d6"]
    counted.guard.ended("d3")  # its time was out
    assert counted.used("max_concurrent[acme]") == 2


def test_a_report_corrects_the_tokens_where_they_were_counted() -> None:
    counted = Counted(limited({"acme": {"tokens_per_minute": 100}}), timeout_s=300.0)
    (one,) = counted.take(("small", 10, 20))
    counted.now_s += 30.0
    counted.guard.ended(one, input_tokens=10, output_tokens=70)
    assert counted.used("tokens_per_minute[acme]") == 80
    counted.now_s += 30.0 + SLOT_S
    assert counted.used("tokens_per_minute[acme]") == 0


def test_a_report_above_the_prediction_stops_what_follows() -> None:
    counted = Counted(limited({"acme": {"tokens_per_minute": 100}}))
    (one,) = counted.take(("small", 10, 20))
    counted.guard.ended(one, input_tokens=10, output_tokens=500)
    assert counted.take(("small", 1, 0)) == [""]
    assert counted.guard.left()[0] == -410


def test_another_model_that_answered_counts_instead() -> None:
    counted = Counted(
        limited({"acme": {"tokens_per_minute": 100}, "other": {"tokens_per_minute": 100}})
    )
    (one,) = counted.take(("small", 10, 20))
    counted.guard.ended(one, answered="large", input_tokens=12, output_tokens=30)
    assert counted.used("tokens_per_minute[acme]") == 0
    assert counted.used("tokens_per_minute[other]") == 42


def test_what_nobody_received_counts_nothing() -> None:
    counted = Counted(limited({"acme": {"tokens_per_minute": 100, "max_concurrent": 3}}))
    counted.guard.release(counted.take(("small", 10, 20), ("large", 5, 5)))
    assert counted.used("tokens_per_minute[acme]") == 0
    assert counted.used("max_concurrent[acme]") == 0


def test_all_or_nothing() -> None:
    counted = Counted(limited({"acme": {"requests_per_minute": 2}}))
    cells = [("small", 1, 1)] * 3
    assert counted.take(*cells, whole=True) == ["", "", ""]
    assert counted.take(*cells[:2], whole=True) == ["d3", "d4"]


def test_a_request_of_no_limit_passes_beside_a_full_one() -> None:
    counted = Counted(limited({"acme": {"requests_per_minute": 1}}))
    taken = counted.take(("small", 1, 1), ("small", 1, 1), ("large", 1, 1))
    assert taken == ["d0", "", "d2"]


def test_a_reload_keeps_what_was_used_by_name() -> None:
    old = Counted(limited({"acme": {"requests_per_minute": 3, "max_concurrent": 9}}))
    (one, _) = old.take(("small", 1, 1), ("medium", 1, 1))
    new = Counted(
        limited({"other": {"max_concurrent": 2}, "acme": {"requests_per_minute": 3}}),
        now_s=old.now_s,
    )
    new.guard.go_on_from(old.guard)
    assert new.used("requests_per_minute[acme]") == 2
    # The engine of before still decides, and what it takes counts.
    assert old.take(("small", 1, 1)) == ["d2"]
    assert old.take(("small", 1, 1)) == [""]
    assert old.guard.left().tolist() == [0, np.inf]
    old.guard.release([one])
    assert new.used("requests_per_minute[acme]") == 2
    assert new.take(("small", 1, 1)) == ["d0"]


def test_a_model_that_left_the_pool_counts_nowhere() -> None:
    old = Counted(limited({"acme": {"requests_per_minute": 3}}))
    models = pool_of({**MEDIUM, "provider": "acme"}).models
    new = Counted(Pool.of(models, {"acme": ProviderSpec(requests_per_minute=3)}))
    old.take(("small", 1, 1))
    new.guard.go_on_from(old.guard)
    assert old.take(("large", 1, 1), ("small", 1, 1)) == ["d1", "d2"]
    assert new.used("requests_per_minute[acme]") == 1
    old.guard.ended("d0", answered="small", input_tokens=5, output_tokens=5)
    assert new.used("requests_per_minute[acme]") == 0


def test_memory_is_bounded_where_nobody_reports() -> None:
    counted = Counted(limited({"acme": {"max_concurrent": 10**9}}), timeout_s=86_400.0)
    columns, amounts = np.zeros(50_000, np.intp), np.ones((50_000, 3))
    for part in range(6):
        ids = [f"{part}-{one}" for one in range(50_000)]
        assert counted.guard.reserve(ids, columns, amounts).all()
    assert MOST_OPEN <= counted.used("max_concurrent[acme]") <= MOST_OPEN + 100_000
    counted.take(("small", 1, 1))
    assert counted.used("max_concurrent[acme]") <= MOST_OPEN + 1


AMOUNTS = {
    "requests_per_minute": lambda _in, _out: 1,
    "input_tokens_per_minute": lambda tokens_in, _out: tokens_in,
    "output_tokens_per_minute": lambda _in, tokens_out: tokens_out,
    "tokens_per_minute": lambda tokens_in, tokens_out: tokens_in + tokens_out,
    "max_concurrent": lambda _in, _out: 1,
}


@dataclass
class Books:
    """The same counts, kept as a plain list of requests.

    Attributes:
        counted: the guard, and its clock.
        known: by id, the time, the model, its tokens, and until when the request is open.
    """

    counted: Counted
    known: dict[str, tuple[float, str, int, int, float]] = field(default_factory=dict)

    def amount(self, name: str, model: str, tokens_in: int, tokens_out: int) -> int:
        """Returns what a cell counts in a limit."""
        kind, _, scope = name.removesuffix("]").partition("[")
        spec = self.counted.pool.specs[self.counted.pool.index[model]]
        counts = scope in {spec.provider, spec.name}
        return AMOUNTS[kind](tokens_in, tokens_out) if counts else 0

    def used(self, name: str, seconds: float = 60.0) -> int:
        """Returns what counts in a limit: of so many seconds, or at a time."""
        now_s = self.counted.now_s
        return sum(
            self.amount(name, model, tokens_in, tokens_out)
            for made_s, model, tokens_in, tokens_out, until_s in self.known.values()
            if (until_s > now_s if "concurrent" in name else made_s > now_s - seconds)
        )

    def take(self, cells: list[tuple[str, int, int]]) -> None:
        """Takes cells, and looks whether the limits of those that were granted hold."""
        taken = self.counted.take(*cells)
        until_s = self.counted.now_s + TIMEOUT_S
        granted = [(one, cell) for one, cell in zip(taken, cells, strict=True) if one]
        self.known.update({one: (self.counted.now_s, *cell, until_s) for one, cell in granted})
        rows = self.counted.guard.rows
        for name, limit in zip(rows.names, rows.limits.tolist(), strict=True):
            if any(self.amount(name, *cell) for _, cell in granted):
                assert self.used(name) <= limit
        if not any(taken):
            # The first would have been granted, had it fitted into a minute and what it may lag.
            assert any(
                self.used(name, 60.0 + 2 * SLOT_S) + self.amount(name, *cells[0]) > limit
                for name, limit in zip(rows.names, rows.limits.tolist(), strict=True)
            )

    def end(self, at: int, model: str | None, tokens: int) -> None:
        """Reports one of the requests, or takes it back where no model is given."""
        if not self.known:
            return
        one = sorted(self.known)[at % len(self.known)]
        made_s, *_, until_s = self.known[one]
        if model is None:
            self.counted.guard.release([one])
        else:
            self.counted.guard.ended(one, model, tokens, tokens)
        if until_s <= self.counted.now_s:
            return  # it ended before, and this tells nothing
        if model is None:
            del self.known[one]
        else:
            self.known[one] = (made_s, model, tokens, tokens, self.counted.now_s)


cells = st.tuples(st.sampled_from(NAMES), st.integers(0, 40), st.integers(0, 40))
ends = st.tuples(st.integers(0, 99), st.none() | st.sampled_from(NAMES), st.integers(0, 60))
steps = st.lists(cells, min_size=1, max_size=6) | st.integers(0, 280) | ends


@given(st.lists(steps, max_size=40))
def test_no_minute_ever_has_more_than_the_limits(events: list[Any]) -> None:
    pool = limited(
        {
            "acme": {"requests_per_minute": 5, "tokens_per_minute": 200, "max_concurrent": 4},
            "other": {"input_tokens_per_minute": 90},
        },
        output_tokens_per_minute=70,
    )
    books = Books(Counted(pool))
    for event in events:
        if isinstance(event, int):
            books.counted.now_s += event / 4.0
        elif isinstance(event, list):
            books.take(event)
        else:
            books.end(*event)
        for state in books.counted.guard.states(np.zeros(len(books.counted.guard.limits))):
            if "concurrent" not in state.name:
                # The guard counts a slot longer than a minute, and never less.
                assert books.used(state.name) <= state.used
                assert state.used <= books.used(state.name, 60.0 + 2 * SLOT_S)
