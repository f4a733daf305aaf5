"""Settings of budgets, and of the ledger that keeps their books."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from routoo.budget.redis.connecting import Connecting
from routoo.budget.terms import (
    MAX_USD,
    BudgetTerms,
    apart_tenant,
    is_apart_tenant,
    one_nano_usd,
)
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
    """One budget: an amount of money that may be spent in every period."""

    name: Annotated[str, AfterValidator(_name)]
    """The name in states, metrics and errors."""
    tenant: str = ""
    """The tenant whose requests it bounds. Unset: all tenants together."""
    usd: float = Field(gt=0, le=MAX_USD, allow_inf_nan=False)
    """The limit, in USD."""
    per: Annotated[str, AfterValidator(_period)]
    """The period, for example 30s, 15m, 1h, 1d or 30d."""
    window: Literal["fixed", "sliding"] = "fixed"
    """fixed: periods start at whole multiples of their length since 1970, UTC. sliding: the limit
    holds in every stretch of that length."""
    on_exhausted: Literal["refuse", "cheapest"] = "refuse"
    """refuse: the request fails with RESOURCE_EXHAUSTED. cheapest: the request gets its cheapest
    model, and the cost is booked as overdraft."""
    pacing: bool = True
    """True: the price of money follows what is left, so that it lasts for the period. False: the
    budget is a limit alone, and sets no price."""
    even_within: Annotated[str, AfterValidator(_period)] | None = None
    """Money is spent evenly over a fixed period: what was spent too much or too little is made good
    within this time, for example 5m. Unset: by the end of the period."""
    pays_for: Literal["requests", "exploration"] = "requests"
    """requests: the answers to requests. exploration: what explored decisions are expected to cost
    beyond those that they stand in for, and nothing else; ``policy.explore`` names it."""

    def terms(self) -> BudgetTerms:
        """Returns the budget in the ledger's own type."""
        return BudgetTerms(
            name=self.name,
            tenant=apart_tenant(self.name) if self.is_apart else self.tenant,
            limit_nano_usd=one_nano_usd(self.usd),
            period_ns=_duration_s(self.per) * 1_000_000_000,
            sliding=self.window == "sliding",
            on_exhausted=self.on_exhausted,
            is_paced=self.pacing and not self.is_apart,
            is_apart=self.is_apart,
            even_ns=_duration_s(self.even_within or "") * 1_000_000_000,
        )

    @property
    def is_apart(self) -> bool:
        """Whether it pays for no request."""
        return self.pays_for != "requests"

    @model_validator(mode="after")
    def _evenly_at_a_price(self) -> Self:
        if self.even_within is None:
            return self
        if self.window == "sliding":
            raise ValueError("a sliding budget is spent evenly already; leave even_within out")
        if not self.pacing or self.is_apart:
            raise ValueError("even_within needs a budget with a price, for requests; leave it out")
        if _duration_s(self.even_within) >= _duration_s(self.per):
            raise ValueError(f"even_within has to be shorter than per, {self.per}")
        return self

    @model_validator(mode="after")
    def _apart_from_requests(self) -> Self:
        if is_apart_tenant(self.tenant):
            raise ValueError("tenant: a name in brackets stands for a budget; name another")
        if self.is_apart and self.tenant:
            raise ValueError(
                f"pays_for {self.pays_for} and tenant exclude each other; leave tenant out"
            )
        if self.is_apart and self.on_exhausted != "refuse":
            raise ValueError(
                f"on_exhausted says what becomes of requests, and this pays for {self.pays_for}"
                " alone; leave it out"
            )
        return self


