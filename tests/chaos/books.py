"""Readers of the books: the replicas' own words, Redis' hashes, and the decision logs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from chaos.records import NANO_PER_USD, Sums
from routoo.v1 import budget_pb2
from routoo.v1.router_pb2_grpc import RouterServiceStub

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.records import Limit

_LOOK_S = 3.0
_SLIDING_STEPS = 60


async def told_sums(address: str, token: str) -> dict[str, Sums] | str:
    """Returns the budgets as a replica tells them; or why it does not, or not for sure."""
    shown = (("authorization", f"Bearer {token}"),)
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub = RouterServiceStub(channel)
        request = budget_pb2.GetBudgetRequest()
        try:
            reply = await stub.GetBudget(request, timeout=_LOOK_S, metadata=shown)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name} {error.details()}"
    degraded = [one.name for one in reply.budgets if one.degraded]
    if degraded:
        return f"degraded: {', '.join(degraded)}"
    return {
        one.name: Sums(
            _nano(one.reserved_usd),
            _nano(one.settled_usd),
            _nano(one.overdraft_usd),
            one.granted_requests,
        )
        for one in reply.budgets
    }


def shared_sums(client: Any, limits: tuple[Limit, ...], prefix: str = "routoo") -> dict[str, Sums]:
    """Returns the sums of the budgets' hashes in Redis, read without any of the service's code."""
    found = {}
    for limit in limits:
        micro = limit.period_ns // 1000
        steps = _SLIDING_STEPS + 1 if limit.sliding else 1
        step_us = -(-micro // _SLIDING_STEPS) if limit.sliding else micro
        values = client.hgetall(f"{{{prefix}}}:budget:{limit.name}:{step_us}:{steps}")
        letters = [int(values.get(letter, 0)) for letter in (b"R", b"S", b"O", b"G")]
        found[limit.name] = Sums(*letters)
    return found


def logged_models(folder: Path) -> dict[str, str]:
    """Returns per decision id the model that the decision logs of a folder name.

    A last line that a kill has torn is left out.
    """
    found: dict[str, str] = {}
    for file in folder.glob("decisions.jsonl*"):
        for line in file.read_bytes().splitlines():
            try:
                values = json.loads(line)
            except ValueError:
                continue
            if values.get("kind") == "decision":
                found[values["id"]] = values["model"] or ""
    return found


def _nano(usd: float) -> int:
    return round(usd * NANO_PER_USD)
