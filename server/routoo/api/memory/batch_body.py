"""The message of a batch, taken apart without parsing its prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from google.protobuf.message import DecodeError

from routoo.api.convert.messages import malformed
from routoo.errors import InvalidRequestError
from routoo.v1 import route_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

# The field ``requests`` of RouteBatchRequest and FrontierRequest: number 1, of a length.
_REQUESTS: Final = 1 << 3 | 2
_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5


class BatchBody:
    """The prompts of a batch, each parsed when it is asked for.

    A parsed message takes up to a hundred times the memory of its bytes, as prompts may be empty.
    So the prompts are counted first, and then parsed one after the other.

    Attributes:
        rest: the message without its prompts.

    Args:
        kind: the message's type, with its prompts in field 1.
        rest: see the attribute.
        prompts: where each prompt begins and ends.
        body: the message.
    """

    def __init__(
        self,
        kind: type[Message],
        body: bytes,
        prompts: list[tuple[int, int]],
        rest: bytes,
    ) -> None:
        self.rest = rest
        self._kind = kind
        self._body = body
        self._prompts = prompts

    @classmethod
    def split(cls, kind: type[Message], body: bytes, most: int) -> Self:
        """Finds the prompts in a message.

        Args:
            kind: the message's type, with its prompts in field 1.
            body: the message.
            most: prompts that a batch may have; those beyond one more are not looked for.

        Raises:
            InvalidRequestError: the body is no such message, or has no prompt, or too many.
        """
        prompts: list[tuple[int, int]] = []
        rest = bytearray()
        at, end = 0, len(body)
        try:
            while at < end and len(prompts) <= most:
                begin = at
                tag, at = _varint(body, at)
                if tag == _REQUESTS:
                    length, at = _varint(body, at)
                    prompts.append((at, at + length))
                    at += length
                else:
                    at = _skipped(body, at, tag & 7)
                    rest += body[begin:at]
        except IndexError:
            raise malformed(kind) from None
        if at > end:
            raise malformed(kind)
        if not 1 <= len(prompts) <= most:
            size = f"more than {most}" if prompts else "0"
            raise InvalidRequestError(
                f"{size} prompts; send 1 to {most} in one batch", field="requests"
            )
        return cls(kind, body, prompts, bytes(rest))

    def __len__(self) -> int:
        return len(self._prompts)

    def __iter__(self) -> Iterator[route_pb2.RouteRequest]:
        """Yields the prompts, parsed.

        Raises:
            InvalidRequestError: one is no prompt.
        """
        view = memoryview(self._body)
        for begin, end in self._prompts:
            try:
                # A view is no copy; the stubs know of bytes alone.
                yield route_pb2.RouteRequest.FromString(view[begin:end])  # type: ignore[arg-type]
            except DecodeError:
                raise malformed(self._kind) from None


def _skipped(body: bytes, at: int, wire: int) -> int:
    """Returns the position after a value of a wire type; raises ``IndexError`` for a wrong one."""
    if wire == _VARINT:
        return _varint(body, at)[1]
    if wire == _LENGTH:
        length, at = _varint(body, at)
        return at + length
    if wire in (_FIXED_32, _FIXED_64):
        return at + (4 if wire == _FIXED_32 else 8)
    raise IndexError


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """Returns the number at a position and the position after it; at most 10 bytes."""
    value = body[at]
    if value < 0x80:
        return value, at + 1
    value = 0
    for shift in range(0, 70, 7):
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise IndexError
