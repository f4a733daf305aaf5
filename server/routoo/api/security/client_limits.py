"""Limits of each client: its calls at once, and its prompts per second.

A client's bucket holds ``burst_prompts`` and fills at ``prompts_per_s``. It is kept as a debt in
seconds, by the generic cell rate algorithm (ITU-T I.371, 1993): each prompt adds ``1 /
prompts_per_s``, time takes away, and a prompt is let in if the debt after it is at most that of
``burst_prompts``.

The workers of a service count together (``SharedCounts``). Each adds to numbers of its own and
reads those of the others, and no worker waits for another. The debt is

    (seconds taken by all workers) + (the most of: time when somebody looked, minus seconds taken
    until then) - (the time now)

The first term is a sum and the second a maximum, so that no order of the workers' reads and writes
loses a prompt. A worker adds a call before it looks at the sum, and takes it back where the sum is
above the limit. So at most one call per further worker is let in beyond the limit, and that only if
their processors have not seen each other's last write; its prompt counts, and is made up for.
"""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING

from routoo.errors import RateLimitedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.api.security.shared_counts import Place, SharedCounts
    from routoo.config.sections.security import ClientLimitSettings

# With more clients than this, one without a call in progress is forgotten, and has a full bucket
# when it calls again.
_MOST_IDLE = 10_000
# Sums of floats are not exact; a call is not refused for this share of a prompt.
_SLACK_PROMPTS = 1e-7
_NEVER_S = float("-inf")


class Client:
    """One client, as this process counts it.

    Attributes:
        in_progress: calls that this process has let in and that have not ended.
        taken_s: seconds that the prompts of this process have taken.
        idle_s: the most of times minus seconds taken until then, by any process.
        place: the client's place in the counts of all workers; None: this process counts alone.
    """

    __slots__ = ("idle_s", "in_progress", "place", "taken_s")

    def __init__(self, place: Place | None = None) -> None:
        self.in_progress = 0
        self.taken_s = 0.0
        self.idle_s = _NEVER_S
        self.place = place


