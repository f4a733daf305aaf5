"""The rules of sessions: costs with what is cached, turns ahead, ties, and models that stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.routing.estimates import Estimates
from routoo.routing.sessions.costs import turn_costs_usd, weighed_usd
from routoo.routing.sessions.facts import SessionFacts, Tie
from routoo.routing.sessions.rows import Before, SessionRows, turns_ahead
from routoo.routing.sessions.state import MIN_CACHED_TOKENS, CachedPrefix, SessionState
from routoo.routing.sessions.stay import SessionTurns, Stay, in_turn, turns_of
from routoo.routing.sessions.ties import SESSION_STATE, TOOL_LOOP, ties_of
from routoo.selector.policies.base import Case
from routoo.selector.policies.cheapest import Cheapest
from routoo.selector.policies.lp import Lp
from routoo.selector.policies.round_robin import RoundRobin
from routoo.tariffs.tariff import cost_nano_usd
from routoo.tariffs.usage import Usage
from support.tiny_pool import cached_pool

POOL = cached_pool()
SMALL, MEDIUM, LARGE = range(3)


def state_of(model: str, tokens: int, **more: Any) -> SessionState:
    caches = (CachedPrefix(model, tokens, 300.0, 1),) if tokens else ()
    return SessionState(model=model, first_input_tokens=tokens, caches=caches, **more)


def rows_of(*known: Before | None, tokens: float = 20_000.0, min_gain: float = 0.0) -> SessionRows:
    return SessionRows.of(known, np.full((len(known), 3), tokens), POOL, min_gain)


def case_of(
    rows: SessionRows,
    scores: list[float],
    *,
    tokens: float = 20_000.0,
    price: float = 10.0,
    mask: list[bool] | None = None,
) -> SessionTurns:
    n = len(rows)
    estimates = Estimates(
        scores=np.tile(np.array(scores), (n, 1)),
        output_tokens=np.full((n, 3), 200.0),
        costs_usd=POOL.prices.costs_usd(np.full((n, 3), tokens), np.full((n, 3), 200.0), None),
        latencies_ms=np.ones((n, 3)),
        input_tokens=np.full((n, 3), tokens),
    )
    alone_usd = estimates.costs_usd
    estimates = in_turn(rows, estimates, POOL)
    case = Case(
        scores=estimates.scores,
        costs_usd=estimates.costs_usd,
        mask=np.tile(np.array(mask or [True] * 3), (n, 1)),
        prices=np.full(n, price),
        max_quality_gaps=np.full(n, np.nan),
        tickets=np.arange(n),
    )
    return turns_of(rows, [b""] * n, case, alone_usd, estimates, POOL)


@given(
    column=st.sampled_from([SMALL, MEDIUM, LARGE]),
    tokens=st.integers(0, 100_000),
    cached=st.integers(0, 200_000),
    out=st.integers(0, 5000),
    writes=st.booleans(),
)
def test_a_turn_costs_what_the_provider_bills(
    column: int, tokens: int, cached: int, out: int, *, writes: bool
) -> None:
    facts = SessionFacts("session_id", "s", writes=writes)
    state = state_of(POOL.names[column], cached)
    rows = rows_of(Before(facts, state), tokens=tokens)
    wide = np.full((1, 3), float(tokens))
    costs = turn_costs_usd(rows, POOL, wide, np.full((1, 3), float(out)), None)
    kept = writes or column == SMALL
    read = min(cached, tokens) if kept else 0
    written = tokens - read if kept and tokens >= MIN_CACHED_TOKENS else 0
    usage = Usage(tokens, out, cached_input_tokens=read, cache_write_tokens=written)
    billed = cost_nano_usd(POOL.prices.tariffs[column], usage, 0) * 1e-9
    assert costs[0, column] == pytest.approx(billed, abs=2e-9)


def test_rows_without_a_session_cost_the_same_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    tokens, out = rng.integers(0, 90_000, (50, 3)) * 1.0, rng.integers(1, 3000, (50, 3)) * 1.0
    rows = SessionRows.none(50, 3)
    plain = POOL.prices.costs_usd(tokens, out, None)
    turn = turn_costs_usd(rows, POOL, tokens, out, None)
    assert (turn == plain).all()
    assert (weighed_usd(rows, POOL, turn, tokens, out, None) == plain).all()


def test_cached_tokens_above_the_input_count_as_all_of_it() -> None:
    facts = SessionFacts(current_model="medium", cached_input_tokens=10**9)
    rows = rows_of(Before(facts))
    assert rows.cached[0].tolist() == [0.0, 20_000.0, 0.0]


def test_more_turns_before_mean_more_turns_ahead_up_to_a_bound() -> None:
    ahead = turns_ahead(np.array([0.0, 1.0, 10.0, 1e6]))
    assert (np.diff(ahead) > 0).all()
    assert ahead[0] == pytest.approx(0.56 / 0.44)
    assert ahead[-1] < 0.7 / 0.3


def test_a_cache_keeps_a_model_whose_rival_is_better_alone() -> None:
    rows = rows_of(None, Before(SessionFacts("session_id", "s"), state_of("large", 19_000)))
    turns = case_of(rows, [0.05, 0.1, 0.7], mask=[False, True, True])
    choice, _, after = turns.chosen_by(Lp())
    assert choice.tolist() == [MEDIUM, LARGE]
    assert after.stays(choice).tolist() == [Stay.NONE, Stay.CACHE]
    # What medium has to read at the price of writing, where large reads it from its cache.
    switch = 19_000 * (1.25 - 0.1) * 1e-6
    assert after.switch_costs_usd(choice) == pytest.approx([0.0, switch])


def test_a_switch_that_gains_too_little_is_not_made() -> None:
    before = Before(SessionFacts("session_id", "s"), state_of("medium", 0))
    scores = [0.5, 0.5, 0.52]
    for min_gain, chosen, stay in ((0.0, LARGE, Stay.NONE), (0.05, MEDIUM, Stay.MIN_GAIN)):
        turns = case_of(rows_of(before, min_gain=min_gain), scores, price=0.0)
        choice, _, after = turns.chosen_by(Lp())
        assert (choice.tolist(), after.stays(choice).tolist()) == ([chosen], [stay])


def test_a_model_that_is_not_eligible_does_not_stay() -> None:
    before = Before(SessionFacts("session_id", "s"), state_of("large", 19_000))
    turns = case_of(rows_of(before, min_gain=1.0), [0.1, 0.2, 0.9], mask=[True, True, False])
    choice, _, after = turns.chosen_by(Lp())
    assert choice.tolist() != [LARGE]
    assert after.stays(choice).tolist() == [Stay.NONE]


def test_policies_that_do_not_weigh_turns_choose_as_alone() -> None:
    before = Before(SessionFacts("session_id", "s"), state_of("small", 19_000))
    turns = case_of(rows_of(before, min_gain=1.0), [0.1, 0.2, 0.9])
    choice, _, after = turns.chosen_by(RoundRobin((LARGE,)))
    assert choice.tolist() == [LARGE]
    assert after.stays(choice).tolist() == [Stay.NONE]


def test_the_cheapest_model_is_that_of_the_turns_ahead() -> None:
    before = Before(SessionFacts("session_id", "s"), state_of("small", 0))
    choice, _, _ = case_of(rows_of(before), [0.1, 0.2, 0.9]).chosen_by(Cheapest())
    assert choice.tolist() == [SMALL]


@pytest.mark.parametrize(
    ("tie", "constraint", "left"),
    [
        (Tie.TOOL_LOOP, TOOL_LOOP, [False, True, False]),
        (Tie.MODEL, SESSION_STATE, [False, True, False]),
        (Tie.PROVIDER, SESSION_STATE, [True, True, False]),
    ],
)
def test_ties_leave_the_model_or_its_provider(tie: Tie, constraint: str, left: list[bool]) -> None:
    facts = SessionFacts("session_id", "s", ties=tie)
    rows = rows_of(None, Before(facts, state_of("medium", 0)), Before(facts))
    ((named, kept),) = ties_of(rows, POOL)
    assert named == constraint
    # Nothing is held where the model of the turn before is not known.
    assert kept.tolist() == [[True] * 3, left, [True] * 3]


def test_a_model_that_has_left_the_pool_is_not_current() -> None:
    facts = SessionFacts("session_id", "s", ties=Tie.TOOL_LOOP)
    rows = rows_of(Before(facts, state_of("gone", 5000)))
    assert rows.current.tolist() == [-1]
    assert not rows.cached.any()


def test_rows_are_the_same_after_a_log() -> None:
    facts = SessionFacts("session_id", "s", ties=Tie.TOOL_LOOP | Tie.PROVIDER)
    state = state_of("medium", 7777, turns=3, cold_turns=1, spent_nano_usd=123_456)
    rows = rows_of(Before(facts, state), None, Before(facts), min_gain=0.03)
    told = [rows.logged(row, POOL) if rows.on[row] else None for row in range(3)]
    again = SessionRows.restored(told, POOL)
    taken = SessionRows.joined([again.take(np.array([0])), again.take(np.array([1, 2]))])
    for name in SessionRows.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(taken, name), getattr(rows, name))
