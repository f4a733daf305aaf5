"""Lengths and latencies that answers tell of, by model and kind; limits that cut answers off."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.routing.corrections.factors import HIGHEST_TIME, LOWEST_TIME
from routoo.routing.corrections.ratio import HIGHEST, LOWEST, Ratio
from routoo.routing.corrections.speed import Declared, LearningTerms, Speed, TimedAnswer
from routoo.routing.corrections.table import MOST_CELLS, MOST_SPEEDS, Answer, Layout, Table

TERMS = LearningTerms(200.0, 2.0, 3600.0)
DECLARED = Declared(500.0, 10.0)
LAYOUT = Layout("p1", ("small", "large"), ("chat", "code"), (DECLARED, DECLARED))
NOON_S = 43_200.0


def timed(latency_ms: float | None, **more: Any) -> TimedAnswer | None:
    if latency_ms is None:
        return None
    return TimedAnswer(
        **{
            "declared": DECLARED,
            "expected_tokens": 100.0,
            "tokens": 100.0,
            "latency_ms": latency_ms,
            "first_token_ms": None,
            "timed_out": False,
            "time_s": NOON_S,
            **more,
        }
    )


def answer(tokens: float | None, **more: Any) -> Answer:
    fields: dict[str, Any] = {
        "predictor": "p1",
        "model": "small",
        "kind": "",
        "predicted_tokens": 100.0,
        "tokens": tokens,
        "limit_tokens": inf,
        "times": None,
    }
    return Answer(**{**fields, **more})


def length(table: Table, kind: str = "", model: str = "small") -> float:
    layout = Layout("p1", (model,), (kind,) if kind else (), (DECLARED,))
    found = table.of_model(layout, 0, TERMS, NOON_S)
    return found.kinds[kind].factor if kind else found.lengths.factor


def test_a_kind_has_its_own_factor_and_an_unseen_one_that_of_the_model() -> None:
    short = [answer(50.0, kind="chat")] * 50
    long = [answer(400.0, kind="code")] * 50
    mixed = [one for pair in zip(short, long, strict=True) for one in pair]
    table = Table().learned(mixed, TERMS)
    assert length(table, "chat") == pytest.approx(0.5, rel=0.6)
    assert length(table, "code") == pytest.approx(4.0, rel=0.15)
    assert length(table, "chat") < length(table) < length(table, "code")
    layout = LAYOUT._replace(kinds=("chat", "code", "poems"))
    factors = table.factors(layout, TERMS, NOON_S)
    assert factors.lengths[2, 0] == factors.lengths[3, 0] == round(length(table), 4)
    assert (factors.lengths[:, 1] == 1.0).all()


def test_other_models_and_other_predictors_learn_nothing() -> None:
    table = Table().learned([answer(1000.0)] * 50, TERMS)
    assert length(table, model="large") == 1.0
    assert table.factors(LAYOUT._replace(predictor="p2"), TERMS, NOON_S).changes_nothing


def test_latencies_are_learned_apart_from_lengths() -> None:
    told = [answer(100.0, times=timed(4500.0))] * 100
    found = Table().learned(told, TERMS).of_model(LAYOUT, 0, TERMS, NOON_S)
    assert found.lengths.factor == pytest.approx(1.0)
    assert found.latencies.factor == pytest.approx(3.0, rel=0.1)
    assert (found.lengths.answers, found.latencies.answers) == (100, 100)


@pytest.mark.parametrize("limit", [25.0, 50.0, 100.0, 200.0, 400.0])
def test_answers_cut_off_do_not_teach_that_answers_are_short(limit: float) -> None:
    rng = np.random.default_rng(2)
    lengths = np.maximum(np.rint(rng.exponential(100.0, 2000)), 1.0)
    cut = [answer(min(one, limit), limit_tokens=limit) for one in lengths.tolist()]
    factor = length(Table().learned(cut, TERMS))
    predicted, came = min(100.0 * factor, limit), np.minimum(lengths, limit).mean()
    assert 0.7 < factor < 1.3
    assert predicted >= came * 0.95


def test_answers_that_all_reach_the_limit_teach_that_much_and_no_more_than_four_times() -> None:
    cut = [answer(500.0, limit_tokens=500.0)] * 200
    assert 5.0 * 0.9 <= length(Table().learned(cut, TERMS)) <= 20.0


@given(
    st.lists(
        st.builds(
            answer,
            st.none() | st.floats(1.0, 1e9),
            model=st.sampled_from(["small", "large"]),
            kind=st.sampled_from(["", "chat", "code"]),
            predicted_tokens=st.floats(0.0, 1e5),
            limit_tokens=st.just(inf) | st.floats(1.0, 1e6),
            times=st.builds(
                timed,
                st.none() | st.floats(1e-9, 1e12),
                tokens=st.none() | st.floats(0.0, 1e9),
                expected_tokens=st.floats(0.0, 1e9),
                first_token_ms=st.none() | st.floats(1e-9, 1e12),
                timed_out=st.booleans(),
                time_s=st.floats(0.0, 1e12),
                declared=st.builds(Declared, st.floats(0.0, 1e9), st.floats(0.0, 1e9)),
            ),
        ),
        max_size=120,
    )
)
def test_any_answers_leave_factors_in_bounds_and_a_table_that_is_kept_whole(
    answers: list[Answer],
) -> None:
    table = Table().learned(answers, TERMS)
    factors = table.factors(LAYOUT, TERMS, NOON_S)
    assert (factors.lengths >= round(LOWEST, 4)).all()
    assert (factors.lengths <= HIGHEST).all()
    for figures in (factors.latencies, factors.firsts, factors.percentiles):
        assert (figures >= LOWEST_TIME).all()
        assert (figures <= HIGHEST_TIME).all()
    assert (np.diff(factors.percentiles, axis=0) >= 0.0).all()
    assert Table.read(table.plain()) == table
    half = len(answers) // 2
    in_two = Table().learned(answers[:half], TERMS).learned(answers[half:], TERMS)
    assert in_two == table


def test_a_full_table_forgets_the_oldest_predictor_for_the_one_in_use() -> None:
    models = [f"m{number}" for number in range(MOST_CELLS // 2)]
    full = Table()
    for predictor in ("old", "new"):
        told = [answer(1.0, predictor=predictor, model=model) for model in models]
        full = full.learned(told, TERMS)
    assert len(full.cells) == MOST_CELLS
    more = full.learned([answer(1.0, predictor="new", model="one more")], TERMS)
    assert {key[0] for key in more.cells} == {"new"}
    assert len(more.cells) == MOST_CELLS // 2 + 1
    alone = Table({("p1", str(number), ""): Ratio() for number in range(MOST_CELLS)})
    assert alone.learned([answer(1.0)], TERMS) == alone


def test_entries_that_are_not_wanted_are_left_out() -> None:
    told = [answer(1.0, model=model, times=timed(900.0)) for model in ("small", "large")]
    table = Table().learned(told, TERMS)
    left = table.only(lambda model: model == "large")
    assert {key[1] for key in left.cells} == {"large"} == set(left.speeds)
    assert table.only(lambda _: True) is table


def test_a_table_full_of_times_forgets_the_model_that_came_first() -> None:
    full = Table(speeds={f"m{number}": Speed() for number in range(MOST_SPEEDS)})
    more = full.learned([answer(None, model="one more", times=timed(900.0))], TERMS)
    assert len(more.speeds) == MOST_SPEEDS
    assert "m0" not in more.speeds
    assert more.speeds["one more"].total.answers == 1


SPREAD: list[Any] = [1, 0.0, 1.0, 0, [], [7.0]]
SPEED: list[Any] = [[0, 0.0, 0.0], SPREAD, SPREAD, [1, 1, 7.0, [], []], 1.0]


@pytest.mark.parametrize(
    "values",
    [
        None,
        7,
        {},
        {"lengths": [], "speeds": [[]]},
        {"lengths": [["p", "m", "", [1, 1.0, 1.0, 1.0, 1.0, 1.0]]], "speeds": []},
        {"lengths": [["p", 3, "", [0] * 7]], "speeds": []},
        {"lengths": [["p", "m", "", [0, -1.0, 0, 0, 0, 0, 0]]], "speeds": []},
        {"lengths": [["p", "m", "", ["a", 0, 0, 0, 0, 0, 0]]], "speeds": []},
        {"lengths": [["p", "m", "", [0] * 8]], "speeds": []},
        {"lengths": [], "speeds": [[3, SPEED]]},
        {"lengths": [], "speeds": [["m", SPEED[1:]]]},
        {"lengths": [], "speeds": [["m", [[0.5, 0.0, 0.0], *SPEED[1:]]]]},
        {"lengths": [], "speeds": [["m", [[0, -1.0, 0.0], *SPEED[1:]]]]},
        *(
            {"lengths": [], "speeds": [["m", [SPEED[0], wrong, *SPEED[2:]]]]}
            for wrong in (
                [1, 0.0, 1.0, 0, [], []],
                [1, 0.0, 0.5, 0, [], [7.0]],
                [1, 0.0, 1.0, 0, [], [float("nan")]],
                [1, 0.0, 1.0, 0, [], [1e9]],
                [1, 0.0, 1.0, 0, [-1.0], [7.0]],
                [1, 0.0, 1.0, 127, [1.0, 1.0], [7.0]],
                [1, 0.0, 1.0, 0, [], [7.0] * 31],
                [1.5, 0.0, 1.0, 0, [], [7.0]],
            )
        ),
        *(
            {"lengths": [], "speeds": [["m", [*SPEED[:3], wrong, 1.0]]]}
            for wrong in (
                [1, 1, 7.0, [1.0], [1.0]],
                [1, -1, 7.0, [], []],
                [0.5, 1, 7.0, [], []],
                [1, 1, float("inf"), [], []],
                [1, 1, 7.0, [-1.0] * 24, [0.0] * 24],
            )
        ),
    ],
)
def test_values_that_are_no_table_are_refused(values: object) -> None:
    with pytest.raises(ValueError, match="no table of corrections"):
        Table.read(values)
