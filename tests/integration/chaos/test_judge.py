"""The judge finds every planted breach, and nothing in a run that kept all promises."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chaos.checker import check
from chaos.records import Call, Evidence, Granted, Limit, Report, Served, Sums, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

S = 10**9
START_NS = 1_800_000_000 * S
DAY_NS = 86_400 * S
SHARED = frozenset({"a", "b", "c"})
COST = 1_000
DAY = Limit("day", "t", 20 * COST, 366 * DAY_NS, replicas=SHARED)
SHORT = Limit("short", "s", 3 * COST, 5 * S, replicas=SHARED)
SLIDE = Limit("slide", "w", 3 * COST, 6 * S, sliding=True, replicas=SHARED)
WEB = Limit("web", "web", 10 * COST, 366 * DAY_NS, replicas=SHARED)
ALONE = Limit("alone", "alone", 10 * COST, 366 * DAY_NS, replicas=frozenset({"j"}))


def granted_call(evidence: Evidence, tenant: str, at_s: float, **more: Any) -> Granted:
    """Adds a call that was granted within a tenth of a second, to replica ``a`` or ``j``."""
    number = len(evidence.calls)
    sent_ns = START_NS + round(at_s * S)
    told_ns = sent_ns + S // 10
    replica = more.pop("replica", "j" if tenant == "alone" else "a")
    door = "http" if tenant == "web" else "route"
    granted = Granted(
        f"id-{number}", "large", COST, "" if door == "http" else replica, sent_ns, told_ns, **more
    )
    evidence.calls.append(
        Call(
            number,
            door,  # type: ignore[arg-type]
            tenant,
            granted.replica,
            sent_ns,
            told_ns,
            12,
            "200" if door == "http" else "OK",
            granted=(granted,),
            most_nano_usd=2 * COST,
        )
    )
    evidence.logged[granted.decision_id] = "large"
    return granted


def fair() -> Evidence:
    """Returns a run without faults in which all promises were kept.

    Of ten decisions of the tenant ``t`` the first two are reported at half their cost. The tenants
    ``s`` and ``w`` spend their whole limits in a period.
    """
    evidence = Evidence((DAY, SHORT, SLIDE, WEB, ALONE))
    for at in range(10):
        one = granted_call(evidence, "t", at)
        if at < 2:
            evidence.reports.append(
                Report(one.decision_id, COST // 2, "OK", "a", one.told_ns, accepted=True)
            )
    for at in range(3):
        granted_call(evidence, "s", at)
        granted_call(evidence, "w", at)
        granted_call(evidence, "alone", at)
    for at in range(4):
        granted_call(evidence, "web", at)
        evidence.served.append(Served(len(evidence.calls) - 1, "large", COST + at, truthful=True))
    refused = evidence.calls[0]
    evidence.calls.append(
        replace(refused, number=len(evidence.calls), status="RESOURCE_EXHAUSTED", granted=())
    )
    evidence.books = {
        "redis": {
            "day": Sums(8 * COST, COST, 0, 10),
            "short": Sums(3 * COST, 0, 0, 3),
            "slide": Sums(3 * COST, 0, 0, 3),
            "web": Sums(0, 4 * COST + 6, 0, 4),
            "alone": Sums(0, 0, 0, 0),
        },
        "j": {"alone": Sums(3 * COST, 0, 0, 3)},
    }
    return evidence


def change_call(evidence: Evidence, number: int, **changes: Any) -> None:
    evidence.calls[number] = replace(evidence.calls[number], **changes)


def book(evidence: Evidence, name: str, **changes: int) -> None:
    source = "j" if name == "alone" else "redis"
    evidence.books[source][name] = replace(evidence.books[source][name], **changes)


def trouble(evidence: Evidence, kind: str, target: str, from_s: float, until_s: float) -> None:
    evidence.troubles.append(
        Trouble(kind, target, START_NS + round(from_s * S), START_NS + round(until_s * S))
    )


def spend_more(evidence: Evidence, tenant: str, at_s: float) -> None:
    granted_call(evidence, tenant, at_s)


def revoked_and_served(evidence: Evidence) -> None:
    trouble(evidence, "revoked", "t", 0.5, 20)


def report_twice(evidence: Evidence) -> None:
    """Has the service with a journal accept two reports of one decision."""
    (first, *_) = (one for call in evidence.calls for one in call.granted if one.replica == "j")
    report = Report(first.decision_id, COST, "OK", "j", first.told_ns, accepted=True)
    evidence.reports += [report, report]


def lose_lent(evidence: Evidence) -> None:
    granted_call(evidence, "t", 3, alone=True)


BREACHES: dict[str, tuple[str, Callable[[Evidence], None]]] = {
    "a call that never ended": ("lost", lambda run: change_call(run, 3, status="")),
    "an answer after its deadline": (
        "lost",
        lambda run: change_call(run, 3, ended_ns=START_NS + 30 * S),
    ),
    "a stream that left a request out": (
        "lost",
        lambda run: change_call(run, 3, status="UNANSWERED", granted=()),
    ),
    "an unreachable replica that was well": (
        "lost",
        lambda run: change_call(run, 3, status="UNAVAILABLE", granted=()),
    ),
    "a fault of its own": (
        "lost",
        lambda run: change_call(run, 3, status="INTERNAL", detail="internal error; see the log"),
    ),
    "a refusal of a good token": (
        "lost",
        lambda run: change_call(run, 3, status="UNAUTHENTICATED", granted=()),
    ),
    "an HTTP error without a cause": (
        "lost",
        lambda run: change_call(run, 19, status="503", granted=()),
    ),
    "a token that was taken back": ("served", revoked_and_served),
    "an id told twice": (
        "told 2 times",
        lambda run: change_call(run, 3, granted=run.calls[4].granted),
    ),
    "two reports accepted": ("2 reports", report_twice),
    "an answer without a decision": (
        "without a decision",
        lambda run: change_call(run, 19, granted=()),
    ),
    "a call that nobody sent": (
        "unpaid",
        lambda run: run.served.append(Served(-1, "auto", COST, truthful=True)),
    ),
    "a refused call that was served": (
        "unpaid",
        lambda run: change_call(run, 19, status="402", granted=()),
    ),
    "another model in the log": ("was logged", lambda run: run.logged.update({"id-0": "small"})),
    "a decision in no log": ("in no log", lambda run: run.logged.pop("id-0") and None),
    "one too many in a fixed period": ("overspent: short", lambda run: spend_more(run, "s", 4)),
    "one too many in a stretch": ("overspent: slide", lambda run: spend_more(run, "w", 5)),
    "books that were above the limit": (
        "overspent: the books of day",
        lambda run: run.highest.update({"day": DAY.limit_nano_usd + 1}),
    ),
    "books that end above the limit": (
        "overspent: day ends",
        lambda run: book(run, "day", settled=DAY.limit_nano_usd),
    ),
    "a nano-dollar too little": ("books: day", lambda run: book(run, "day", settled=COST - 1)),
    "a nano-dollar too much": ("books: day", lambda run: book(run, "day", settled=COST + 1)),
    "a report that was not booked": (
        "books: day",
        lambda run: book(run, "day", reserved=9 * COST, settled=COST // 2),
    ),
    "a nano-dollar less than was served": (
        "books: web",
        lambda run: book(run, "web", settled=4 * COST + 5),
    ),
    "a journal that forgot": ("books: alone", lambda run: book(run, "alone", reserved=2 * COST)),
    "a replica that fell over": ("ended by itself", lambda run: run.exits.append("a: code 1")),
    "no rest": ("come to rest", lambda run: setattr(run, "unquiet", "a does not serve")),
    "an offline decision of a replica that goes on": ("books: day", lose_lent),
}


def test_a_fair_run_is_fair() -> None:
    assert check(fair()) == []


@pytest.mark.parametrize("name", BREACHES)
def test_a_planted_breach_is_found(name: str) -> None:
    said, plant = BREACHES[name]
    evidence = fair()
    plant(evidence)
    found = check(evidence)
    assert any(said in line for line in found), found


@given(st.integers(0, 30 * S - 1))
@example(49 * S // 10 - 1)
@example(49 * S // 10)
@example(59 * S // 10 - 1)
@example(59 * S // 10)
def test_a_limit_holds_anew_in_the_next_period_and_not_before(at_ns: int) -> None:
    evidence = fair()
    at_s = at_ns / S
    spend_more(evidence, "s", at_s)
    inside = at_ns < 49 * S // 10
    assert any("overspent: short" in line for line in check(evidence)) == inside
    evidence = fair()
    spend_more(evidence, "w", at_s)
    assert any("overspent: slide" in line for line in check(evidence)) == (at_ns < 59 * S // 10)


@pytest.mark.parametrize("kind", ["gone", "frozen"])
def test_a_lost_answer_of_a_disturbed_replica_is_excused_and_may_be_booked(kind: str) -> None:
    evidence = fair()
    granted_call(evidence, "t", 9)
    last = len(evidence.calls) - 1
    change_call(evidence, last, status="UNAVAILABLE", granted=())
    trouble(evidence, kind, "a", 8.5, 10)
    assert check(evidence) == []
    book(evidence, "day", reserved=9 * COST)
    assert check(evidence) == []
    book(evidence, "day", reserved=11 * COST)
    assert any("books: day" in line for line in check(evidence))


@pytest.mark.parametrize("other", ["b", "j"])
def test_the_trouble_of_one_replica_excuses_no_other(other: str) -> None:
    evidence = fair()
    change_call(evidence, 3, status="UNAVAILABLE", granted=())
    trouble(evidence, "gone", other, 2, 5)
    assert any("lost" in line for line in check(evidence))


def test_a_replica_that_ended_offline_may_have_lost_only_what_it_decided_offline() -> None:
    evidence = fair()
    granted_call(evidence, "t", 3, alone=True)
    trouble(evidence, "gone", "a", 10.5, 12)
    assert check(evidence) == []
    book(evidence, "day", reserved=7 * COST)
    assert any("books: day" in line for line in check(evidence))


def test_lost_data_excuses_no_forgotten_money() -> None:
    evidence = fair()
    trouble(evidence, "lost", "", 5, 5)
    book(evidence, "day", reserved=0)
    assert any("books: day" in line for line in check(evidence))


def test_an_upstream_that_lies_excuses_its_own_budget_alone_and_within_a_bound() -> None:
    evidence = fair()
    evidence.served[0] = replace(evidence.served[0], truthful=False)
    book(evidence, "web", settled=20 * COST)
    assert check(evidence) == []
    book(evidence, "web", settled=30 * COST)
    assert any("books: web" in line for line in check(evidence))
    book(evidence, "day", settled=30 * COST)
    assert any("overspent: day" in line for line in check(evidence))


def test_a_report_that_was_taken_offline_may_be_lost_with_its_replica() -> None:
    evidence = fair()
    book(evidence, "day", reserved=9 * COST, settled=COST // 2)
    trouble(evidence, "cut", "a", 0, 3)
    trouble(evidence, "gone", "a", 9, 10)
    assert check(evidence) == []


@pytest.mark.parametrize("ends", [True, False])
def test_books_that_were_lost_with_the_one_that_knew_excuse_no_overspending(*, ends: bool) -> None:
    evidence = fair()
    trouble(evidence, "lost", "", 9.5, 9.5)
    if ends:
        trouble(evidence, "gone", "a", 9.4, 12)
    book(evidence, "day", reserved=7 * COST)
    assert any("books: day" in line for line in check(evidence)) != ends
    for at in range(6):
        granted_call(evidence, "s", 8 + at / 10)
    assert any("overspent: short" in line for line in check(evidence))
    evidence.goes_on = True
    assert any("overspent: short" in line for line in check(evidence)) != ends


@pytest.mark.parametrize(
    ("kinds", "goes_on", "fair_enough"),
    [
        (("lost", "gone"), False, True),
        (("restarted", "gone"), False, True),
        (("lost", "gone"), True, False),
        (("lost",), False, False),
        (("gone",), False, False),
    ],
)
def test_a_site_waits_only_for_what_a_missing_replica_may_know(
    kinds: tuple[str, ...],
    goes_on: bool,  # noqa: FBT001
    fair_enough: bool,  # noqa: FBT001
) -> None:
    evidence = fair()
    evidence.goes_on = goes_on
    for kind in kinds:
        trouble(evidence, kind, "c" if kind == "gone" else "", 20, 21)
    evidence.refusing = {"a": "RESOURCE_EXHAUSTED budget day has not enough left"}
    assert (check(evidence) == []) == fair_enough
    evidence.refusing = {"a": "UNAVAILABLE"}
    assert check(evidence) != []


@pytest.mark.parametrize("replica", ["a", "b"])
def test_a_report_may_come_before_its_decision_through_another_replica_alone(replica: str) -> None:
    evidence = fair()
    granted = granted_call(evidence, "t", 3, alone=True)
    report = Report(granted.decision_id, COST // 2, "OK", replica, granted.told_ns, accepted=True)
    evidence.reports.append(report)
    book(evidence, "day", settled=2 * COST)
    assert any("books: day" in line for line in check(evidence)) == (replica == "a")
    book(evidence, "day", settled=COST + COST // 2)
    assert check(evidence) == []


def test_what_was_granted_just_before_an_end_may_not_be_booked_yet() -> None:
    evidence = fair()
    book(evidence, "day", reserved=7 * COST)
    assert any("books: day" in line for line in check(evidence))
    trouble(evidence, "gone", "a", 9.5, 12)
    assert check(evidence) == []
    book(evidence, "day", reserved=6 * COST)
    assert any("books: day" in line for line in check(evidence))


@pytest.mark.parametrize("begun_s", [20, 60])
def test_a_replica_that_begins_on_lost_books_excuses_its_own_grants_alone(begun_s: float) -> None:
    evidence = fair()
    trouble(evidence, "gone", "a", begun_s - 1, begun_s)
    trouble(evidence, "lost", "", 21, 21)
    for at in range(6):
        granted_call(evidence, "s", 21 + at / 10)
    over = any("overspent: short" in line for line in check(evidence))
    assert over == (begun_s == 60)
    for at in range(6):
        granted_call(evidence, "s", 22 + at / 10, replica="b")
    assert any("overspent: short" in line for line in check(evidence))


@pytest.mark.parametrize("cut", [("b", "c"), ("b",)])
def test_what_one_alone_knew_is_forgotten_when_it_ends_and_the_books_are_lost(
    cut: tuple[str, ...],
) -> None:
    evidence = fair()
    for name in cut:
        trouble(evidence, "cut", name, 0, 20)
    trouble(evidence, "gone", "a", 11, 13)
    trouble(evidence, "lost", "", 19, 19)
    book(evidence, "day", reserved=0, settled=0)
    assert any("books: day" in line for line in check(evidence)) == (cut == ("b",))


@pytest.mark.parametrize("lost", [True, False])
def test_what_came_late_may_count_twice_after_a_loss_alone(*, lost: bool) -> None:
    evidence = fair()
    granted_call(evidence, "t", 3, alone=True)
    book(evidence, "day", settled=3 * COST)
    if lost:
        trouble(evidence, "lost", "", 6, 6)
    assert any("books: day" in line for line in check(evidence)) != lost
