"""Minimising finds a smallest part that still fails."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chaos.minimise import minimal

MANY = 10_000


class Site:
    """Fails whenever all the culprits of one group are among the events."""

    def __init__(self, *groups: set[int]) -> None:
        self.groups = groups
        self.probes = 0

    async def fails(self, numbers: tuple[int, ...]) -> bool:
        self.probes += 1
        return any(group <= set(numbers) for group in self.groups)


@given(st.sets(st.integers(0, 23), min_size=1, max_size=5))
async def test_exactly_the_culprits_remain(culprits: set[int]) -> None:
    found = await minimal(range(24), Site(culprits).fails, most_probes=MANY)
    assert set(found) == culprits


@given(st.lists(st.sets(st.integers(0, 15), min_size=1, max_size=4), min_size=1, max_size=4))
async def test_no_event_of_what_remains_can_be_left_out(groups: list[set[int]]) -> None:
    site = Site(*groups)
    found = await minimal(range(16), site.fails, most_probes=MANY)
    assert await site.fails(found)
    for one in found:
        assert not await site.fails(tuple(other for other in found if other != one))


async def test_a_site_that_fails_without_any_fault_is_said_to() -> None:
    assert await minimal(range(9), Site(set()).fails, most_probes=MANY) == ()


@given(st.integers(0, 12))
async def test_the_probes_are_bounded_and_what_remains_fails(most: int) -> None:
    site = Site({2, 17})
    found = await minimal(range(20), site.fails, most_probes=most)
    assert site.probes <= most
    assert {2, 17} <= set(found)
