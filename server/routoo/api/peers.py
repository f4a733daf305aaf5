"""How the workers of one service reach each other: over unix sockets in a folder of their own.

A decision is open in the worker that made it. A report or an escalation that reaches another one is
handed on: the decision's id says whose it is. The supervisor reads each worker's metrics this way.

One exchange per connection: ``NAME LENGTH`` and a line's end, then so many bytes; the answer has
the same form, with ``OK`` or an error's name.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

METRICS = "metrics"
ACCESS_LOG = "access_log"
"""An entry of Envoy's access log, for the worker that made the decision it tells of."""
OK = "OK"
_RUN_DIGITS, _INDEX_DIGITS = 8, 3
_CONNECT_TIMEOUT_S = 1.0
_ANSWER_TIMEOUT_S = 10.0
_LONGEST_BYTES = 64 * 1024 * 1024


class PeerAwayError(Exception):
    """A worker does not answer: it has ended, or is about to."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker stands.

    Attributes:
        folder: with the sockets; nobody else's.
        run: eight hex digits, the same for all workers of a supervisor.
        index: from 0.
    """

    folder: Path
    run: str
    index: int

    @property
    def socket(self) -> Path:
        """Where this worker listens."""
        return socket_of(self.folder, self.index)

    def id_prefix(self) -> str:
        """A prefix for decision ids; another one after each start, as counting begins anew."""
        return f"{self.run}{self.index:0{_INDEX_DIGITS}x}{secrets.token_hex(3)}"

    def other_owner(self, decision_id: str) -> int | None:
        """The worker that made a decision; None: this one, or none of these."""
        if not decision_id.startswith(self.run):
            return None
        digits = decision_id[_RUN_DIGITS : _RUN_DIGITS + _INDEX_DIGITS]
        try:
            index = int(digits, 16)
        except ValueError:
            return None
        return None if index == self.index else index


def socket_of(folder: Path, index: int) -> Path:
    """Where a worker listens."""
    return folder / f"{index}.sock"


async def ask(path: Path, name: str, body: bytes = b"") -> tuple[str, bytes]:
    """Asks a worker.

    Returns:
        ``OK`` and the answer, or an error's name and one line.

    Raises:
        PeerAwayError: it does not answer.
    """
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(_message(name, body))
                await writer.drain()
                return await _read(reader)
            finally:
                writer.close()
    except (OSError, EOFError, ValueError, TimeoutError) as error:
        raise PeerAwayError(f"{path.name}: {error!r}") from None


def ask_waiting(path: Path, name: str) -> bytes:
    """As ``ask`` with an empty body, for a thread that may wait; answers other than OK are none.

    Raises:
        PeerAwayError: it does not answer.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_CONNECT_TIMEOUT_S)
            connection.connect(str(path))
            connection.settimeout(_ANSWER_TIMEOUT_S)
            connection.sendall(_message(name, b""))
            with connection.makefile("rb") as answer:
                word, length = answer.readline().split()
                body = answer.read(int(length))
    except (OSError, ValueError) as error:
        raise PeerAwayError(f"{path.name}: {error!r}") from None
    if word != OK.encode() or len(body) != int(length):
        raise PeerAwayError(f"{path.name}: answered {word!r}")
    return body


async def answer_at(
    path: Path, answer: Callable[[str, bytes], Awaitable[tuple[str, bytes]]]
) -> asyncio.Server:
    """Listens, and answers what is asked for by name with ``OK`` or an error's name, and bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            name, body = await _read(reader)
            writer.write(_message(*await answer(name, body)))
            await writer.drain()
        except (OSError, EOFError, ValueError):
            pass  # the asker has gone
        finally:
            writer.close()

    # After a crash the socket is still there; asyncio takes its place.
    return await asyncio.start_unix_server(serve, path)


def _message(name: str, body: bytes) -> bytes:
    return f"{name} {len(body)}\n".encode() + body


async def _read(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    name, length = (await reader.readline()).decode().split()
    if not 0 <= int(length) <= _LONGEST_BYTES:
        raise ValueError("too long")
    return name, await reader.readexactly(int(length))
