"""Scores that follow the reported ones: the posterior, its limits, and what a tenant may do."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.routing.corrections.scores.ability import (
    MOST_VARIANCE,
    Ability,
    GradedAnswer,
    chance,
    logit,
)
from routoo.routing.corrections.scores.in_force import (
    LearnedScores,
    learned_scores,
    learned_std,
)
from routoo.routing.corrections.scores.table import AbilityTable, AbilityTerms

TERMS = AbilityTerms(200.0)
KINDS = ("chat", "code")
MODELS = ("one", "two")

unit = st.floats(0.0, 1.0)


def answer(score: float, **more: object) -> GradedAnswer:
    told = GradedAnswer("p", "one", "chat", "", 0.8, 0.05, score)
    return told._replace(**more)


def after(
    count: int,
    score: float,
    table: AbilityTable | None = None,
    terms: AbilityTerms = TERMS,
    **more: object,
) -> AbilityTable:
    return (table or AbilityTable()).learned([answer(score, **more)] * count, terms)


def predicted(
    table: AbilityTable, kind: str = "chat", tenant: str = "", terms: AbilityTerms = TERMS
) -> float:
    """Returns the score of the model one where the predictor says 0.8."""
    force = table.in_force("p", MODELS, KINDS, terms)
    odds, _ = force.rows(np.array([KINDS.index(kind)]), [tenant])
    return float(learned_scores(np.array([[0.8, 0.8]]), odds)[0, 0])


@given(unit, st.floats(1e-3, 1e3))
def test_odds_move_a_score_as_an_offset_of_its_logit_does(score: float, odds: float) -> None:
    moved = learned_scores(np.array([[score]]), np.array([[odds]]))[0, 0]
    inside = min(max(score, 1e-3), 1 - 1e-3)
    expected = score if odds == 1.0 else chance(logit(inside) + np.log(odds))
    assert moved == pytest.approx(expected, abs=1e-4)
    assert moved == learned_scores(np.full((7, 1), score), np.full((7, 1), odds))[3, 0]


@given(st.floats(0.02, 0.98), st.floats(0.1, 10.0))
def test_the_deviation_is_that_of_the_moved_score(score: float, odds: float) -> None:
    one = np.ones((1, 1))
    step = 1e-6
    low, high = (odds * s / (1 + (odds - 1) * s) for s in (score - step, score + step))
    found = learned_std(0.1 * one, score * one, odds * one, one)[0, 0]
    assert found == pytest.approx(0.1 * (high - low) / (2 * step), rel=1e-3)


def test_without_reports_nothing_changes() -> None:
    assert AbilityTable().in_force("p", MODELS, KINDS, TERMS).changes_nothing
    assert LearnedScores.neutral(MODELS, KINDS).changes_nothing


@given(st.lists(unit, max_size=60), unit, st.sampled_from([None, 0.0, 0.05, 0.5]))
def test_every_report_moves_the_estimate_to_its_side_and_all_stays_finite(
    scores: list[float], plain: float, std: float | None
) -> None:
    known = Ability.before(plain, std)
    for score in scores:
        told = answer(score, predicted=plain, std=std)
        before = chance(logit(plain) + known.offset("chat").mean)
        known = known.learned(told, 0.0, 1.0, 1.0)
        here = chance(logit(plain) + known.offset("chat").mean)
        if known.falls.evidence + known.rises.evidence > 0.0:  # no jump was found
            assert (here - before) * (score - before) >= -1e-9
        assert 0.0 < known.offset("chat").variance <= 2 * MOST_VARIANCE
        assert Ability.read(known.plain()) == known


def test_reports_of_the_truth_are_believed_and_other_kinds_follow_in_part() -> None:
    table = after(400, 0.5)
    assert predicted(table) == pytest.approx(0.5, abs=0.04)
    assert 0.5 < predicted(table, "code") < 0.8
    # What one model tells moves another a little, and another predictor not at all.
    force = table.in_force("p", MODELS, KINDS, TERMS)
    assert 0.5 < force.odds[0, 1] < 1.0
    assert table.in_force("q", MODELS, KINDS, TERMS).changes_nothing


def test_models_that_nobody_asks_follow_what_all_others_have_in_common() -> None:
    told = [answer(0.95, model=f"m{one % 4}") for one in range(400)]
    force = AbilityTable().learned(told, TERMS).in_force("p", ("m0", "idle"), KINDS, TERMS)
    assert force.odds[0, 1] == pytest.approx(force.odds[0, 0], rel=0.4)
    # One that fell all at once tells nothing of the others.
    fallen = after(60, 0.05, after(300, 0.8)).in_force("p", MODELS, KINDS, TERMS)
    assert fallen.odds[0, 0] < 0.2
    assert fallen.odds[0, 1] == pytest.approx(1.0, abs=0.2)


def test_a_jump_is_found_within_some_reports_and_widens_the_deviation() -> None:
    table = after(1000, 0.8)
    steady = table.in_force("p", MODELS, KINDS, TERMS).spread[0, 0]
    fallen = after(15, 0.1, table)
    assert table.of_model("p", "one", TERMS).jumps == 0
    assert fallen.of_model("p", "one", TERMS).jumps >= 1
    assert predicted(fallen) < 0.4
    assert fallen.in_force("p", MODELS, KINDS, TERMS).spread[0, 0] > 2 * steady


def test_false_alarms_are_rare() -> None:
    rng = np.random.default_rng(0)
    jumps = 0
    for _ in range(10):
        told = [answer(float(one)) for one in rng.random(1000) < 0.8]
        jumps += AbilityTable().learned(told, TERMS).of_model("p", "one", TERMS).jumps
    assert jumps <= 10_000 * exp(-7.0)


def test_a_model_that_fell_is_tried_again_though_nobody_asks_it() -> None:
    table = after(30, 0.05, after(300, 0.8))
    assert predicted(table) < 0.3
    idle = after(1500, 0.8, table, model="two")
    assert predicted(idle) > 0.7
    back = after(40, 0.8, idle)
    assert predicted(back) == pytest.approx(0.8, abs=0.05)
    # One that was always so is not.
    weak = after(300, 0.5)
    assert predicted(after(300, 0.8, weak, model="two")) < 0.6


def test_a_confined_tenant_moves_itself_alone() -> None:
    table = after(100, 0.8)
    hostile = after(1000, 0.0, table, tenant="bad", confined=True)
    assert predicted(hostile) == predicted(table)
    assert predicted(hostile, tenant="other") == predicted(table)
    assert predicted(hostile, tenant="bad") < 0.4


def test_tenants_that_teach_others_count_a_fifth_at_most() -> None:
    terms = replace(TERMS, tenants_teach=True)
    table = after(300, 0.8, terms=terms)
    hostile = after(3000, 0.0, table, terms=terms, tenant="bad", confined=True)
    assert predicted(hostile, terms=terms) > 0.55
    honest = hostile.learned(
        [answer(0.8, tenant=f"t{one % 9}", confined=True) for one in range(1000)], terms
    )
    assert predicted(honest, terms=terms) == pytest.approx(0.8, abs=0.1)


def test_another_generation_forgets() -> None:
    table, next_terms = after(100, 0.2), replace(TERMS, generation=1)
    assert table.in_force("p", MODELS, KINDS, next_terms).changes_nothing
    assert after(1, 0.2, table, terms=next_terms).of_model("p", "one", next_terms).reports == 1


def test_what_is_written_is_read_again() -> None:
    table = after(50, 0.3, after(50, 0.9, tenant="a"), model="two", tenant="b", confined=True)
    assert AbilityTable.read(table.plain()) == table
    for damaged in (None, {}, {**table.plain(), "shared": [["p", "one", {}]]}):
        with pytest.raises(ValueError, match="no learned scores"):
            AbilityTable.read(damaged)


def test_models_that_left_are_forgotten() -> None:
    table = after(10, 0.3, after(10, 0.9, model="two"))
    assert [model for _, model in table.only(lambda one: one == "two").shared] == ["two"]
    assert table.only(lambda _: True) is table


def test_ids_tell_contents_apart_and_near_ones_are_kept() -> None:
    versions = [after(count, 0.3).in_force("p", MODELS, KINDS, TERMS) for count in (0, 10, 20)]
    assert len({one.id for one in versions}) == 3
    assert not any(one.is_near(two) for one, two in pairwise(versions))
    assert versions[1].is_near(versions[1])
