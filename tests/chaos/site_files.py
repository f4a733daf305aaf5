"""Settings of the site: replicas, budgets, tokens, and Envoy's configuration."""

from __future__ import annotations

import random
import socket
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import yaml

from chaos.records import NANO_PER_USD, Limit
from routoo.api.security.tokens import append_token, new_token
from support.peers.real_envoy import envoy_config, manager, processor
from support.tiny_pool import SPECS

if TYPE_CHECKING:
    from pathlib import Path

SHARED = ("a", "b", "c")
"""Replicas that share their budgets; ``b`` has a supervisor and two workers."""
JOINING = "d"
"""A replica that joins for a while."""
JOURNAL = "j"
"""A service of its own, with its books in memory and a journal."""
ALL = (*SHARED, JOINING, JOURNAL)
PRICES: Final = {"small": (100, 200), "medium": (1000, 2000), "large": (10_000, 30_000)}
"""Nano-USD per input and output token, as the pool of the tests has them per million in USD."""
_MEAN_NANO: Final = 3_400_000
"""Mean cost of a call to the large model, of the lengths that the clients ask for."""
_LEASE_S: Final = 5.0
"""The shortest that there is: what a replica that ended may know is waited for as long."""
_FIXED_NS: Final = 366 * 86_400 * 10**9
_HOUR_NS: Final = 3_600 * 10**9


@dataclass(frozen=True, slots=True)
class Tenant:
    """A client and its budget.

    Attributes:
        name: the tenant; its budget has the same name.
        calls_per_s: mean rate of its calls.
        share: money of a period, as a share of what its calls would take in that time.
        period_s: length of the period, in seconds; 0: longer than any run.
        window: fixed or sliding.
        reports: whether it reports true costs, at most what was predicted.
        on_exhausted: refuse, or go on with overdrafts.
        door: grpc, to a replica of its choice, or http, through Envoy.
    """

    name: str
    calls_per_s: float
    share: float
    period_s: int = 0
    window: Literal["fixed", "sliding"] = "fixed"
    reports: bool = False
    on_exhausted: Literal["refuse", "cheapest"] = "refuse"
    door: Literal["grpc", "http"] = "grpc"

    def limit(self, seconds: float) -> Limit:
        """Returns its budget for a run of so many seconds."""
        demand = self.calls_per_s * (self.period_s or seconds) * _MEAN_NANO
        sliding = self.window == "sliding"
        period = self.period_s * 10**9 or (_HOUR_NS if sliding else _FIXED_NS)
        replicas = {JOURNAL} if self.name == "alone" else set(ALL) - {JOURNAL}
        return Limit(
            self.name,
            self.name,
            round(demand * self.share / 1000) * 1000,
            period,
            sliding,
            self.on_exhausted == "cheapest",
            frozenset(replicas),
        )


TENANTS: Final = (
    Tenant("silent", 8, 0.6, window="sliding"),
    Tenant("short", 8, 0.5, 5),
    Tenant("slide", 8, 0.5, 6, "sliding"),
    Tenant("honest", 8, 0.4, reports=True),
    Tenant("loose", 4, 0.4, on_exhausted="cheapest"),
    Tenant("web", 6, 2.0, door="http"),
    Tenant("alone", 6, 0.6, reports=True),
)


