"""The memory that one stream holds: of the message that is answered, and of what was gathered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.api.memory.in_flight import PER_MESSAGE_BYTE

if TYPE_CHECKING:
    from routoo.api.memory.in_flight import InFlight


class Held:
    """Reserves the memory of one stream; ``release`` has to follow.

    Attributes:
        size_bytes: what is reserved now.

    Args:
        in_flight: the memory of all calls in progress.
    """

    __slots__ = ("_gathered_bytes", "_in_flight", "size_bytes")

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._gathered_bytes = 0
        self.size_bytes = 0

    def keep(self, size_bytes: int) -> None:
        """Reserves what a message takes that is here already."""
        self._in_flight.keep(size_bytes)
        self.size_bytes += size_bytes

    def give(self, size_bytes: int) -> None:
        """Gives back what ``keep`` has reserved."""
        self._in_flight.give(size_bytes)
        self.size_bytes -= size_bytes

    def gather(self, length: int) -> None:
        """Reserves the memory of a part of a body, in bytes of that part, until ``release``.

        Raises:
            QueueFullError, TooLargeError: there is not as much.
        """
        size_bytes = PER_MESSAGE_BYTE * length
        self._in_flight.take(size_bytes, "a body in parts", self.size_bytes)
        self._gathered_bytes += size_bytes
        self.size_bytes += size_bytes

    def release(self) -> None:
        """Gives back all that was gathered."""
        self._in_flight.give(self._gathered_bytes)
        self.size_bytes -= self._gathered_bytes
        self._gathered_bytes = 0
