"""The judge: what clients were told, what the upstream served and what the books say have to agree.

It reads records alone, and shares no code with the service.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from chaos.excuses import disturbed
from chaos.money import overspends, unequal_books
from chaos.records import OPEN
from chaos.site_files import JOINING, SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.records import Call, Evidence, Granted, Trouble

_S = 10**9
_MARGIN_NS = 3 * _S
"""A replica that is back is found by a client's connection within this time."""
_REVOKED_NS = 6 * _S
_LOGGED_NS = 3 * _S
_MOST_LINES = 40
_LATE_NS = 2 * _S
_REFUSED = frozenset({"OK", "RESOURCE_EXHAUSTED"})
_AWAY = frozenset(
    {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN", "UNANSWERED", "INTERNAL"}
)
_BROKEN = "BROKEN"
_OWN_FAULT = "internal error"
_HTTP_FINE = frozenset({"200", "402"})
_HTTP_AWAY = frozenset({"429", "500", "502", "503", "504", "BROKEN", "DEADLINE_EXCEEDED"})
_FLOOD_FINE = frozenset(
    {"INVALID_ARGUMENT", "FAILED_PRECONDITION", "CANCELLED", "400", "413", "429"}
)


def check(evidence: Evidence) -> list[str]:
    """Returns one line per broken promise; none: all were kept."""
    found = [
        *_without_end(evidence),
        *_wrong_statuses(evidence),
        *_revoked_but_served(evidence),
        *_double_ids(evidence),
        *_unpaid(evidence),
        *_unlogged(evidence),
        *overspends(evidence),
        *unequal_books(evidence),
        *_refusing(evidence),
        *(f"a replica ended by itself: {one}" for one in evidence.exits),
    ]
    if evidence.unquiet:
        found.append(f"the site does not come to rest: {evidence.unquiet}")
    return found[:_MOST_LINES]


def _around(evidence: Evidence, call: Call, kinds: str, *targets: str) -> bool:
    return disturbed(
        evidence, kinds, targets, call.sent_ns - _MARGIN_NS, call.ended_ns + _MARGIN_NS
    )


def _without_end(evidence: Evidence) -> Iterator[str]:
    for call in evidence.calls:
        if call.status == OPEN:
            yield f"lost: {_named(call)} never ended"
        elif call.ended_ns - call.sent_ns > call.deadline_s * _S + _LATE_NS:
            yield f"lost: {_named(call)} ended {(call.ended_ns - call.sent_ns) / _S:.1f} s later"


def _wrong_statuses(evidence: Evidence) -> Iterator[str]:
    for call in evidence.calls:
        excused = _http_excused if call.door == "http" or not call.replica else _grpc_excused
        if call.status != OPEN and not excused(evidence, call):
            yield f"lost: {_named(call)} ended with {call.status}: {call.detail}"


def _grpc_excused(evidence: Evidence, call: Call) -> bool:
    # A batch as a whole may not fit into what is left.
    if call.status in _REFUSED or (call.door, call.status) == ("batch", "FAILED_PRECONDITION"):
        return True
    if call.door == "flood" and call.status in _FLOOD_FINE:
        return True
    if call.status in {"UNAUTHENTICATED", _BROKEN}:
        late = (call.sent_ns - _REVOKED_NS, call.ended_ns + _REVOKED_NS)
        if disturbed(evidence, "revoked", (call.tenant,), *late):
            return True
    if call.status == "CANCELLED" and _around(evidence, call, "flood", call.replica):
        return True
    if call.status not in {*_AWAY, _BROKEN} or call.detail.startswith(_OWN_FAULT):
        return False
    return _around(evidence, call, "gone frozen", call.replica)


def _http_excused(evidence: Evidence, call: Call) -> bool:
    if call.status in _HTTP_FINE:
        return True
    if call.door == "flood" and call.status in _FLOOD_FINE:
        return True
    if call.status not in _HTTP_AWAY:
        return False
    return _around(evidence, call, "envoy upstream flood") or _around(
        evidence, call, "gone frozen", *SHARED
    )


def _revoked_but_served(evidence: Evidence) -> Iterator[str]:
    for trouble in evidence.troubles:
        if trouble.kind != "revoked":
            continue
        for call in evidence.calls:
            late = trouble.from_ns + _REVOKED_NS < call.sent_ns and call.ended_ns < trouble.until_ns
            # A replica that stood still may find its file only when it runs again.
            if late and call.tenant == trouble.target and call.status == "OK":
                if disturbed(evidence, "frozen", (call.replica,), trouble.from_ns, call.ended_ns):
                    continue
                after_s = (call.sent_ns - trouble.from_ns) / _S
                yield f"served {after_s:.1f} s after its token was taken back: {_named(call)}"


def _double_ids(evidence: Evidence) -> Iterator[str]:
    told = Counter(one.decision_id for call in evidence.calls for one in call.granted)
    for decision_id, times in told.items():
        if times > 1:
            yield f"the decision {decision_id} was told {times} times"
    # Without the shared books, a report is taken on trust: there the books alone tell.
    booked = Counter(
        one.decision_id
        for one in evidence.reports
        if one.accepted and one.replica not in (*SHARED, JOINING)
    )
    for decision_id, times in booked.items():
        if times > 1:
            yield f"{times} reports of the decision {decision_id} were accepted"
    for call in evidence.calls:
        if call.tells_ids and call.status in {"OK", "200"} and not call.granted:
            yield f"answered without a decision: {_named(call)}"


def _unpaid(evidence: Evidence) -> Iterator[str]:
    calls = {call.number: call for call in evidence.calls}
    for served in evidence.served:
        call = calls.get(served.call)
        if call is None or served.model == "auto":
            yield f"unpaid: the upstream served a call to {served.model} that nobody decided"
        elif call.status == "402":
            yield f"unpaid: the upstream served {_named(call)}, which was refused"


def _unlogged(evidence: Evidence) -> Iterator[str]:
    for call in evidence.calls:
        for granted in call.granted:
            logged = evidence.logged.get(granted.decision_id)
            if logged is not None:
                if logged != granted.model:
                    yield f"{_named(call)} was told {granted.model}, and {logged} was logged"
            elif not _log_may_be_lost(evidence, granted):
                yield f"the decision {granted.decision_id} of {_named(call)} is in no log"


def _log_may_be_lost(evidence: Evidence, granted: Granted) -> bool:
    """Returns whether the line may have waited in a process that was killed, or for a full disk."""
    where = (granted.replica,) if granted.replica else ()
    return disturbed(
        evidence, "gone", where, granted.sent_ns, granted.told_ns + _LOGGED_NS
    ) or disturbed(
        evidence, "disk frozen", where, granted.sent_ns - _LOGGED_NS, granted.told_ns + _LOGGED_NS
    )


def _refusing(evidence: Evidence) -> Iterator[str]:
    """Yields the replicas that decide nothing at the end, unless they wait for one that ended.

    When the shared books were lost, or their process was replaced, all wait for what a replica
    that held a lease may know, unless the settings have them go on.
    """
    kinds = {one.kind for one in evidence.troubles if one.kind != "gone" or one.target in SHARED}
    waits = not evidence.goes_on and "gone" in kinds and kinds & {"lost", "restarted"}
    for name, refusal in evidence.refusing.items():
        if not (waits and name in SHARED and refusal.startswith("RESOURCE_EXHAUSTED")):
            yield f"{name} decides nothing at the end: {refusal}"


def _named(call: Call) -> str:
    where = f" to {call.replica}" if call.replica else ""
    return f"call {call.number} ({call.door} of {call.tenant}{where})"


def summary(troubles: list[Trouble]) -> str:
    """Returns how often each kind of trouble was there."""
    counts = Counter(one.kind for one in troubles)
    return ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
