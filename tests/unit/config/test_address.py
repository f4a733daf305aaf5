"""Addresses: their forms, and whether other machines reach them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.config.address import Address

HERE = ("127.0.0.1:1", "127.9.9.9:1", "[::1]:0", "localhost:65535", "unix:/run/a.sock")
ELSEWHERE = (
    *("0.0.0.0:1", "[::]:1", "10.0.0.1:1", "router.example:1", "localhost.example:1"),
    *("127.0.0.1.example:1", "[::ffff:10.0.0.1]:1", "LOCALHOST:1", "0:1"),
)
NONE = (
    *("", ":", "a", "a:", ":1", "a:b", "a:-1", "a:65536", "a:٣", "a: 1"),
    *("unix:", "unix:a", "unix:/", "unix:/a/", "unix:/a\0b", "unix:/" + "x" * 107),
)


@pytest.mark.parametrize("text", HERE)
def test_what_only_this_machine_reaches(text: str) -> None:
    assert not Address.parse(text).leaves_the_machine
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize("text", ELSEWHERE)
def test_what_others_may_reach(text: str) -> None:
    assert Address.parse(text).leaves_the_machine


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"has to be|takes up to"):
        Address.parse(text)


@given(text=st.text(max_size=40))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = Address.parse(text)
    except ValueError:
        return
    assert Address.parse(str(address)) == address
