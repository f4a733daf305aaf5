"""The settings of budgets, and of the ledger that keeps their books."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from routoo.budget.terms import MAX_USD, BudgetTerms, one_nano_usd
from routoo.config.section import Section

_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_S = 366 * 86_400
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _duration_s(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", text)
    return int(found[1]) * _UNIT_S[found[2]] if found else 0


def _period(text: str) -> str:
    if not 1 <= _duration_s(text) <= _LONGEST_S:
        raise ValueError("has to be a whole number and s, m, h or d, up to 366d, e.g. 15m, 1h, 30d")
    return text


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("takes up to 64 letters, digits, '.', '_' and '-', no sign in front")
    return text


def _key_prefix(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("takes letters, digits, '.', '_' and '-'; the braces are added")
    return text


class BudgetSettings(Section):
    """One budget: so much money in every period."""

    name: Annotated[str, AfterValidator(_name)]
    """What states, metrics and errors call it."""
    tenant: str = ""
    """Whose requests it bounds. Unset: those of all tenants together."""
    usd: float = Field(gt=0, le=MAX_USD, allow_inf_nan=False)
    """The limit, in USD."""
    per: Annotated[str, AfterValidator(_period)]
    """The period: 30s, 15m, 1h, 1d, 7d, 30d."""
    window: Literal["fixed", "sliding"] = "fixed"
    """fixed: periods start at whole multiples of their length since 1970, UTC. sliding: no stretch
    of that length holds more."""
    on_exhausted: Literal["refuse", "cheapest"] = "refuse"
    """refuse: the request fails with RESOURCE_EXHAUSTED. cheapest: it goes on with its cheapest
    model, booked as overdraft."""

    def terms(self) -> BudgetTerms:
        """The budget as the ledger takes it."""
        return BudgetTerms(
            name=self.name,
            tenant=self.tenant,
            limit_nano_usd=one_nano_usd(self.usd),
            period_ns=_duration_s(self.per) * 1_000_000_000,
            sliding=self.window == "sliding",
            on_exhausted=self.on_exhausted,
        )


class LedgerSettings(Section):
    """Where the books are kept."""

    backend: Literal["memory", "redis"] = "memory"
    """memory: this process alone. redis: all replicas share the budgets."""
    journal: Path | None = None
    """File that the books in memory survive a restart by. Unset: they do not."""
    fsync: Literal["always", "interval", "never"] = "interval"
    """When the journal is forced to the disk. A crash of the process alone loses nothing."""
    fsync_interval_s: float = Field(default=1.0, gt=0, le=3600, allow_inf_nan=False)
    redis_url: str = "redis://127.0.0.1:6379/0"
    """redis://, rediss:// (TLS) or unix://, with user and password if need be."""
    redis_cluster: bool = False
    """Whether the URL names a node of a cluster. All our keys lie in one slot."""
    redis_timeout_s: float = Field(default=0.05, gt=0, le=60, allow_inf_nan=False)
    """Longest that a request waits for Redis, connecting included."""
    redis_max_probe_s: float = Field(default=5.0, gt=0, le=3600, allow_inf_nan=False)
    """Longest time between two attempts to reach a Redis that is away."""
    redis_connections: int = Field(default=8, ge=1, le=1024)
    key_prefix: Annotated[str, AfterValidator(_key_prefix)] = "routoo"
    """Our keys in Redis start with it, in braces: one prefix per set of budgets."""
    reservation_ttl_s: float = Field(default=600.0, ge=1, le=86_400, allow_inf_nan=False)
    """How long a decision's cost may stay unreported."""
    on_expiry: Literal["settle", "release"] = "settle"
    """What an unreported decision counts: settle: its estimate; release: nothing."""
    max_decisions: int = Field(default=1_000_000, ge=1_000, le=100_000_000)
    """Most decisions kept in memory; one more makes the oldest expire early."""
    local_share: float = Field(default=0.1, ge=0, le=1, allow_inf_nan=False)
    """Share of what is left of each budget that a replica may spend while Redis is away. With as
    many replicas as fit into 1 / local_share, the limit holds meanwhile, too."""
    unbudgeted: Literal["allow", "refuse"] = "allow"
    """What becomes of a tenant to which no budget applies."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.journal is not None and self.backend != "memory":
            raise ValueError(
                "journal needs backend: memory; with backend: redis, Redis keeps the books"
            )
        if not self.redis_url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("redis_url has to start with redis://, rediss:// or unix://")
        return self


def distinct_names(budgets: tuple[BudgetSettings, ...]) -> tuple[BudgetSettings, ...]:
    """Refuses two budgets of one name; for the settings that hold them."""
    seen: set[Any] = set()
    for budget in budgets:
        if budget.name in seen:
            raise ValueError(f"name {budget.name} stands twice; each budget needs its own")
        seen.add(budget.name)
    return budgets
