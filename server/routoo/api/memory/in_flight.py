"""The memory of calls in progress, in bytes, reserved before it is taken.

What a call takes is estimated from what is known of it at that moment: the bytes of its message,
then the number of its prompts and of the replies that are to be explained. The factors were
measured with ``benchmarks/memory.py``, which compares them with the memory of a real process.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from routoo.errors import QueueFullError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

CALL_BYTES: Final = 8 * 1024
"""Memory of a call in progress, besides that of its message."""
PER_MESSAGE_BYTE: Final = 4
"""Memory of a message over its length: its bytes, its texts, and what reads them."""
PER_PROMPT_BYTES: Final = 1_000
"""Memory of a prompt of a batch until its reply is sent, besides its text and its models."""
PER_PROMPT_AND_MODEL_BYTES: Final = 110
"""Memory of the figures of one model for one prompt of a batch."""
PER_CANDIDATE_BYTES: Final = 180
"""Memory of one model in the reply to a prompt that is to be explained."""
_MIB: Final = 1024 * 1024


class InFlight:
    """Counts the memory of calls in progress. Lives on one event loop.

    Attributes:
        most_bytes: all calls together may take as much; the setting ``limits.max_in_flight_bytes``.
        held_bytes: what is reserved now.
        longest_message_bytes: the greatest length of a message, decompressed; the setting
            ``limits.max_message_bytes``.
        refused: the number of calls that were refused.
        short: set while the process has nearly as much memory as it may have. Then a call is
            refused as long as others are in progress.

    Args:
        most_bytes: see the attribute.
        longest_message_bytes: see the attribute.
    """

    __slots__ = ("held_bytes", "longest_message_bytes", "most_bytes", "refused", "short")

    def __init__(self, most_bytes: int, longest_message_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.longest_message_bytes = longest_message_bytes
        self.held_bytes = 0
        self.refused = 0
        self.short = False

    def take(self, size_bytes: int, what: str = "", own_bytes: int = 0) -> int:
        """Reserves memory, and returns how much; ``give`` has to follow.

        Args:
            size_bytes: how much, at least 0.
            what: names what needs it, for the error; empty: a call.
            own_bytes: what the call has reserved before.

        Raises:
            TooLargeError: it is more than all calls together may take.
            QueueFullError: the calls in progress have too much of it.
        """
        held_bytes = self.held_bytes + size_bytes
        if held_bytes > self.most_bytes or (self.short and self.held_bytes > own_bytes):
            raise self._refusal(size_bytes, what)
        self.held_bytes = held_bytes
        return size_bytes

    def keep(self, size_bytes: int) -> None:
        """Reserves memory that is taken already, even if there is none left; ``give`` follows."""
        self.held_bytes += size_bytes

    def check(self, own_bytes: int) -> None:
        """Refuses a call whose memory is kept already, if that was too much.

        Raises:
            QueueFullError: the calls in progress hold more than the limit.
        """
        if self.held_bytes > self.most_bytes or (self.short and self.held_bytes > own_bytes):
            raise self._refusal(own_bytes, "")

    def give(self, size_bytes: int) -> None:
        """Gives reserved memory back."""
        self.held_bytes -= size_bytes

    @contextmanager
    def holding(self, size_bytes: int, what: str, own_bytes: int = 0) -> Iterator[None]:
        """Reserves memory as ``take`` does, for as long as the context is entered."""
        self.take(size_bytes, what, own_bytes)
        try:
            yield
        finally:
            self.give(size_bytes)

    def _refusal(self, size_bytes: int, what: str) -> TooLargeError | QueueFullError:
        self.refused += 1
        needs = f"{what or 'the call'} needs some {_mib(size_bytes)} MiB of memory"
        if size_bytes > self.most_bytes:
            return TooLargeError(
                f"{needs}, and all calls in progress may have {_mib(self.most_bytes)} MiB; send"
                " fewer or shorter prompts at once, or set limits.max_in_flight_bytes:"
                f" {size_bytes} or more and give the service that much more memory"
            )
        if self.short:
            return QueueFullError(
                f"{needs}, and the service is short of it; retry later or add replicas"
            )
        return QueueFullError(
            f"{needs}, and calls in progress have {_mib(self.held_bytes)} of"
            f" {_mib(self.most_bytes)} MiB; retry later, add replicas, or set"
            " limits.max_in_flight_bytes"
        )


def message_bytes(length: int) -> int:
    """Returns the memory in bytes of a call whose message has a length in bytes."""
    return CALL_BYTES + PER_MESSAGE_BYTE * length


def batch_bytes(prompts: int, models: int) -> int:
    """Returns the memory in bytes of a batch, beyond that of its message.

    Args:
        prompts: the number of its prompts.
        models: the number of models of the pool.
    """
    return prompts * (PER_PROMPT_BYTES + PER_PROMPT_AND_MODEL_BYTES * models)


def explained_bytes(prompts: int, models: int) -> int:
    """Returns the memory in bytes of replies that list every model."""
    return prompts * models * PER_CANDIDATE_BYTES


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:,.1f}"
