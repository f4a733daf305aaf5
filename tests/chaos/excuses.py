"""Excuses: what faults may make the site refuse, forget or overrun, as its documents say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.site_files import SHARED

if TYPE_CHECKING:
    from chaos.records import Call, Evidence, Granted, Limit, Report, Trouble

_S = 10**9
_CLEAN_NS = 10 * _S
_LOOK_NS = 3 * _S
"""Longest time after which the other replicas know of a decision in the shared books."""
_BOOKED_NS = _S
"""Longest time after which a grant out of a lease is booked, on a busy machine."""
_PUT_BACK_NS = 6 * _S
_BACK_NS = 5 * _S
"""Longest time in which a replica finds a Redis again that is there."""


def not_booked_yet(evidence: Evidence, granted: Granted) -> bool:
    """Returns whether the replica ended just after it had granted out of its lease.

    It books some hundredths of a second later, in which its lease stands for the money.
    """
    return any(
        one.kind == "gone"
        and one.target == granted.replica
        and granted.told_ns - _S <= one.from_ns <= granted.told_ns + _BOOKED_NS
        for one in evidence.troubles
    )


def by_one_that_began(evidence: Evidence, granted: Granted) -> bool:
    """Returns whether a replica granted that began on lost books which the others had not put back.

    It has to take them for new ones.
    """
    return any(
        _began(evidence, granted.replica, lost)
        and lost.from_ns - _S <= granted.told_ns <= lost.until_ns + _PUT_BACK_NS
        for lost in evidence.troubles
        if lost.kind == "lost"
    )


def _began(evidence: Evidence, replica: str, lost: Trouble) -> bool:
    """Returns whether a replica, or one of its workers, may have begun around a loss."""
    return any(
        one.kind == "gone"
        and (not replica or one.target == replica)
        and one.from_ns <= lost.until_ns + _LOOK_NS
        and lost.from_ns - _LOOK_NS <= one.until_ns
        for one in evidence.troubles
    )


def known_to_one(evidence: Evidence, granted: Granted) -> bool:
    """Returns whether the shared books lost a decision that only a replica knew that ended, too.

    The other replicas know what the books held when they last looked at them.
    """
    ends = [
        one.from_ns
        for one in evidence.troubles
        if one.kind == "gone" and one.target == granted.replica and one.from_ns >= granted.told_ns
    ]
    others = [name for name in SHARED if name != granted.replica]
    return bool(ends) and any(
        one.kind == "lost"
        and granted.told_ns - _S <= one.until_ns
        and not any(_looked(evidence, name, granted.told_ns, one.from_ns) for name in others)
        for one in evidence.troubles
    )


def may_count_twice(evidence: Evidence, granted: Granted) -> bool:
    """Returns whether a decision may be in what others put back, and be told by its replica again.

    Its call was given up, came late, and was in the books that others saw before they were lost.
    """
    return granted.alone and any(
        one.kind == "lost" and one.until_ns >= granted.told_ns for one in evidence.troubles
    )


def _looked(evidence: Evidence, replica: str, from_ns: int, until_ns: int) -> bool:
    """Returns whether a replica was well and had the shared books long enough to look at them."""
    at_ns = from_ns
    for one in sorted(evidence.troubles, key=lambda trouble: trouble.from_ns):
        if one.kind in {"cut", "gone", "frozen"} and one.target in {"", replica}:
            if min(one.from_ns, until_ns) - at_ns >= _LOOK_NS:
                return True
            at_ns = max(at_ns, one.until_ns)
    return until_ns - at_ns >= _LOOK_NS


def forgotten(evidence: Evidence, replica: str, told_ns: int) -> bool:
    """Returns whether a replica ended after this time."""
    return any(
        one.kind == "gone" and one.target == replica and one.from_ns >= told_ns - _S
        for one in evidence.troubles
    )


def crossed(granted: Granted, report: Report) -> bool:
    """Returns whether a report may come to the shared books before its decision, and be unknown.

    Another replica than the one that decided took it on trust, and neither had the shared books.
    """
    return granted.alone and report.replica != granted.replica


def untold(evidence: Evidence, report: Report) -> bool:
    """Returns whether a report may have been taken without the shared books, and was lost.

    Its answer does not tell that, other than a decision's. A replica that seems well may have been
    without Redis for a moment.
    """
    around = report.told_ns - _CLEAN_NS, report.told_ns + _S
    was_cut = any(
        one.kind == "cut"
        and one.target in {"", report.replica}
        and one.from_ns <= around[1]
        and around[0] <= one.until_ns
        for one in evidence.troubles
    )
    soon_ns = report.told_ns + _BACK_NS
    return any(
        one.kind == "gone"
        and one.target == report.replica
        and one.from_ns >= report.told_ns - _S
        and (was_cut or one.from_ns <= soon_ns)
        for one in evidence.troubles
    )


def unwritten(evidence: Evidence, granted: Granted) -> bool:
    """Returns whether the replica ended while its disk was full, and had been when it decided."""
    ends = [
        one for one in evidence.troubles if one.kind == "gone" and one.target == granted.replica
    ]
    return any(
        disk.kind == "disk"
        and disk.target == granted.replica
        and disk.from_ns <= granted.told_ns
        and any(granted.told_ns - _S <= end.from_ns <= disk.until_ns + 2 * _S for end in ends)
        for disk in evidence.troubles
    )


def may_be_lost(evidence: Evidence, call: Call) -> bool:
    """Returns whether the replica that decided may have ended and taken the booking along."""
    return any(
        one.kind == "gone" and one.until_ns >= call.sent_ns - _S for one in evidence.troubles
    )


def is_clean(evidence: Evidence, call: Call) -> bool:
    """Returns whether nothing hindered the reply's usage on its way into the books."""
    kinds = {"gone", "frozen", "envoy", "lost", "cut", "flood"}
    return not any(
        one.kind in kinds
        and one.from_ns <= call.ended_ns + _CLEAN_NS
        and call.sent_ns - _S <= one.until_ns
        for one in evidence.troubles
    )


def may_be_overrun(evidence: Evidence, limit: Limit) -> bool:
    """Returns whether something that is no fault may have taken the books above the limit.

    Upstreams that lie, or a replica that began on lost books.
    """
    lies = any(not reply.truthful for reply in evidence.served)
    begun = any(
        one.kind == "lost" and _began(evidence, "", one)
        for one in evidence.troubles
        if len(limit.replicas) > 1
    )
    return begun or (lies and limit.tenant in {"", "web"})


def disturbed(  # noqa: D417 - the two times are one stretch
    evidence: Evidence, kinds: str, targets: tuple[str, ...], from_ns: int, until_ns: int
) -> bool:
    """Returns whether a trouble overlaps a stretch of time.

    Args:
        evidence: holds the troubles.
        kinds: names of kinds, with spaces between them.
        targets: of any of these; a trouble of all counts for each. Empty: of anything.
    """
    wanted = kinds.split()
    return any(
        one.kind in wanted
        and (not targets or not one.target or one.target in targets)
        and one.from_ns <= until_ns
        and from_ns <= one.until_ns
        for one in evidence.troubles
    )