class LedgerSettings(Section):
    """The ledger, which keeps the books of all budgets."""

    backend: Literal["memory", "redis"] = "memory"
    """memory: the books of this process alone. redis: books that all replicas share."""
    journal: Path | None = None
    """File from which books in memory are restored at a start. Unset: they are lost at a stop."""
    fsync: Literal["always", "interval", "never"] = "interval"
    """The time at which the journal is forced to the disk. A crash of the process alone loses
    nothing; a crash of the machine loses what was not forced yet."""
    fsync_interval_s: float = Field(default=1.0, gt=0, le=3600, allow_inf_nan=False)
    """Time between two such writes, with ``fsync: interval``."""
    redis_url: str = "redis://127.0.0.1:6379/0"
    """redis://, rediss:// (TLS) or unix://, with user and password if need be."""
    redis_cluster: bool = False
    """Set when the URL names a node of a cluster. All keys of the ledger lie in one slot."""
    redis_sentinels: tuple[str, ...] = ()
    """URLs of Redis Sentinels, ``redis://:password@host:26379``. They tell host and port of the
    master; of ``redis_url`` the scheme, user, password and database hold then."""
    redis_master: str = "mymaster"
    """Name by which the sentinels know the master."""
    redis_timeout_s: float = Field(default=0.05, gt=0, le=60, allow_inf_nan=False)
    """Longest that a request waits for Redis, connecting included."""
    redis_max_probe_s: float = Field(default=5.0, gt=0, le=3600, allow_inf_nan=False)
    """Longest time between two attempts to reach a Redis that does not answer."""
    redis_connections: int = Field(default=8, ge=1, le=1024)
    """Most connections for the calls of requests."""
    key_prefix: Annotated[str, AfterValidator(_key_prefix)] = "routoo"
    """All keys in Redis start with it, in braces. Each set of budgets needs its own prefix."""
    reservation_ttl_s: float = Field(default=600.0, ge=1, le=86_400, allow_inf_nan=False)
    """Longest time until a decision's cost has to be reported; then its reservation expires."""
    on_expiry: Literal["settle", "release"] = "settle"
    """settle: an expired decision counts its estimate. release: it counts nothing."""
    max_decisions: int = Field(default=1_000_000, ge=1_000, le=100_000_000)
    """Most decisions kept in memory; one more makes the oldest expire early."""
    local_share: float = Field(default=0.1, ge=0, le=1, allow_inf_nan=False)
    """Share of what is left of each budget that all replicas together hold as leases: each replica
    may spend its own while Redis is away, and no other replica may spend it meanwhile."""
    lease_s: float = Field(default=900.0, ge=5, le=86_400, allow_inf_nan=False)
    """Longest that a replica spends its leases while Redis is away."""
    book_delay_s: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    """Above 0: single requests are granted out of the replica's lease without waiting for Redis,
    which is told so much later; until then other replicas do not know the decision. 0: each request
    asks Redis first."""
    on_loss: Literal["wait", "go_on"] = "wait"
    """When Redis has lost books and a replica is missing that may know more of them, only leases
    are spent. wait: until a period after its lease has ended. go_on: until its lease has ended."""
    report_factor: float = Field(default=10.0, ge=1, le=1_000_000, allow_inf_nan=False)
    """The most that a report may book, by what its request could have cost: what was reserved for a
    request with a longest answer, else its input with the model's longest answer. The rest is not
    booked, but counted and logged."""
    unbudgeted: Literal["allow", "refuse"] = "allow"
    """Requests of a tenant to which no budget applies are allowed or refused."""

    def connecting(self) -> Connecting:
        """Returns the connection to Redis in the ledger's own type."""
        return Connecting(
            url=self.redis_url,
            cluster=self.redis_cluster,
            timeout_s=self.redis_timeout_s,
            connections=self.redis_connections,
            key_prefix=self.key_prefix,
            sentinels=self.redis_sentinels,
            master=self.redis_master,
        )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.journal is not None and self.backend != "memory":
            raise ValueError(
                "journal needs backend: memory; with backend: redis, Redis keeps the books"
            )
        if not self.redis_url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("redis_url has to start with redis://, rediss:// or unix://")
        if self.backend == "memory" and (self.redis_cluster or self.redis_sentinels):
            # Each replica would spend the whole of every budget.
            raise ValueError("redis_cluster and redis_sentinels need backend: redis; set it, too")
        if self.redis_sentinels:
            self._check_sentinels()
        return self

    def _check_sentinels(self) -> None:
        if self.redis_cluster:
            raise ValueError("redis_sentinels and redis_cluster exclude each other; leave one out")
        for url in (*self.redis_sentinels, self.redis_url):
            if not url.startswith(("redis://", "rediss://")):
                raise ValueError(
                    "with redis_sentinels, they and redis_url have to start with redis:// or"
                    " rediss://"
                )


def distinct_names(budgets: tuple[BudgetSettings, ...]) -> tuple[BudgetSettings, ...]:
    """Refuses two budgets of one name; a validator for the settings that hold the budgets."""
    seen: set[Any] = set()
    for budget in budgets:
        if budget.name in seen:
            raise ValueError(f"name {budget.name} stands twice; each budget needs its own")
        seen.add(budget.name)
    return budgets
