"""Codings of request bodies (RFC 9110, section 8.4), undone within a bound.

A few kilobytes may stand for gigabytes. So a body is decompressed piece by piece, and no further
than its longest length, or than a text that programs write compresses: JSON of repeated messages
takes up to a hundredth, and only bombs take less.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final, Protocol

from routoo.errors import InvalidRequestError, TooLargeError, UnreadableBodyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PLAIN: Final = frozenset({"", "identity"})
_PIECE_BYTES: Final = 64 * 1024
_MOST_CODINGS: Final = 2
_MOST_RATIO: Final = 200
"""Of a body's length to that of its compressed form, above ``_ANY_RATIO_BYTES``."""
_ANY_RATIO_BYTES: Final = 1024 * 1024
# A window of 8 MiB is what RFC 8878 asks every decoder for.
_ZSTD_WINDOW_BYTES: Final = 8 * 1024 * 1024
_SKIPPED: Final = b"\x2a\x4d\x18"
_MOST_BLOCKS: Final = 50_000


class _Reader(Protocol):
    def __call__(self) -> bytes:
        """Returns the next piece; empty: that was all."""
        ...


def codings_of(header: str) -> tuple[str, ...] | None:
    """Returns the codings that a ``content-encoding`` names, in the order in which they were made.

    Empty: the body is plain. None: one is not known here, or they are too many.
    """
    names = tuple(one for name in header.split(",") if (one := name.strip().lower()) not in PLAIN)
    return names if len(names) <= _MOST_CODINGS and _READERS.keys() >= set(names) else None


def decoded(data: bytes, codings: Sequence[str], most_bytes: int) -> bytes:
    """Returns the plain body.

    Args:
        data: the body as it came.
        codings: see ``codings_of``.
        most_bytes: the longest that it may be, at any step.

    Raises:
        TooLargeError: it is longer, or much longer than its compressed form.
        UnreadableBodyError: it is not what its header says, or is cut off.
    """
    for coding in reversed(codings):
        try:
            data = _whole(_READERS[coding](data), len(data), most_bytes)
        except (TooLargeError, InvalidRequestError):
            raise
        # Each library has its own errors, whose common base is this.
        except Exception as error:
            raise UnreadableBodyError(
                f"the body is no {coding}, as its content-encoding says, or it is cut off"
            ) from error
    return data


def _whole(read: _Reader, compressed_bytes: int, most_bytes: int) -> bytes:
    pieces: list[bytes] = []
    length = 0
    while piece := read():
        length += len(piece)
        if length > most_bytes:
            raise TooLargeError(f"the body is longer than {most_bytes} bytes when decompressed")
        if length > max(_ANY_RATIO_BYTES, _MOST_RATIO * compressed_bytes):
            raise TooLargeError(
                f"the body is more than {_MOST_RATIO} times as long as its compressed form"
            )
        pieces.append(piece)
    return b"".join(pieces)


def _zlib_reader(wbits: int) -> Callable[[bytes], _Reader]:
    def reader(data: bytes) -> _Reader:
        inner = zlib.decompressobj(wbits)

        def read() -> bytes:
            nonlocal data, inner
            while data or not inner.eof:
                piece = inner.decompress(data, _PIECE_BYTES)
                data = inner.unconsumed_tail
                if inner.eof:
                    data = inner.unused_data
                    if data and wbits > zlib.MAX_WBITS:  # gzip may have several members
                        inner = zlib.decompressobj(wbits)
                    elif data:
                        raise ValueError("something follows")
                if piece:
                    return piece
                if not data and not inner.eof:
                    raise ValueError("cut off")
            return b""

        return read

    return reader


def _brotli_reader(data: bytes) -> _Reader:
    import brotli  # type: ignore[import-untyped]  # noqa: PLC0415 - few bodies come so

    inner = brotli.Decompressor()
    given = False

    def read() -> bytes:
        nonlocal given
        while not inner.is_finished():
            if given and inner.can_accept_more_data():
                raise ValueError("cut off")
            piece: bytes = inner.process(b"" if given else data, output_buffer_limit=_PIECE_BYTES)
            given = True
            if piece:
                return piece
        return b""

    return read


def _zstd_reader(data: bytes) -> _Reader:
    import zstandard  # noqa: PLC0415 - few bodies come so

    # The library takes a frame that is cut off for a whole one.
    start = blocks = 0
    while start < len(data):
        start, more = _end_of_frame(zstandard, data, start)
        blocks += more
        if blocks > _MOST_BLOCKS:
            raise TooLargeError(f"the body has more than {_MOST_BLOCKS} blocks of zstd")
    if not data or start > len(data):
        raise ValueError("cut off")
    inner = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    reading = inner.stream_reader(data, read_across_frames=True)
    return lambda: reading.read(_PIECE_BYTES)


def _end_of_frame(library: Any, data: bytes, start: int) -> tuple[int, int]:
    """Returns where a frame of zstd ends, and the number of its blocks (RFC 8878, section 3.1)."""
    head = data[start : start + 18]
    if head[1:4] == _SKIPPED and head[:1] >= b"\x50" and head[:1] <= b"\x5f":
        return start + 8 + int.from_bytes(head[4:8], "little"), 1
    at = start + int(library.frame_header_size(head))
    blocks = 0
    is_last = False
    while not is_last and at < len(data) and blocks <= _MOST_BLOCKS:
        block = int.from_bytes(data[at : at + 3], "little")
        is_last, is_run, size = bool(block & 1), (block >> 1) & 3 == 1, block >> 3
        at += 3 + (1 if is_run else size)
        blocks += 1
    if not is_last:
        at = max(at, len(data) + 1)
    return at + 4 * library.get_frame_parameters(head).has_checksum, blocks


_GZIP: Final = _zlib_reader(16 + zlib.MAX_WBITS)
_READERS: Final[dict[str, Callable[[bytes], _Reader]]] = {
    "gzip": _GZIP,
    "x-gzip": _GZIP,
    "deflate": _zlib_reader(zlib.MAX_WBITS),
    "br": _brotli_reader,
    "zstd": _zstd_reader,
}
