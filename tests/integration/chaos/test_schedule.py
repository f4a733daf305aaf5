"""Schedules follow from their seeds alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.faults import FAULTS, kinds
from chaos.schedule import draw, moments

EVERYTHING = kinds(envoy=True, triton=True)
seeds = st.integers(0, 10**6)


@given(seeds)
def test_a_seed_gives_the_same_schedule_again(seed: int) -> None:
    assert draw(seed, 20, EVERYTHING) == draw(seed, 20, EVERYTHING)


@given(seeds, st.floats(3, 100))
def test_every_fault_is_taken_back_before_the_load_ends(seed: int, seconds: float) -> None:
    schedule = draw(seed, seconds, EVERYTHING)
    times = [event.at_s for event in schedule.events]
    assert times == sorted(times)
    assert [event.number for event in schedule.events] == list(range(len(times)))
    for event in schedule.events:
        assert event.at_s >= 1
        assert event.at_s + event.lasts_s <= seconds
        assert event.target in EVERYTHING[event.fault].targets


def test_all_faults_are_drawn() -> None:
    drawn = {event.fault for seed in range(200) for event in draw(seed, 20, EVERYTHING).events}
    assert drawn == set(FAULTS)


@pytest.mark.parametrize("missing", ["envoy", "triton"])
def test_a_site_without_a_part_has_no_faults_of_it(missing: str) -> None:
    has = {"envoy": True, "triton": True, missing: False}
    left = kinds(**has)
    assert {FAULTS[name].needs for name in set(FAULTS) - set(left)} == {missing}


@given(seeds)
def test_each_fault_begins_once_and_ends_once_in_the_order_of_time(seed: int) -> None:
    schedule = draw(seed, 20, EVERYTHING)
    found = moments(schedule)
    assert [at_s for at_s, _, _ in found] == sorted(at_s for at_s, _, _ in found)
    for event in schedule.events:
        own = [begins for _, begins, one in found if one is event]
        assert sorted(own) == [False, True]
        if event.lasts_s > 0:
            assert own == [True, False]


def test_a_part_keeps_the_numbers_of_the_whole() -> None:
    schedule = draw(7, 20, EVERYTHING)
    part = schedule.only({1, 3})
    assert part.events == (schedule.events[1], schedule.events[3])
    with pytest.raises(ValueError, match="no event 999"):
        schedule.only({0, 999})
