"""Compressed messages are decompressed to the length that they state, and no further."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.api.memory.compressed import decompressed, is_compressed, length_of
from routoo.errors import InvalidRequestError, TooLargeError
from routoo.v1 import batch_pb2, route_pb2


@given(st.binary(max_size=3000))
def test_a_message_comes_back_as_it_was(message: bytes) -> None:
    packed = gzip.compress(message)
    assert is_compressed(packed)
    length = length_of(packed, 3000)
    assert length == len(message)
    assert decompressed(packed, length) == message


@given(st.text(max_size=40))
def test_no_message_of_the_service_looks_compressed(text: str) -> None:
    for message in (
        route_pb2.RouteRequest(prompt=text, request_id=text),
        batch_pb2.RouteBatchRequest(requests=[route_pb2.RouteRequest(prompt=text)]),
    ):
        body = message.SerializeToString()
        assert not is_compressed(body)
        assert length_of(body, 0) == len(body)


def test_a_bomb_is_refused_by_the_length_that_it_states() -> None:
    bomb = gzip.compress(b"\x00" * 2_000_000)
    assert len(bomb) < 3000
    with pytest.raises(TooLargeError, match=r"2000000 bytes.*limits\.max_message_bytes"):
        length_of(bomb, 1_999_999)


def test_a_bomb_that_states_less_is_not_decompressed_further() -> None:
    bomb = gzip.compress(b"\x00" * 2_000_000)[:-4] + (1000).to_bytes(4, "little")
    with pytest.raises(InvalidRequestError, match="does not decompress to the length"):
        decompressed(bomb, length_of(bomb, 1_000_000))


@pytest.mark.parametrize("cut", [5, 12, 17])
def test_a_cut_off_message_is_refused(cut: int) -> None:
    with pytest.raises(InvalidRequestError, match="cut off"):
        length_of(gzip.compress(b"hello")[:cut], 1_000_000)


def test_garbage_and_a_second_member_are_refused() -> None:
    packed = gzip.compress(b"hello there")
    broken = packed[:12] + b"\xff\xff" + packed[14:]
    with pytest.raises(InvalidRequestError):
        decompressed(broken, length_of(broken, 1_000_000))
    twice = packed + gzip.compress(b"x" * 30)
    with pytest.raises(InvalidRequestError):
        decompressed(twice, length_of(twice, 1_000_000))
