"""The state of a session: bounded, whatever comes, and never older than it was."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from routoo.routing.sessions.state import (
    MOST_CACHES,
    MOST_TURNS,
    SessionState,
    Turn,
    TurnReport,
    after_report,
    after_turn,
)

TTL_S = 300.0
NAMES = st.sampled_from([f"model-{n}" for n in range(9)])
TURNS = st.builds(
    Turn, NAMES, st.integers(0, 200_000), st.integers(0, 10**12), caches=st.booleans()
)
REPORTS = st.builds(
    TurnReport,
    st.integers(1, 60),
    NAMES,
    st.none() | st.integers(0, 200_000),
    st.just(TTL_S),
    st.integers(-(10**12), 10**12),
)


@given(st.lists(st.tuples(st.floats(-1e9, 1e9), TURNS | REPORTS), min_size=1, max_size=60))
def test_whatever_comes_a_state_is_bounded_and_goes_forward(
    events: list[tuple[float, Turn | TurnReport]],
) -> None:
    state: SessionState | None = None
    for now_s, event in events:
        before = state
        if isinstance(event, Turn):
            state = after_turn(state, event, now_s, TTL_S)
            assert state.model == event.model
            assert state.turns == 1 + (0 if before is None else before.turns)
        elif state is not None:
            state = after_report(state, event)
        if state is None:
            continue
        assert len(state.caches) <= MOST_CACHES
        assert len({one.model for one in state.caches}) == len(state.caches)
        assert state.spent_nano_usd >= 0
        assert 0 <= state.cold_turns <= state.turns
        assert before is None or state.seen_s >= before.seen_s


def test_a_session_of_a_million_turns_is_no_larger() -> None:
    state = after_turn(None, Turn("a", 5000, 10, caches=True), 0.0, TTL_S)
    small = state
    for turn in range(1_000):
        state = after_turn(state, Turn(f"m{turn % 7}", 5000, 10, caches=True), turn * 1.0, TTL_S)
    assert len(state.caches) == MOST_CACHES
    state = after_turn(
        replace(small, turns=MOST_TURNS), Turn("a", 5000, 10, caches=True), 1.0, TTL_S
    )
    assert state.turns == MOST_TURNS


def test_a_cache_runs_out_and_a_clock_that_goes_back_stands_still() -> None:
    state = after_turn(None, Turn("a", 5000, 10, caches=True), 1000.0, TTL_S)
    assert state.cached_tokens(1000.0 + TTL_S - 1) == {"a": 5000}
    assert state.cached_tokens(1000.0 + TTL_S) == {}
    back = after_turn(state, Turn("a", 6000, 10, caches=True), 0.0, TTL_S)
    assert back.seen_s == 1000.0
    assert back.cold_turns == 0


def test_a_late_turn_is_cold() -> None:
    state = after_turn(None, Turn("a", 5000, 10, caches=True), 0.0, TTL_S)
    state = after_turn(state, Turn("a", 5000, 10, caches=True), TTL_S + 1, TTL_S)
    assert (state.turns, state.cold_turns) == (2, 1)


def test_a_report_corrects_the_cache_and_the_cost() -> None:
    state = after_turn(None, Turn("a", 5000, 100, caches=True), 0.0, TTL_S)
    state = after_report(state, TurnReport(1, "a", 4800, 3600.0, -40))
    assert state.spent_nano_usd == 60
    assert state.cached_tokens(3599.0) == {"a": 4800}
    assert after_report(state, TurnReport(1, "a", 0, TTL_S, 0)).caches == ()


def test_a_report_that_is_overtaken_changes_the_cost_alone() -> None:
    state = after_turn(None, Turn("a", 5000, 100, caches=True), 0.0, TTL_S)
    state = after_turn(state, Turn("a", 7000, 100, caches=True), 1.0, TTL_S)
    after = after_report(state, TurnReport(1, "a", 0, TTL_S, 5))
    assert after.cached_tokens(2.0) == {"a": 7000}
    assert after.spent_nano_usd == 205


def test_another_model_that_answered_is_the_sessions() -> None:
    state = after_turn(None, Turn("a", 5000, 100, caches=True), 0.0, TTL_S)
    after = after_report(state, TurnReport(1, "b", None, TTL_S, 0))
    assert after.model == "b"
