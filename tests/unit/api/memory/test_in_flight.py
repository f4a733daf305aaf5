"""The memory of calls in progress is reserved before it is taken, and never above its bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.api.memory.in_flight import InFlight, batch_bytes, explained_bytes, message_bytes
from routoo.errors import QueueFullError, TooLargeError


@given(st.lists(st.integers(0, 120), max_size=30))
def test_what_is_reserved_never_exceeds_the_bound(sizes: list[int]) -> None:
    in_flight = InFlight(100, 50)
    taken = []
    for size in sizes:
        try:
            taken.append(in_flight.take(size))
        except TooLargeError:
            assert size > 100
        except QueueFullError:
            assert sum(taken) + size > 100
    assert in_flight.held_bytes == sum(taken) <= 100
    assert in_flight.refused == len(sizes) - len(taken)
    for size in taken:
        in_flight.give(size)
    assert in_flight.held_bytes == 0


def test_a_refusal_names_what_it_needs_and_what_to_set() -> None:
    in_flight = InFlight(2**20, 2**20)
    with pytest.raises(TooLargeError) as caught:
        in_flight.take(3 * 2**20, "a batch of 9 prompts")
    assert str(caught.value) == (
        "a batch of 9 prompts needs some 3.0 MiB of memory, and all calls in progress may have"
        " 1.0 MiB; send fewer or shorter prompts at once, or set limits.max_in_flight_bytes:"
        " 3145728 or more and give the service that much more memory"
    )


def test_memory_comes_back_when_the_context_fails() -> None:
    in_flight = InFlight(100, 50)
    with pytest.raises(RuntimeError), in_flight.holding(60, "it"):
        raise RuntimeError
    assert in_flight.held_bytes == 0


def test_one_call_at_a_time_goes_on_while_memory_is_short() -> None:
    in_flight = InFlight(100, 50)
    in_flight.short = True
    in_flight.take(10)
    with pytest.raises(QueueFullError, match="short of it"):
        in_flight.take(10)
    in_flight.check(10)
    in_flight.keep(5)
    with pytest.raises(QueueFullError):
        in_flight.check(10)


def test_more_prompts_models_and_candidates_need_more() -> None:
    assert message_bytes(10**6) > message_bytes(10) > 10
    assert batch_bytes(2, 16) == 2 * batch_bytes(1, 16) > batch_bytes(2, 8)
    assert explained_bytes(0, 16) == 0 < explained_bytes(1, 16)
