"""Corrections that replicas share through Redis: one value, exchanged if nobody else was faster.

Each replica reads the table, adds the answers that it has seen since the last time, and writes it
back if its version is still the one that was read. So every answer is learned once, in one order,
by the same rule as in a process alone.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import redis

from routoo.budget.redis.clients import Clients
from routoo.engine.corrections.encoding import Plain, SharingError, decoded, encoded
from routoo.routing.corrections.speed import LearningTerms
from routoo.routing.corrections.table import Answer, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.budget.redis.connecting import Connecting

_ATTEMPTS = 5
_TIMEOUT_S = 2.0
# That of a cluster without a node that answers is no RedisError.
_AWAY = (redis.exceptions.RedisError, redis.exceptions.RedisClusterException, OSError)
_SWAP = """
if redis.call('HGET', KEYS[1], 'version') ~= ARGV[1] and redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'table', ARGV[3])
return 1
"""


Known = TypeVar("Known", bound=Plain)
Answers = TypeVar("Answers")
Rules = TypeVar("Rules")


class SharedValue(Generic[Known, Answers, Rules]):
    """A table in Redis. Not thread-safe.

    Args:
        connecting: the connection of the ledger, beside whose keys the table lies.
        name: of its key.
        read: makes a table of what its ``plain`` returned.
        learn: returns a table after some answers, the oldest first.

    Raises:
        ConfigError: a URL cannot be understood.
    """

    def __init__(
        self,
        connecting: Connecting,
        name: str,
        read: Callable[[Any], Known],
        learn: Callable[[Known, Sequence[Answers], Rules], Known],
    ) -> None:
        self._key = connecting.tagged(name)
        self._decode, self._learn = read, learn
        self._seen = ""  # the version of the table that was read or written last
        # The version of a write that Redis has not confirmed, and the answers that it held.
        self._sent, self._sent_answers = "", 0
        self._clients = Clients(connecting, _TIMEOUT_S, 1)
        self._located = False

    def exchange(self, own: Known, answers: Sequence[Answers], terms: Rules) -> Known | None:
        """Adds what this replica has learned, and returns what all have.

        Args:
            own: the table of this replica, its answers in it; for a Redis that has none.
            answers: those that Redis has not got yet, the oldest first.
            terms: how it is learned.

        Returns:
            The shared table, which has all of the answers; None: it is still that of the last call.

        Raises:
            SharingError: the answers have to be sent again.
        """
        try:
            for _ in range(_ATTEMPTS):
                version, found = self._read()
                new = answers
                if version and version == self._sent:
                    # The last write arrived after all, though its reply did not.
                    new = answers[self._sent_answers :]
                if found is not None and not new:
                    news = None if version == self._seen else found
                    self._seen, self._sent = version, ""
                    return news
                table = own if found is None else self._learn(found, new, terms)
                if self._swap(version, table, len(answers)):
                    return table
        except _AWAY as error:
            self._located = False  # another server may have taken over
            raise SharingError(str(error)) from None
        raise SharingError("other replicas were faster each time")

    def close(self) -> None:
        """Closes the connection."""
        self._clients.close()

    def _read(self) -> tuple[str, Known | None]:
        if not self._located:
            self._clients.locate()
            self._located = True
        client: Any = self._clients.client  # redis-py types it as one that may be asynchronous
        version, content = client.hmget(self._key, "version", "table")
        if version is None or content is None:
            return "", None
        try:
            return version.decode(), decoded(content, self._decode)
        except ValueError as error:
            raise SharingError(
                f"Redis holds something that is not ours under {self._key}: {error}; delete it"
            ) from None

    def _swap(self, version: str, table: Known, answers: int) -> bool:
        self._sent, self._sent_answers = uuid.uuid4().hex, answers
        client: Any = self._clients.client
        done = client.eval(_SWAP, 1, self._key, version, self._sent, encoded(table))
        if done:
            self._seen = self._sent
        self._sent = ""
        return bool(done)


class SharedTable(SharedValue[Table, Answer, LearningTerms]):
    """The corrections of lengths and latencies in Redis. Not thread-safe."""

    def __init__(self, connecting: Connecting) -> None:
        """Opens the connection; see ``SharedValue``."""
        super().__init__(connecting, "corrections", Table.read, Table.learned)
