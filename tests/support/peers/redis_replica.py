"""A replica's ledger in a Redis that a test runs."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from support.budgets import FakeClock, budget, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routoo.budget.redis.ledger import RedisLedger
    from support.peers.redis_server import RedisServer

BACK_TIMEOUT_S = 120.0
# The longest that the settings allow: a replica takes a Redis for away only when it is.
PATIENT_S = 60.0
POLL_S = 0.005
# The period is longer than any test: only Redis' own clock moves.
BIG = budget(usd=1.0, per="30d", window="sliding")


def replica(server: RedisServer, *budgets: Any, **more: Any) -> RedisLedger:
    """Makes a ledger on a server, which asks Redis first; its budget is ``BIG``, or those given."""
    settings = {"redis_timeout_s": PATIENT_S, "redis_max_probe_s": 0.2, "book_delay_s": 0, **more}
    clock = FakeClock(time.time_ns())
    found: Any = opened(
        clock, *(budgets or (BIG,)), backend="redis", redis_url=server.url, **settings
    )
    return found  # type: ignore[no-any-return]


def renewed(*ledgers: RedisLedger) -> None:
    """Renews leases until each is the share of what is left now.

    A lease shrinks in the replica at the first call and in Redis at the second; what is free by
    that goes to others at the third.
    """
    for _ in range(3):
        for ledger in ledgers:
            ledger.renew()


@contextmanager
def without_renewals(*ledgers: RedisLedger) -> Iterator[None]:
    """Keeps the ledgers' own threads from renewing leases, which they do each second.

    Such a renewal calls Redis between two lines of a test: it moves leases, and may be the first to
    find out what the test has done to Redis. Nor does a ledger come back meanwhile.
    """
    with ExitStack() as stack:
        for ledger in ledgers:
            stack.enter_context(ledger._renewing)
        yield


def come_back(ledger: RedisLedger) -> None:
    """Waits until the ledger has found its Redis again."""
    give_up_s = time.monotonic() + BACK_TIMEOUT_S
    if not ledger.degraded:
        ledger.states()  # it may not have noticed yet that Redis was away
    # Not by ``states``: a call that begins while Redis is away lengthens the absence.
    while ledger.degraded:
        assert time.monotonic() < give_up_s, "Redis is still away"
        time.sleep(POLL_S)