class ClientLimits:
    """Counts the calls and prompts of clients. To be used on one event loop.

    A call needs one prompt in the bucket. A batch may take more prompts than there are, and the
    client is then refused until the bucket has filled again. So a batch of any size can be sent,
    and all its prompts count.

    Args:
        settings: the limits.
        clock_s: seconds on a clock that never goes back, and that is the same for all processes.
        shared: the counts of all workers of a service; None: this process counts alone.
    """

    def __init__(
        self,
        settings: ClientLimitSettings,
        clock_s: Callable[[], float] = monotonic,
        shared: SharedCounts | None = None,
    ) -> None:
        self._clock_s = clock_s
        self._shared = shared
        self._clients: OrderedDict[str | int, Client] = OrderedDict()
        if shared is not None:
            for place in shared.left_here():
                self._clients[place.key] = _restored(place, shared)
        self._set(settings)

    def renew(self, settings: ClientLimitSettings) -> None:
        """Goes on with other limits. What clients have taken stays taken.

        A client of whose bucket n prompts were missing still misses n.
        """
        before_per_s = self._per_s
        self._set(settings)
        if before_per_s in (None, self._per_s) or self._per_s is None:
            return
        if self._shared is not None:
            if not self._shared.is_first:
                return  # the first worker does it for all of them
            for key in self._shared.all_keys():
                self._of_key(key)
        for client in self._clients.values():
            debt_s = self._debt_s(client)
            client.taken_s += debt_s * (before_per_s / self._per_s - 1.0)
            self._show(client)

    def enter(self, name: str) -> Client:
        """Begins a call of a client; ``leave`` has to end it.

        Raises:
            RateLimitedError: the client has too many calls in progress, or its bucket is used up.
        """
        client = self._of_key(name if self._shared is None else self._shared.key_of(name))
        client.in_progress += 1
        self._show(client)
        try:
            if self._most is not None and (running := self._running(client)) > self._most:
                raise RateLimitedError(  # noqa: TRY301 - what was counted is taken back below
                    f"{running - 1} calls of yours are in progress, the most that one client"
                    " may have; wait for one of them"
                )
            self.take(client)
        except RateLimitedError:
            self.leave(client)
            raise
        return client

    def take(self, client: Client) -> None:
        """Counts one prompt.

        Raises:
            RateLimitedError: the client's bucket is used up.
        """
        if self._per_s is None:
            return
        cost_s = 1.0 / self._per_s
        client.taken_s += cost_s
        self._show(client)
        lacking = self._debt_s(client, cost_s) * self._per_s - self._burst
        if lacking > _SLACK_PROMPTS:
            client.taken_s -= cost_s
            self._show(client)
            raise RateLimitedError(
                f"above the {self._per_s:g} prompts per second that one client may send; slow down",
                retry_after_s=lacking / self._per_s,
            )

    def add(self, client: Client, prompts: int) -> None:
        """Counts further prompts of a call that was let in, without a look at the bucket."""
        if self._per_s is not None:
            self._debt_s(client)
            client.taken_s += prompts / self._per_s
            self._show(client)

    def leave(self, client: Client) -> None:
        """Ends a call."""
        client.in_progress -= 1
        self._show(client)

    def excess(self, client: Client) -> int:
        """Returns how many calls of a client this process has to end to keep a lower limit.

        Of the calls above the limit, those in the last workers are to end.
        """
        if self._most is None:
            return 0
        more = self._running(client) - self._most
        if self._shared is not None and client.place is not None:
            more -= self._shared.running_after(client.place)
        return min(max(more, 0), client.in_progress)

    def _set(self, settings: ClientLimitSettings) -> None:
        self._most = settings.max_concurrent
        self._per_s = settings.prompts_per_s
        self._burst = float(settings.burst_prompts)

    def _running(self, client: Client) -> int:
        """Returns the client's calls in progress, in all workers."""
        if self._shared is None or client.place is None:
            return client.in_progress
        return client.in_progress + self._shared.others_running(client.place)

    def _debt_s(self, client: Client, new_s: float = 0.0) -> float:
        """Returns the client's debt in seconds, of which ``new_s`` were just added."""
        taken_s, idle_s = client.taken_s, client.idle_s
        if self._shared is not None and client.place is not None:
            others_s, others_idle_s = self._shared.others_taken(client.place)
            taken_s, idle_s = taken_s + others_s, max(idle_s, others_idle_s)
        now_s = self._clock_s()  # after the sum, so that the debt is never too small
        idle_s = max(idle_s, now_s - (taken_s - new_s))
        if idle_s > client.idle_s:
            client.idle_s = idle_s
            self._show(client)
        return taken_s + idle_s - now_s

    def _show(self, client: Client) -> None:
        """Shows the other workers what this one has counted."""
        if self._shared is not None and client.place is not None:
            self._shared.show(client.place, client.in_progress, client.taken_s, client.idle_s)

    def _of_key(self, key: str | int) -> Client:
        clients = self._clients
        client = clients.get(key)
        if client is None:
            if len(clients) >= _MOST_IDLE:
                self._forget()
            client = Client()
            if isinstance(key, int) and self._shared is not None:
                client.place = self._shared.take_place(key)
            clients[key] = client
            self._show(client)
        clients.move_to_end(key)
        return client

    def _forget(self) -> None:
        """Forgets the idle client whose last call is the oldest."""
        for key, client in self._clients.items():
            if not client.in_progress:
                del self._clients[key]
                if self._shared is not None and client.place is not None:
                    self._shared.give_back(client.place)
                return


def _restored(place: Place, shared: SharedCounts) -> Client:
    """Returns a client as the process has left it that counted in this one's place."""
    client = Client(place)
    client.taken_s, client.idle_s = shared.left_at(place)
    return client
