"""The judge's own books: the least and the most that every decision may be booked with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.excuses import (
    by_one_that_began,
    crossed,
    forgotten,
    is_clean,
    known_to_one,
    may_be_lost,
    may_be_overrun,
    may_count_twice,
    not_booked_yet,
    untold,
    unwritten,
)
from chaos.records import NANO_PER_USD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.records import Call, Evidence, Granted, Limit, Report, Served, Sums

_S = 10**9
_REPORT_FACTOR = 10
"""A wrong usage is booked with at most so many times what its request could have cost."""
_SURE = frozenset(
    {
        "OK",
        "200",
        "402",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "INVALID_ARGUMENT",
        "UNAUTHENTICATED",
    }
)
"""Statuses with which nothing was booked, but for the decisions that were told."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A decision in the judge's books, in nano-USD.

    Attributes:
        tenant: who pays.
        sent_ns: the earliest time of the decision.
        told_ns: the latest.
        spent: the least that it takes from a limit.
        least: the least that it may be booked with at the end: nothing, where it may be forgotten.
        most: the most that it may be booked with.
    """

    tenant: str
    sent_ns: int
    told_ns: int
    spent: int
    least: int
    most: int


def entries(evidence: Evidence) -> list[Entry]:
    """Returns an entry per decision, and one per call that may have been booked or not."""
    reports: dict[str, list[Report]] = {}
    for report in evidence.reports:
        reports.setdefault(report.decision_id, []).append(report)
    served: dict[int, list[Served]] = {}
    for reply in evidence.served:
        served.setdefault(reply.call, []).append(reply)
    found = []
    for call in evidence.calls:
        if not call.replica:
            found.append(_of_http(evidence, call, served.get(call.number, [])))
            continue
        for granted in call.granted:
            told = reports.get(granted.decision_id, [])
            found.append(_of_decision(evidence, call, granted, told))
        if call.status not in _SURE:
            found.append(_unsure(call, call.most_nano_usd))
    return found


def overspends(evidence: Evidence) -> Iterator[str]:
    """Yields the budgets whose limit was exceeded in one of their periods."""
    booked = entries(evidence)
    for limit in evidence.limits:
        if limit.overdraws:
            continue  # callers are not told which decisions are overdrafts; the books tell
        own = sorted((one for one in booked if _pays(limit, one)), key=lambda one: one.sent_ns)
        total, from_ns = _highest(limit, own)
        if total > limit.limit_nano_usd:
            yield (
                f"overspent: {limit.name} granted {_usd(total)} of {_usd(limit.limit_nano_usd)}"
                f" in the {limit.period_ns / _S:g} s from {from_ns / _S:.3f}"
            )
    for limit in evidence.limits:
        highest = evidence.highest.get(limit.name, 0)
        if highest > limit.limit_nano_usd and not may_be_overrun(evidence, limit):
            yield (
                f"overspent: the books of {limit.name} told {_usd(highest)} of"
                f" {_usd(limit.limit_nano_usd)}"
            )


def unequal_books(evidence: Evidence) -> Iterator[str]:
    """Yields the budgets whose books at the end are not what the clients know."""
    booked = entries(evidence)
    if not evidence.books:
        return
    for limit in evidence.limits:
        if not limit.lasts:
            continue
        own = [one for one in booked if _pays(limit, one)]
        least, most = sum(one.least for one in own), sum(one.most for one in own)
        if limit.overdraws and any(one.kind == "lost" for one in evidence.troubles):
            least = 0  # overdraft stands beside the budget, and is not put back
        sums = _books_of(evidence, limit)
        total = sums.booked + sums.overdraft
        if not least <= total <= most:
            yield (
                f"books: {limit.name} holds {_usd(total)}; the clients know of {_usd(least)}"
                f" to {_usd(most)}, by {len(own)} calls"
            )
        if sums.booked > limit.limit_nano_usd and not may_be_overrun(evidence, limit):
            yield (
                f"overspent: {limit.name} ends with {_usd(sums.booked)}"
                f" of {_usd(limit.limit_nano_usd)}"
            )


def _books_of(evidence: Evidence, limit: Limit) -> Sums:
    if (
        "redis" in evidence.books
        and limit.name in evidence.books["redis"]
        and len(limit.replicas) > 1
    ):
        return evidence.books["redis"][limit.name]
    (name,) = limit.replicas
    return evidence.books[name][limit.name]


def _pays(limit: Limit, entry: Entry) -> bool:
    if limit.tenant:
        return entry.tenant == limit.tenant
    return entry.tenant != "alone"


def _highest(limit: Limit, own: list[Entry]) -> tuple[int, int]:
    """Returns the most that was granted for sure in one period, and when that began.

    A decision counts in a period when both its request and its answer lie there.
    """
    best = (0, 0)
    if not limit.sliding:
        sums: dict[int, int] = {}
        for one in own:
            period = one.sent_ns // limit.period_ns
            if period == one.told_ns // limit.period_ns:
                sums[period] = sums.get(period, 0) + one.spent
        return max(
            ((total, period * limit.period_ns) for period, total in sums.items()), default=best
        )
    for first in own:
        end_ns = first.sent_ns + limit.period_ns
        total = sum(
            one.spent for one in own if one.sent_ns >= first.sent_ns and one.told_ns < end_ns
        )
        best = max(best, (total, first.sent_ns))
    return best


def _of_decision(evidence: Evidence, call: Call, granted: Granted, reports: list[Report]) -> Entry:
    cost = granted.cost_nano_usd
    accepted = [one for one in reports if one.accepted]
    doubtful = [one for one in reports if one.status != "OK"]
    spent = least = min([cost, *(one.cost_nano_usd for one in (*accepted, *doubtful))])
    most = cost
    if accepted and not any(untold(evidence, one) or crossed(granted, one) for one in accepted):
        most = max(one.cost_nano_usd for one in accepted)
    if granted.alone and forgotten(evidence, granted.replica, granted.told_ns):
        least = 0  # decided without the shared books, by a replica that ended before it told them
    if may_count_twice(evidence, granted):
        most += cost
    if not_booked_yet(evidence, granted):
        least = 0
    if known_to_one(evidence, granted):
        least = 0
        spent = 0 if evidence.goes_on else spent
    if by_one_that_began(evidence, granted):
        spent = least = 0
    if unwritten(evidence, granted):
        spent = least = 0
    return Entry(call.tenant, granted.sent_ns, granted.told_ns, spent, least, most)


def _unsure(call: Call, most: int) -> Entry:
    return Entry(call.tenant, call.sent_ns, call.ended_ns, 0, 0, most)


def _of_http(evidence: Evidence, call: Call, replies: list[Served]) -> Entry:
    sent_ns, ended_ns = call.sent_ns, call.ended_ns
    if call.status == "402" or (call.status.startswith("4") and call.status != "429"):
        return _unsure(call, 0)
    if any(not reply.truthful for reply in replies):
        return _unsure(call, _REPORT_FACTOR * call.most_nano_usd)
    cost = sum(reply.cost_nano_usd for reply in replies)
    predicted = sum(granted.cost_nano_usd for granted in call.granted)
    if call.status == "200" and len(replies) == 1 and is_clean(evidence, call):
        return Entry(call.tenant, sent_ns, ended_ns, cost, cost, cost)
    most = max(cost, call.most_nano_usd)
    if call.status == "200" and not may_be_lost(evidence, call):
        least = min(cost, predicted)
        return Entry(call.tenant, sent_ns, ended_ns, least, least, most)
    return _unsure(call, most)


def _usd(nano: int) -> str:
    return f"${nano / NANO_PER_USD:.9f}"
