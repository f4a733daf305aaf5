"""The usage in a reply that passes through, also in one that the provider has compressed."""

from __future__ import annotations

import zlib
from time import perf_counter
from typing import TYPE_CHECKING, Final

from routoo.tariffs.usage_reader import UsageReader

if TYPE_CHECKING:
    from routoo.api.http.proxy.provider import ProviderReply
    from routoo.tariffs.usage_reader import UsageReading

_STEP_BYTES: Final = 64 * 1024
_WINDOWS: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS}
_PLAIN: Final = frozenset({"", "identity"})
# Beyond this many bytes for one, a reply is a bomb and not read on.
_MOST_RATIO: Final = 200


class RelayedUsage:
    """Reads the usage of one reply while its pieces pass.

    Attributes:
        first_s: when the first piece came, in seconds of ``perf_counter``; 0: none has come.

    Args:
        reader: gets the bytes as the model wrote them.
        inflating: decompresses them; None: they are plain.
    """

    def __init__(self, reader: UsageReader, inflating: zlib._Decompress | None) -> None:
        self.first_s = 0.0
        self._reader: UsageReader = reader
        self._inflating = inflating
        self._came_bytes = self._read_bytes = 0
        self._lost = False

    @classmethod
    def of(cls, reply: ProviderReply, longest_event_bytes: int) -> RelayedUsage | None:
        """Makes a reader for a reply; None: no reader can read it.

        Args:
            reply: its headers.
            longest_event_bytes: longer events of a stream are skipped.
        """
        coding = reply.header(b"content-encoding").strip().lower()
        if coding not in _PLAIN and coding not in _WINDOWS:
            return None
        kind = reply.header(b"content-type").lower()
        streams = "event-stream" in kind
        if not streams and "json" not in kind:
            return None
        reader = UsageReader(streams=streams, longest_event=longest_event_bytes)
        return cls(reader, None if coding in _PLAIN else zlib.decompressobj(_WINDOWS[coding]))

    def feed(self, piece: bytes) -> None:
        """Reads a piece."""
        if not self.first_s:
            self.first_s = perf_counter()
        if self._inflating is None:
            self._reader.feed(piece)
        elif not self._lost:
            self._inflate(self._inflating, piece)

    def reading(self, *, finished: bool) -> UsageReading:
        """Returns what was found; to be called once, after the last piece.

        Args:
            finished: whether the reply came to its end; False: it broke off.
        """
        return self._reader.reading(finished=finished and not self._lost)

    def _inflate(self, inflating: zlib._Decompress, piece: bytes) -> None:
        self._came_bytes += len(piece)
        try:
            while piece and not inflating.eof:
                found = inflating.decompress(piece, _STEP_BYTES)
                piece = inflating.unconsumed_tail
                self._read_bytes += len(found)
                if self._read_bytes > _MOST_RATIO * self._came_bytes + _STEP_BYTES:
                    self._lost = True
                    return
                self._reader.feed(found)
        except zlib.error:
            self._lost = True
