"""Addresses: their forms, and whether other machines reach them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.config.address import Address, past_proxies

HERE = ("127.0.0.1:1", "127.9.9.9:1", "[::1]:0", "localhost:65535", "unix:/run/a.sock")
ELSEWHERE = (
    *("0.0.0.0:1", "[::]:1", "10.0.0.1:1", "router.example:1", "localhost.example:1"),
    *("127.0.0.1.example:1", "[::ffff:10.0.0.1]:1", "LOCALHOST:1", "0:1"),
)
NONE = (
    *("", ":", "a", "a:", ":1", "a:b", "a:-1", "a:65536", "a:٣", "a: 1"),
    *("::1", "[::1]", "[::1", "[a]:1", "[127.0.0.1]:1", "1:2:3", "[::1]]:1"),
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


@pytest.mark.parametrize(
    ("target", "goes_past"),
    [
        *((text, True) for text in HERE),
        ("127.0.0.1", True),
        ("dns:///localhost:1", True),
        ("ipv4:127.0.0.1:1", True),
        ("ipv6:[::1]:1", True),
        *((text, False) for text in ELSEWHERE),
        ("dns:///router.example", False),
        ("xds:///routoo", False),
        ("", False),
    ],
)
def test_only_this_machine_is_asked_past_a_proxy(target: str, goes_past: bool) -> None:  # noqa: FBT001
    assert bool(past_proxies(target)) == goes_past


def test_an_ipv6_number_without_brackets_is_told_how_to_be_written() -> None:
    with pytest.raises(ValueError, match=r"in brackets, e.g. \[::1\]:50051"):
        Address.parse("::1")
    assert str(Address.parse("::1:50051")) == "[::1]:50051"