def limits(seconds: float) -> tuple[Limit, ...]:
    """Returns all budgets: one per tenant, and one for all of the shared replicas together."""
    own = [tenant.limit(seconds) for tenant in TENANTS]
    total = sum(
        round(tenant.calls_per_s * seconds * _MEAN_NANO)
        for tenant in TENANTS
        if tenant.name != "alone"
    )
    shared = frozenset(set(ALL) - {JOURNAL})
    everyone = Limit("everyone", "", 3 * total, _FIXED_NS, replicas=shared)
    return (everyone, *own)


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of one run that the seed decides.

    Attributes:
        usage_from: the way by which Envoy tells of usage.
        ttl_s: time until an unreported reservation expires, in seconds.
        redis_timeout_s: longest that a request waits for Redis.
        on_loss: whether replicas wait for what a missing one may know of books that were lost.
    """

    usage_from: Literal["reply", "access_log"]
    ttl_s: float
    redis_timeout_s: float
    on_loss: Literal["wait", "go_on"]

    @classmethod
    def of(cls, seed: int) -> Plan:
        """Draws the settings."""
        chance = random.Random(f"plan {seed}")  # noqa: S311 - the same settings in every run of a seed
        return cls(
            chance.choice(("reply", "access_log")),
            chance.choice((600.0, 600.0, 3.0)),
            chance.choice((0.05, 0.2)),
            chance.choice(("wait", "go_on")),
        )


def quiet_port() -> int:
    """Returns a free TCP port that no outgoing connection is given, so that it stays free."""
    for port in random.Random().sample(range(12_000, 32_000), 100):  # noqa: S311
        with closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def write_tokens(path: Path) -> dict[str, str]:
    """Writes the file of tokens; returns them by tenant, and those of ``admin`` and ``proxy``."""
    texts = {}
    for name in (*(tenant.name for tenant in TENANTS), "admin", "proxy"):
        role = name if name in {"admin", "proxy"} else "route"
        tenant = "" if role != "route" else name
        text, stored = new_token(tenant, (role,), time.time())
        append_token(path, stored)
        texts[name] = text
    return texts


def settings_of(
    name: str, port: int, seconds: float, plan: Plan, *, redis: int, triton: int, folder: Path
) -> dict[str, Any]:
    """Returns the settings of a replica.

    Args:
        name: the replica.
        port: the port that it listens on.
        seconds: duration of the load.
        plan: the seed's part of the settings.
        redis: port of its way to Redis.
        triton: port of its way to Triton; 0: it predicts by itself.
        folder: the site's folder, with the predictor and the tokens.
    """
    budgets = [
        {
            "name": limit.name,
            **({"tenant": limit.tenant} if limit.tenant else {}),
            "usd": limit.limit_nano_usd / NANO_PER_USD,
            "per": f"{limit.period_ns // 10**9}s",
            "window": "sliding" if limit.sliding else "fixed",
            "on_exhausted": "cheapest" if limit.overdraws else "refuse",
            "pacing": False,
        }
        for limit in limits(seconds)
        if name in limit.replicas
    ]
    predictor: dict[str, Any] = {"artifact": str(folder / "repository" / "predictor" / "1")}
    if triton:
        url = f"127.0.0.1:{triton}"
        predictor |= {"backend": "triton", "fallbacks": ["onnx", "prior"], "triton": {"url": url}}
    ledger: dict[str, Any] = {"journal": "ledger.journal"}
    if name != JOURNAL:
        ledger = {
            "backend": "redis",
            "redis_url": f"redis://127.0.0.1:{redis}/0",
            "redis_timeout_s": plan.redis_timeout_s,
            "redis_max_probe_s": 1.0,
            "lease_s": _LEASE_S,
            "on_loss": plan.on_loss,
        }
    return {
        "listen": f"127.0.0.1:{port}",
        "http": {"listen": ""},
        "metrics": {"enabled": False},
        "pool": "pool.yaml",
        "predictor": predictor,
        "policy": {"name": "lp", "max_mean_cost_usd": 0.02},
        "budgets": budgets,
        "ledger": {**ledger, "reservation_ttl_s": plan.ttl_s},
        "corrections": {"enabled": False},
        "workers": 2 if name == "b" else 1,
        "shutdown_grace_s": 3,
        "reload": {"watch": name == "c", "interval_s": 0.2},
        "processor": {"enabled": name != JOURNAL, "usage_from": plan.usage_from},
        "security": {"tokens": str(folder / "tokens.jsonl")},
        "decision_log": {"path": "decisions.jsonl"},
        "log": {"level": "warning"},
    }


def pool_text(milliseconds: int = 0) -> str:
    """Returns the pool's file; the models' latencies are raised, which changes no cost."""
    models = [{**spec, "time_to_first_token_ms": 100 + milliseconds} for spec in SPECS]
    return yaml.safe_dump({"models": models})


def envoy_settings(port: int, replicas: list[int], upstream: int, token: str, folder: Path) -> Path:
    """Writes the configuration of an Envoy that spreads over the replicas; returns its file."""
    config, _ = envoy_config(routoo=replicas[0], local=upstream, hosted=upstream)
    resources = config["static_resources"]
    resources["listeners"][0]["address"]["socket_address"]["port_value"] = port
    shown = {"initial_metadata": [{"key": "authorization", "value": f"Bearer {token}"}]}
    processor(config)["grpc_service"] |= shown
    processor(config)["message_timeout"] = "10s"
    manager(config)["access_log"][0]["typed_config"]["common_config"]["grpc_service"] |= shown
    for cluster in resources["clusters"]:
        if cluster["name"] != "routoo":
            continue
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
            {
                "endpoint": {
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": one}}
                }
            }
            for one in replicas
        ]
    file = folder / "envoy.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return file
