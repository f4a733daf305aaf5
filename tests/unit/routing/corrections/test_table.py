"""Lengths and latencies that answers tell of, by model and kind; limits that cut answers off."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.routing.corrections.ratio import HIGHEST, LOWEST
from routoo.routing.corrections.table import MOST_CELLS, Answer, Learned, Table

MEMORY = 200.0


def answer(tokens: float | None, **more: Any) -> Answer:
    fields: dict[str, Any] = {
        "predictor": "p1",
        "model": "small",
        "kind": "",
        "predicted_tokens": 100.0,
        "tokens": tokens,
        "limit_tokens": inf,
        "predicted_ms": 1000.0,
        "latency_ms": None,
    }
    return Answer(**{**fields, **more})


def length(table: Table, kind: str = "", model: str = "small") -> float:
    found = table.of_model("p1", model, (kind,) if kind else ())
    return found.kinds[kind][0].factor if kind else found.lengths.factor


def test_a_kind_has_its_own_factor_and_an_unseen_one_that_of_the_model() -> None:
    short = [answer(50.0, kind="chat")] * 50
    long = [answer(400.0, kind="code")] * 50
    mixed = [one for pair in zip(short, long, strict=True) for one in pair]
    table = Table().learned(mixed, MEMORY)
    assert length(table, "chat") == pytest.approx(0.5, rel=0.6)
    assert length(table, "code") == pytest.approx(4.0, rel=0.15)
    assert length(table, "chat") < length(table) < length(table, "code")
    factors = table.factors("p1", ("small", "large"), ("chat", "code", "poems"))
    assert factors.lengths[2, 0] == factors.lengths[3, 0] == round(length(table), 4)
    assert (factors.lengths[:, 1] == 1.0).all()


def test_other_models_and_other_predictors_learn_nothing() -> None:
    table = Table().learned([answer(1000.0)] * 50, MEMORY)
    assert length(table, model="large") == 1.0
    assert table.factors("p2", ("small",), ()).changes_nothing


def test_latencies_are_learned_apart_from_lengths() -> None:
    told = [answer(100.0, latency_ms=3000.0)] * 100
    found = Table().learned(told, MEMORY).of_model("p1", "small", ())
    assert found.lengths.factor == pytest.approx(1.0)
    assert found.latencies.factor == pytest.approx(3.0, rel=0.1)
    assert (found.lengths.answers, found.latencies.answers) == (100, 100)


@pytest.mark.parametrize("limit", [25.0, 50.0, 100.0, 200.0, 400.0])
def test_answers_cut_off_do_not_teach_that_answers_are_short(limit: float) -> None:
    rng = np.random.default_rng(2)
    lengths = np.maximum(np.rint(rng.exponential(100.0, 2000)), 1.0)
    cut = [answer(min(one, limit), limit_tokens=limit) for one in lengths.tolist()]
    factor = length(Table().learned(cut, MEMORY))
    predicted, came = min(100.0 * factor, limit), np.minimum(lengths, limit).mean()
    assert 0.7 < factor < 1.3
    assert predicted >= came * 0.95


def test_answers_that_all_reach_the_limit_teach_that_much_and_no_more_than_four_times() -> None:
    cut = [answer(500.0, limit_tokens=500.0)] * 200
    assert 5.0 * 0.9 <= length(Table().learned(cut, MEMORY)) <= 20.0


@given(
    st.lists(
        st.builds(
            answer,
            st.none() | st.floats(1.0, 1e9),
            model=st.sampled_from(["small", "large"]),
            kind=st.sampled_from(["", "chat", "code"]),
            predicted_tokens=st.floats(0.0, 1e5),
            limit_tokens=st.just(inf) | st.floats(1.0, 1e6),
            predicted_ms=st.floats(0.0, 1e6),
            latency_ms=st.none() | st.floats(1e-3, 1e9),
        ),
        max_size=120,
    )
)
def test_any_answers_leave_factors_in_bounds_and_a_table_that_is_kept_whole(
    answers: list[Answer],
) -> None:
    table = Table().learned(answers, MEMORY)
    factors = table.factors("p1", ("small", "large"), ("chat", "code"))
    for figures in (factors.lengths, factors.latencies):
        assert (figures >= round(LOWEST, 4)).all()
        assert (figures <= HIGHEST).all()
    assert Table.read(table.plain()) == table
    half = len(answers) // 2
    in_two = Table().learned(answers[:half], MEMORY).learned(answers[half:], MEMORY)
    assert in_two == table


def test_a_full_table_forgets_the_oldest_predictor_for_the_one_in_use() -> None:
    models = [f"m{number}" for number in range(MOST_CELLS // 2)]
    full = Table()
    for predictor in ("old", "new"):
        told = [answer(1.0, predictor=predictor, model=model) for model in models]
        full = full.learned(told, MEMORY)
    assert len(full.cells) == MOST_CELLS
    more = full.learned([answer(1.0, predictor="new", model="one more")], MEMORY)
    assert {key[0] for key in more.cells} == {"new"}
    assert len(more.cells) == MOST_CELLS // 2 + 1
    alone = Table({("p1", str(number), ""): Learned() for number in range(MOST_CELLS)})
    assert alone.learned([answer(1.0)], MEMORY) == alone


def test_entries_that_are_not_wanted_are_left_out() -> None:
    table = Table().learned([answer(1.0), answer(1.0, model="large")], MEMORY)
    assert {key[1] for key in table.only(lambda key: key[1] == "large").cells} == {"large"}
    assert table.only(lambda _: True) is table


@pytest.mark.parametrize(
    "values",
    [
        None,
        7,
        [[]],
        [["p", "m", "", [1, 1.0, 1.0, 1.0, 1.0, 1.0]]],
        [["p", 3, "", [0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]]],
        [["p", "m", "", [0, -1.0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]]],
        [["p", "m", "", ["a", 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]]],
        [["p", "m", "", [0] * 8, [0, 0, 0, 0, 0, 0, 0]]],
    ],
)
def test_values_that_are_no_table_are_refused(values: object) -> None:
    with pytest.raises(ValueError, match="no table of corrections"):
        Table.read(values)
