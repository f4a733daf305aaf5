"""The work of one of several processes that spend one Redis budget as fast as they can."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from routoo.budget.ledger import Settled
from routoo.config.sections.budget import LedgerSettings
from routoo.server.budgets import open_ledger
from support.budgets import budget
from support.peers.redis_replica import PATIENT_S

CALLS = 60
LARGEST = 20_000


def hammer(url: str, prefix: str, limit_nano_usd: int, seed: int, results: Any) -> None:
    """Reserves and settles ``CALLS`` times, and puts its own sums into ``results``."""
    settings = LedgerSettings(
        backend="redis", redis_url=url, key_prefix=prefix, redis_timeout_s=PATIENT_S
    )
    ledger = open_ledger((budget(usd=limit_nano_usd / 1e9),), settings, time.time_ns)
    assert ledger is not None
    rng = np.random.default_rng(seed)
    sums = {"reserved": 0, "settled": 0, "granted": 0, "refused": 0}
    for call in range(CALLS):
        amounts = rng.integers(1, LARGEST, int(rng.integers(1, 33)))
        ids = [f"{seed}-{call}-{row}" for row in range(len(amounts))]
        found = ledger.reserve(ids, ["t"] * len(ids), amounts / 1e9)
        assert not found.degraded
        for key, amount, refused in zip(ids, amounts.tolist(), found.refused_by, strict=True):
            if refused >= 0:
                sums["refused"] += 1
                continue
            sums["granted"] += 1
            sums["reserved"] += amount
            if rng.random() < 0.2:
                cost = int(rng.integers(0, amount + 1))
                assert ledger.settle(key, cost / 1e9) is Settled.SETTLED
                sums["reserved"] -= amount
                sums["settled"] += cost
    ledger.close()
    results.put(sums)
