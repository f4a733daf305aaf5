"""Codings of request bodies (RFC 9110, section 8.4), undone within a bound.

A few kilobytes may stand for gigabytes. So a body is decompressed piece by piece, and no further
than its longest length, or than a text that programs write compresses: JSON of repeated messages
takes up to a hundredth, and only bombs take less.
"""

from __future__ import annotations

import sys
import zlib
from collections import deque
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
_ZSTD_WINDOW_LOG: Final = 23
_ZSTD_FRAME: Final = b"\x28\xb5\x2f\xfd"
_SKIPPED: Final = b"\x2a\x4d\x18"
_SHORTEST_HEAD: Final = 6
_MOST_BLOCKS: Final = 50_000
# Each frame has a decompressor of its own, which takes 20 us.
_MOST_FRAMES: Final = 1000


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
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 - few bodies come so
    else:
        from backports import zstd  # noqa: PLC0415 - few bodies come so

    # The library would copy all that follows a frame at its end.
    frames = _frames(data)
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    inner: Any = None

    def read() -> bytes:
        nonlocal inner
        while inner is not None or frames:
            given = b""
            if inner is None:
                start, end = frames.popleft()
                inner, given = zstd.ZstdDecompressor(options=options), data[start:end]
            piece: bytes = inner.decompress(given, _PIECE_BYTES)
            if not inner.eof and inner.needs_input:
                raise ValueError("cut off")
            if inner.eof:
                inner = None
            if piece:
                return piece
        return b""

    return read


def _frames(data: bytes) -> deque[tuple[int, int]]:
    """Returns where each frame of zstd begins and ends, those without content left out.

    Raises:
        TooLargeError: there are too many frames, or blocks in them.
        ValueError: what follows a frame is none, or the last one is cut off.
    """
    found: deque[tuple[int, int]] = deque()
    start = blocks = 0
    while start < len(data):
        head = data[start : start + 18]
        if head[1:4] == _SKIPPED and b"\x50" <= head[:1] <= b"\x5f":
            end, more = start + 8 + int.from_bytes(head[4:8], "little"), 1
        else:
            end, more = _end_of_frame(data, start, head)
            found.append((start, end))
        start = end
        blocks += more
        if blocks > _MOST_BLOCKS:
            raise TooLargeError(f"the body has more than {_MOST_BLOCKS} blocks of zstd")
        if len(found) > _MOST_FRAMES:
            raise TooLargeError(f"the body has more than {_MOST_FRAMES} frames of zstd")
    if not data or start > len(data):
        raise ValueError("cut off")
    return found


def _end_of_frame(data: bytes, start: int, head: bytes) -> tuple[int, int]:
    """Returns where a frame of zstd ends, and the number of its blocks (RFC 8878, section 3.1)."""
    if head[:4] != _ZSTD_FRAME or len(head) < _SHORTEST_HEAD:
        raise ValueError("no frame")
    told = head[4]
    is_single, has_checksum = bool(told & 0x20), bool(told & 4)
    content_size = (int(is_single), 2, 4, 8)[told >> 6]
    at = start + 5 + (not is_single) + (0, 1, 2, 4)[told & 3] + content_size
    blocks = 0
    is_last = False
    while not is_last and at < len(data) and blocks <= _MOST_BLOCKS:
        block = int.from_bytes(data[at : at + 3], "little")
        is_last, is_run, size = bool(block & 1), (block >> 1) & 3 == 1, block >> 3
        at += 3 + (1 if is_run else size)
        blocks += 1
    if not is_last:
        at = max(at, len(data) + 1)
    return at + 4 * has_checksum, blocks


_GZIP: Final = _zlib_reader(16 + zlib.MAX_WBITS)
_READERS: Final[dict[str, Callable[[bytes], _Reader]]] = {
    "gzip": _GZIP,
    "x-gzip": _GZIP,
    "deflate": _zlib_reader(zlib.MAX_WBITS),
    "br": _brotli_reader,
    "zstd": _zstd_reader,
}
