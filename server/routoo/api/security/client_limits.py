"""Limits of each client: its calls at once, and its prompts per second."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING

from routoo.errors import RateLimitedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.config.security import ClientLimitSettings

# With more clients than this, one without a call in progress is forgotten, and has a full bucket
# when it calls again.
_MOST_IDLE = 10_000


class Client:
    """One client's calls in progress, and its bucket of prompts.

    Args:
        left: prompts in the bucket; below 0 after a batch that was larger.
        filled_s: when the bucket was last filled, in seconds of the limits' clock.
    """

    __slots__ = ("filled_s", "in_progress", "left")

    def __init__(self, left: float, filled_s: float) -> None:
        self.in_progress = 0
        self.left = left
        self.filled_s = filled_s


class ClientLimits:
    """Counts the calls and prompts of clients. To be used on one event loop.

    A client's bucket holds ``burst_prompts`` and fills at ``prompts_per_s``. A call needs one
    prompt in it. A batch may take more prompts than there are, and the client is then refused until
    the bucket has filled again. So a batch of any size can be sent, and all its prompts count.

    Args:
        settings: the limits.
        clock_s: seconds on a clock that never goes back.
    """

    def __init__(
        self, settings: ClientLimitSettings, clock_s: Callable[[], float] = monotonic
    ) -> None:
        self._most = settings.max_concurrent
        self._per_s = settings.prompts_per_s
        self._burst = float(settings.burst_prompts)
        self._clock_s = clock_s
        self._clients: OrderedDict[str, Client] = OrderedDict()

    def enter(self, name: str) -> Client:
        """Begins a call of a client; ``leave`` has to end it.

        Raises:
            RateLimitedError: the client has too many calls in progress, or its bucket is used up.
        """
        client = self._of(name)
        if self._most is not None and client.in_progress >= self._most:
            raise RateLimitedError(
                f"{client.in_progress} calls of yours are in progress, the most that one client"
                " may have; wait for one of them"
            )
        self.take(client)
        client.in_progress += 1
        return client

    def take(self, client: Client) -> None:
        """Counts one prompt.

        Raises:
            RateLimitedError: the client's bucket is used up.
        """
        if self._per_s is None:
            return
        now_s = self._clock_s()
        client.left = min(self._burst, client.left + (now_s - client.filled_s) * self._per_s)
        client.filled_s = now_s
        if client.left < 1.0:
            raise RateLimitedError(
                f"above the {self._per_s:g} prompts per second that one client may send; slow down",
                retry_after_s=(1.0 - client.left) / self._per_s,
            )
        client.left -= 1.0

    def add(self, client: Client, prompts: int) -> None:
        """Counts further prompts of a call that was let in; the bucket may fall below 0."""
        if self._per_s is not None:
            client.left -= prompts

    def leave(self, client: Client) -> None:
        """Ends a call."""
        client.in_progress -= 1

    def _of(self, name: str) -> Client:
        clients = self._clients
        client = clients.get(name)
        if client is None:
            client = clients[name] = Client(self._burst, self._clock_s())
            if len(clients) > _MOST_IDLE:
                self._forget()
        clients.move_to_end(name)
        return client

    def _forget(self) -> None:
        """Forgets the idle client whose last call is the oldest."""
        for name, client in self._clients.items():
            if not client.in_progress:
                del self._clients[name]
                return
