"""The ring of the latest decisions, which is filled only while somebody looks."""

from __future__ import annotations

from collections import deque
from itertools import count
from operator import attrgetter
from time import monotonic, time
from typing import TYPE_CHECKING, Final

from routoo.telemetry.live.seen_decision import SeenDecision

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.routing.decision import DecidedBatch, Prepared
    from routoo.routing.request import PromptRequest

MOST_KEPT: Final = 500
"""So many decisions are kept at most."""
SHOWN_PROMPT_CHARS: Final = 300
"""So much of a prompt is kept, where prompts are."""
LOOKED_S: Final = 600.0
"""Decisions are noted for so many seconds after somebody has looked."""


class LiveFeed:
    """Notes decisions while somebody looks. Takes them from any thread, without waiting.

    Attributes:
        on: whether decisions are noted; whoever makes them asks before ``decided``.
        prompts: whether the beginnings of prompts are noted, too.
        closed: whether the service is about to stop.

    Args:
        clock_s: returns seconds since 1970.
        monotonic_s: returns seconds on a clock that never goes back.
    """

    def __init__(
        self,
        clock_s: Callable[[], float] = time,
        monotonic_s: Callable[[], float] = monotonic,
    ) -> None:
        self.on = False
        self.prompts = False
        self.closed = False
        self._clock_s = clock_s
        self._monotonic_s = monotonic_s
        self._until_s = 0.0
        self._numbers = count(1)
        self._kept: deque[SeenDecision] = deque(maxlen=MOST_KEPT)

    def look(self) -> None:
        """Has decisions noted from now on, for ``LOOKED_S``."""
        self._until_s = self._monotonic_s() + LOOKED_S
        self.on = not self.closed

    def decided(
        self,
        requests: Sequence[PromptRequest],
        prepared: Prepared,
        batch: DecidedBatch,
    ) -> None:
        """Notes a batch; of a large one, the last rows.

        Args:
            requests: the n requests.
            prepared: the input of the choice.
            batch: the decisions.
        """
        if self._monotonic_s() > self._until_s:
            self.on = False
            # Nothing is kept of what nobody looks at.
            self._kept.clear()
            return
        now_s, rows = self._clock_s(), len(batch.choices)
        for row in range(max(0, rows - MOST_KEPT), rows):
            self._kept.append(
                SeenDecision.of(
                    batch,
                    row,
                    number=next(self._numbers),
                    time_s=now_s,
                    decision_id=prepared.ids[row],
                    tenant=prepared.tenants[row],
                    refused="" if batch.choices[row] >= 0 else _why_not(prepared, row),
                    ticket=int(prepared.case.tickets[row]),
                    prompt=requests[row].text[:SHOWN_PROMPT_CHARS] if self.prompts else "",
                )
            )

    def latest(self, tenant: str | None = None, after: int = 0) -> list[SeenDecision]:
        """Returns what is kept, the oldest first.

        Args:
            tenant: only its decisions; None: those of all.
            after: only those with a higher number.
        """
        # A copy, as threads go on adding; they cannot do so while it is made.
        kept = self._kept.copy()
        found = [one for one in kept if one.number > after and tenant in (None, one.tenant)]
        # Threads add in nearly the order in which they count.
        found.sort(key=attrgetter("number"))
        return found

    def close(self) -> None:
        """Notes no further decisions, and has those who look leave."""
        self.closed = True
        self.on = False


def _why_not(prepared: Prepared, row: int) -> str:
    return prepared.eligibility.describe(row) or "a budget or the limit of a provider refused it"
