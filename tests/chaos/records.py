"""Records of a run: calls and answers, upstream replies, troubles, and the books at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

NANO_PER_USD = 1_000_000_000
_LONG_NS = 600 * 10**9
OPEN = ""
"""Status of a call that never ended."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A decision as its caller was told of it.

    Attributes:
        decision_id: its id.
        model: the chosen model.
        cost_nano_usd: the predicted cost, which is what is reserved for it.
        replica: the replica that answered; empty: Envoy's choice.
        sent_ns: wall time at which it was asked for, nanoseconds since 1970.
        told_ns: wall time at which the answer came.
        alone: whether the replica decided without the shared books, or without its predictor.
    """

    decision_id: str
    model: str
    cost_nano_usd: int
    replica: str
    sent_ns: int
    told_ns: int
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a client, and its end.

    Attributes:
        number: names it.
        door: route, stream, batch, http, flood, or report.
        tenant: who pays.
        replica: the replica that was asked; empty: Envoy chose.
        sent_ns: wall time of the request, nanoseconds since 1970.
        ended_ns: wall time of its end.
        deadline_s: time that the client gives it.
        status: name of the gRPC status, or the HTTP status; ``OPEN``: it never ended.
        detail: the text of the refusal.
        granted: the decisions that the client was told.
        most_nano_usd: the most that may have been booked for a call whose answer was lost.
        tells_ids: whether a success has to name a decision.
    """

    number: int
    door: Literal["route", "stream", "batch", "http", "flood", "report"]
    tenant: str
    replica: str
    sent_ns: int
    ended_ns: int
    deadline_s: float
    status: str
    detail: str = ""
    granted: tuple[Granted, ...] = ()
    most_nano_usd: int = 0
    tells_ids: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """A true cost that a client reported.

    Attributes:
        decision_id: of the decision.
        cost_nano_usd: the true cost.
        status: name of the gRPC status.
        replica: the replica that was told.
        told_ns: wall time of the answer.
        accepted: whether the service said that it booked it.
    """

    decision_id: str
    cost_nano_usd: int
    status: str
    replica: str
    told_ns: int
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class Served:
    """A request that reached the upstream.

    Attributes:
        call: number of the client's call; -1: it bore none.
        model: the model that was asked for.
        cost_nano_usd: cost of the tokens that the reply said, at the pool's prices.
        truthful: whether the reply told its usage in full and in a known form, and was whole.
    """

    call: int
    model: str
    cost_nano_usd: int
    truthful: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """A stretch of time in which a part of the site was disturbed.

    Attributes:
        kind: gone (killed, leaving or not yet back), frozen, lost (the shared books lost data),
            restarted (their process), cut (from them), revoked, spoilt (its files), disk,
            upstream, envoy, flood, or clock.
        target: the replica, tenant or part; empty: all.
        from_ns: wall time of the begin, nanoseconds since 1970.
        until_ns: wall time at which it was found to be well again; 0: not yet.
    """

    kind: str
    target: str
    from_ns: int
    until_ns: int = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget as the settings have it.

    Attributes:
        name: its name.
        tenant: the tenant that it bounds; empty: all together.
        limit_nano_usd: the money of one period.
        period_ns: length of the period.
        sliding: whether the limit holds in every stretch of that length.
        overdraws: whether requests go on without money, as overdraft.
        replicas: the replicas that share it.
    """

    name: str
    tenant: str
    limit_nano_usd: int
    period_ns: int
    sliding: bool = False
    overdraws: bool = False
    replicas: frozenset[str] = frozenset()

    @property
    def lasts(self) -> bool:
        """Whether the period outlasts a run, so that the books at the end tell all of it."""
        return self.period_ns >= _LONG_NS


@dataclass(frozen=True, slots=True)
class Sums:
    """A budget's sums as one source tells them, in nano-USD."""

    reserved: int
    settled: int
    overdraft: int
    granted: int

    @property
    def booked(self) -> int:
        """Reserved and settled money together."""
        return self.reserved + self.settled


@dataclass(slots=True)
class Evidence:
    """Everything that the judge is given.

    Attributes:
        limits: the budgets.
        calls: the clients' calls.
        reports: the clients' reports.
        served: the requests that reached the upstream.
        troubles: the disturbances.
        books: per source (``redis``, or a replica's name) the budgets' sums at the end, by name.
        highest: per budget the highest reserved + settled that any source told during the run.
        logged: per decision id the model that the replicas' decision logs hold.
        refusing: per replica that decides nothing at the end, its last refusal.
        goes_on: whether the replicas are set to go on without what a replica that ended may know of
            shared books that were lost.
        exits: ends of replicas that nobody asked for.
        unquiet: why the site did not come to rest; empty: it did.
    """

    limits: tuple[Limit, ...]
    calls: list[Call] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    served: list[Served] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    books: dict[str, dict[str, Sums]] = field(default_factory=dict)
    highest: dict[str, int] = field(default_factory=dict)
    logged: dict[str, str] = field(default_factory=dict)
    refusing: dict[str, str] = field(default_factory=dict)
    goes_on: bool = False
    exits: list[str] = field(default_factory=list)
    unquiet: str = ""
