"""The address of Redis, as plain values: this module does not need the extra ``redis``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Connecting:
    """The connection to Redis.

    Attributes:
        url: redis://, rediss:// or unix://.
        cluster: the URL names a node of a cluster.
        timeout_s: longest duration of a call that a request waits for.
        connections: most connections for those calls.
        key_prefix: the hash tag of all keys.
        sentinels: URLs of Redis Sentinels, which tell the server's address; that of the URL is then
            not used. Empty: none.
        master: the name by which the sentinels know the server.
    """

    url: str
    cluster: bool
    timeout_s: float
    connections: int
    key_prefix: str
    sentinels: tuple[str, ...] = ()
    master: str = ""

    def tagged(self, name: str) -> str:
        """Returns a key; all lie in one slot of a cluster."""
        return f"{{{self.key_prefix}}}:{name}"
