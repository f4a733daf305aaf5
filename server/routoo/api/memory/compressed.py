"""Messages that were compressed with gzip, decompressed within a bound.

gRPC would decompress them before the service sees them. So the service's gRPC passes them on as
they are, and their memory is reserved by the length that they state before it is taken.
"""

from __future__ import annotations

import zlib
from typing import Final

from routoo.errors import InvalidRequestError, TooLargeError

_MAGIC: Final = b"\x1f\x8b\x08"
_LENGTH_BYTES: Final = 4  # at the end: the length modulo 2**32, little-endian
_SHORTEST: Final = 18  # header and trailer
_GZIP: Final = 16 + zlib.MAX_WBITS
GRPC_OPTIONS: Final = (
    ("grpc.per_message_decompression", 0),
    # One bit per algorithm: identity and gzip; calls with another end with UNIMPLEMENTED.
    ("grpc.compression_enabled_algorithms_bitset", 0b101),
)
"""Options of a gRPC server that leaves decompression to ``decompressed``."""


def is_compressed(body: bytes) -> bool:
    """Returns whether a message is compressed; no protobuf message begins with these bytes."""
    return body[:3] == _MAGIC


def length_of(body: bytes, most_bytes: int) -> int:
    """Returns the length in bytes of a message, or the one that it states to decompress to.

    Args:
        body: the message.
        most_bytes: the greatest length of a message.

    Raises:
        TooLargeError: it would be longer than a message may be.
        InvalidRequestError: it is compressed and cut off.
    """
    if not is_compressed(body):
        return len(body)
    if len(body) < _SHORTEST:
        raise InvalidRequestError("the message is cut off within its compression; send it again")
    length = int.from_bytes(body[-_LENGTH_BYTES:], "little")
    if length > most_bytes:
        raise TooLargeError(
            f"the message decompresses to {length} bytes, and one may have {most_bytes}; send"
            " less at once, or set limits.max_message_bytes"
        )
    return length


def decompressed(body: bytes, length: int) -> bytes:
    """Decompresses a message of a stated length in bytes, and no more than that.

    Raises:
        InvalidRequestError: it is no gzip, or of another length.
    """
    reading = zlib.decompressobj(_GZIP)
    try:
        # One byte more would show that it is longer, and is needed to see that it ends.
        found = reading.decompress(body, length + 1)
    except zlib.error as error:
        raise InvalidRequestError(f"the message cannot be decompressed: {error}") from None
    if len(found) != length or not reading.eof:
        raise InvalidRequestError(
            "the message does not decompress to the length that it states; send it again"
        )
    return found
