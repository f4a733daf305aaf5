"""Reservations for requests over HTTP are never below what a provider then bills for them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from routoo.api.extproc.body import api_of
from routoo.api.extproc.refusal import Refusal
from routoo.api.extproc.router import Head, Router
from routoo.api.overload import Overload
from routoo.api.security.caller import Caller
from routoo.api.security.gate import Admission
from routoo.config.operations import OverloadSettings
from routoo.config.policy import PolicySettings
from routoo.config.processor import ProcessorSettings
from routoo.config.settings import Settings
from routoo.engine.current import ActiveEngine
from routoo.predictor.artifact import load_artifact
from routoo.predictor.tokenizers.families import FAMILIES
from routoo.routing.pool import ModelSpec, Pool
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.billed_bodies import PATHS, Billed, random_body
from support.tiny_engine import make_engine
from support.tiny_money import hourly, spending
from support.tiny_pool import SPECS
from support.watched import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

CAPABILITIES = ["chat", "tools", "vision", "json", "audio", "video"]
# USD per million tokens, in and out, and the families whose tokenizer may count.
MODELS = {
    "openai/gpt-5.2": (5.0, 15.0, ("openai",)),
    "anthropic/claude-opus-4-8": (3.0, 25.0, ("claude",)),
    "somebody/new-model": (2.0, 1.0, FAMILIES),
}
BODIES = 5000


def pool() -> Pool:
    specs = []
    for base, (name, (input_usd, output_usd, _)) in zip(SPECS, MODELS.items(), strict=True):
        specs.append(
            ModelSpec.model_validate(
                base
                | {
                    "name": name,
                    "predictor_name": base["name"],
                    "usd_per_1m_input_tokens": input_usd,
                    "usd_per_1m_output_tokens": output_usd,
                    "context_window_tokens": 4_000_000,
                    "capabilities": CAPABILITIES,
                }
            )
        )
    return Pool.of(tuple(specs))


def bill_usd(billed: Billed, model: str) -> float:
    """Returns the most that the provider bills, with each answer at its cap."""
    input_usd, output_usd, families = MODELS[model]
    return (
        max(
            billed.input_tokens(family) * input_usd + billed.output_tokens(family) * output_usd
            for family in families
        )
        / 1e6
    )


class Door:
    """The processor's router before an engine with one budget, whose books can be read."""

    def __init__(self, folder: Path, **processor: Any) -> None:
        self.money = spending(hourly(1e6))
        self.engine = make_engine(
            load_artifact(write_tiny_artifact(folder)),
            pool=pool(),
            policy=PolicySettings(name="round_robin", round_robin={"models": list(MODELS)}),
            spent_from=self.money,
        )
        settings = Settings(processor=ProcessorSettings(enabled=True, **processor))
        overload = Overload(OverloadSettings(), 64)
        self.router = Router(ActiveEngine(self.engine, settings), overload)

    def reserved_usd(self) -> float:
        return self.money.ledger.states()[0].reserved_usd

    async def route(self, path: str, body: dict[str, Any], **headers: str) -> Any:
        api = api_of(path)
        assert api is not None
        ours = tuple((f"x-routoo-{name.replace('_', '-')}", one) for name, one in headers.items())
        head = Head(api, ours, frozenset(), "", "")
        return await self.router.route(
            head, body, lambda: Admission(Caller("", None, frozenset({"route"})))
        )


async def test_no_body_costs_more_than_is_reserved_or_than_its_limit(tmp_path: Path) -> None:
    door = Door(tmp_path)
    source = random.Random(16)  # noqa: S311 - it makes bodies
    models: Counter[str] = Counter()
    refused = 0
    reserved_usd = 0.0
    for _ in range(BODIES // 50):
        bodies = [random_body(source) for _ in range(50)]
        limits_usd = [source.choice([None, 1e-5, 1e-3, 0.01, 0.1, 1.0]) for _ in bodies]
        replies = await asyncio.gather(
            *(
                door.route(PATHS[one.api], one.body, **_limit(limit_usd))
                for one, limit_usd in zip(bodies, limits_usd, strict=True)
            )
        )
        for billed, limit_usd, routed in zip(bodies, limits_usd, replies, strict=True):
            if isinstance(routed, Refusal):
                assert limit_usd is not None, (routed, billed)
                refused += 1
                continue
            models[routed.model] += 1
            batch, row = routed.decision.batch, routed.decision.row
            most_usd = batch.estimates.reserved_usd[row, batch.choices[row]]
            reserved_usd += most_usd
            cost_usd = bill_usd(billed, routed.model)
            assert cost_usd <= most_usd, billed
            assert limit_usd is None or cost_usd <= limit_usd, billed
        assert door.reserved_usd() == pytest.approx(reserved_usd, abs=1e-9 * BODIES)
    assert len(models) == 3
    assert min(models.values()) > BODIES / 10
    assert 0 < refused < BODIES / 2
    await door.engine.close(HANG_S)


def _limit(limit_usd: float | None) -> dict[str, str]:
    return {} if limit_usd is None else {"max_cost_usd": str(limit_usd)}
