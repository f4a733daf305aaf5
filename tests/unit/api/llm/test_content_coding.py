"""Compressed bodies: read whole, within their bound, or refused."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.api.llm.content_coding import codings_of, decoded
from routoo.errors import TooLargeError, UnreadableBodyError
from support.artifacts.zstd import zstd

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES = 4 * 1024 * 1024
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda body: bytes(brotli.compress(body, quality=1)),
    "zstd": lambda body: zstd.compress(body, options={zstd.CompressionParameter.checksum_flag: 1}),
}
BODY = b'{"model":"auto","messages":[{"role":"user","content":"%s"}]}' % bytes(range(97, 123)) * 999
NAMES = st.sampled_from(sorted(COMPRESS))


@given(body=st.binary(max_size=3000), repeats=st.integers(1, 99), name=NAMES)
def test_what_was_compressed_is_read(body: bytes, repeats: int, name: str) -> None:
    whole = body * repeats
    assert decoded(COMPRESS[name](whole), (name,), MOST_BYTES) == whole


@given(start=st.integers(0, 1000), flip=st.integers(1, 255), name=NAMES)
def test_what_is_spoilt_is_refused_or_bounded(start: int, flip: int, name: str) -> None:
    data = bytearray(COMPRESS[name](BODY))
    data[start % len(data)] ^= flip
    try:
        found = decoded(bytes(data), (name,), MOST_BYTES)
    except (UnreadableBodyError, TooLargeError):
        return
    assert len(found) <= MOST_BYTES


@pytest.mark.parametrize("name", sorted(COMPRESS))
@pytest.mark.parametrize("kept", [0, 1, 5, 17, -9, -1])
def test_what_is_cut_off_is_refused(name: str, kept: int) -> None:
    with pytest.raises(UnreadableBodyError, match=f"no {name}.*cut off"):
        decoded(COMPRESS[name](BODY)[:kept], (name,), MOST_BYTES)


@pytest.mark.parametrize("name", sorted(COMPRESS))
def test_a_bomb_is_not_read(name: str) -> None:
    bomb = COMPRESS[name](bytes(32 * 1024 * 1024))
    with pytest.raises(TooLargeError, match=r"times as long|longer than 4194304 bytes"):
        decoded(bomb, (name,), MOST_BYTES)


@pytest.mark.parametrize("name", sorted(COMPRESS))
def test_the_longest_body_is_read(name: str) -> None:
    long = COMPRESS[name](BODY)
    assert decoded(long, (name,), len(BODY)) == BODY
    with pytest.raises(TooLargeError, match="longer than"):
        decoded(long, (name,), len(BODY) - 1)


def test_members_and_frames_that_follow_each_other_are_read() -> None:
    assert decoded(gzip.compress(b"a") + gzip.compress(b"b"), ("gzip",), 9) == b"ab"
    frames = COMPRESS["zstd"](b"a") + b"\x50\x2a\x4d\x18\x03\0\0\0xyz" + COMPRESS["zstd"](b"b")
    assert decoded(frames, ("zstd",), 9) == b"ab"
    with pytest.raises(UnreadableBodyError):
        decoded(zlib.compress(b"a") + b"b", ("deflate",), 9)
    with pytest.raises(TooLargeError, match="1000 frames"):
        decoded(zstd.compress(b"") * 1001, ("zstd",), 9)
    with pytest.raises(TooLargeError, match="blocks"):
        decoded(b"\x50\x2a\x4d\x18\0\0\0\0" * 60_000, ("zstd",), 9)


def test_codings_are_undone_in_reverse() -> None:
    both = brotli.compress(gzip.compress(BODY))
    assert decoded(both, codings_of("gzip, BR") or (), MOST_BYTES) == BODY


@pytest.mark.parametrize(
    ("header", "codings"),
    [
        ("", ()),
        ("identity", ()),
        (" GZip ", ("gzip",)),
        ("gzip, identity", ("gzip",)),
        ("compress", None),
        ("gzip,,br", ("gzip", "br")),
        ("gzip,gzip,gzip", None),
        ("gzip;q=1", None),
    ],
)
def test_the_codings_of_a_header(header: str, codings: tuple[str, ...] | None) -> None:
    assert codings_of(header) == codings
