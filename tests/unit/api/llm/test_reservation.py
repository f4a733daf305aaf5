"""Reservations for requests over HTTP are never below what a provider then bills for them."""

from __future__ import annotations

import asyncio
import random
from base64 import b64encode
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from routoo.api.llm.body import api_of
from routoo.api.llm.refusal import Refusal
from routoo.api.llm.router import Head, Router
from routoo.api.overload import Overload
from routoo.api.security.caller import Caller
from routoo.api.security.gate import Admission
from routoo.config.sections.operations import OverloadSettings
from routoo.config.sections.policy import PolicySettings
from routoo.config.sections.processor import ProcessorSettings
from routoo.config.settings import Settings
from routoo.engine.current import ActiveEngine
from routoo.predictor.artifact import load_artifact
from routoo.predictor.tokenizers.families import FAMILIES
from routoo.routing.estimates import INPUT_MARGIN
from routoo.routing.pool import ModelSpec, Pool
from support.artifacts.tiny_artifact import write_tiny_artifact
from support.billed_bodies import PATHS, Billed, random_body
from support.tiny_engine import make_engine
from support.tiny_money import hourly, spending
from support.tiny_pool import SPECS
from support.watched import HANG_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CAPABILITIES = ["chat", "tools", "vision", "json", "audio", "video"]
# USD per million tokens, in and out, and the families whose tokenizer may count.
MODELS = {
    "openai/gpt-5.2": (5.0, 15.0, ("openai",)),
    "anthropic/claude-opus-4-8": (3.0, 25.0, ("claude",)),
    "somebody/new-model": (2.0, 1.0, FAMILIES),
}
BODIES = 5000


def pool(window_tokens: int = 4_000_000, able: Sequence[str] = CAPABILITIES, **more: Any) -> Pool:
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
                    "context_window_tokens": window_tokens,
                    "capabilities": able,
                    **more,
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

    def __init__(
        self,
        folder: Path,
        pool_of: int = 4_000_000,
        able: Sequence[str] = CAPABILITIES,
        tokens: Mapping[str, float] | None = None,
        **processor: Any,
    ) -> None:
        self.money = spending(hourly(1e6))
        self.engine = make_engine(
            load_artifact(write_tiny_artifact(folder)),
            pool=pool(pool_of, able, **(tokens or {})),
            policy=PolicySettings(name="round_robin", round_robin={"models": list(MODELS)}),
            spent_from=self.money,
        )
        settings = Settings(processor=ProcessorSettings(enabled=True, **processor))
        # The clock stands still: nothing is turned away, however slow this machine is.
        overload = Overload(OverloadSettings(), 64, lambda: 0.0)
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
            kept_usd = batch.limits_usd[row]  # for its fallbacks, too
            reserved_usd += kept_usd
            for fallback in routed.decision.fallbacks():
                assert bill_usd(billed, fallback.model) <= kept_usd, billed
            cost_usd = bill_usd(billed, routed.model)
            assert cost_usd <= most_usd, billed
            assert limit_usd is None or cost_usd <= limit_usd, billed
        assert door.reserved_usd() == pytest.approx(reserved_usd, abs=1e-9 * BODIES)
    assert len(models) == 3
    assert min(models.values()) > BODIES / 10
    assert 0 < refused < BODIES / 2
    await door.engine.close(HANG_S)


BIG = "The quick brown fox jumps over the lazy dog. " * 5778  # 260 kB
BIG_PARTS: list[tuple[str, dict[str, Any]]] = [
    ("messages", {"type": "text", "text": BIG}),
    (
        "messages",
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": BIG}},
    ),
    (
        "messages",
        {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": BIG}]},
    ),
    ("messages", {"type": "tool_use", "id": "1", "name": "f", "input": {"text": BIG}}),
    ("messages", {"type": "thinking", "thinking": BIG, "signature": "c2ln"}),
    (
        "messages",
        {
            "type": "document",
            "source": {
                "type": "base64",
                "media_type": "text/plain",
                "data": b64encode(BIG.encode()).decode(),
            },
        },
    ),
    ("chat", {"type": "text", "text": BIG}),
    ("chat", {"type": "something_new", "payload": BIG}),
]


@pytest.mark.parametrize(("api", "part"), BIG_PARTS)
async def test_a_large_part_is_counted_wherever_it_stands(
    tmp_path: Path, api: str, part: dict[str, Any]
) -> None:
    kinds = {"something_new": "chat"}
    door = Door(tmp_path, capabilities={"kinds": kinds})
    parts = [{"type": "text", "text": "What is this?"}, part]
    body = {"max_tokens": 10, "messages": [{"role": "user", "content": parts}]}
    refused = await door.route(PATHS[api], body, max_cost_usd="0.01")
    assert isinstance(refused, Refusal)
    assert "max_cost_usd" in str(refused)
    routed = await door.route(PATHS[api], body, allowed_models="openai/gpt-5.2")
    assert routed.decision.batch.costs_usd[routed.decision.row] == pytest.approx(0.289, rel=0.25)
    await door.engine.close(HANG_S)


async def test_a_legacy_call_of_a_function_is_counted(tmp_path: Path) -> None:
    door = Door(tmp_path)
    call = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": BIG}}
    body = {"messages": [{"role": "user", "content": "go on"}, call]}
    assert isinstance(await door.route(PATHS["chat"], body, max_cost_usd="0.01"), Refusal)
    await door.engine.close(HANG_S)


@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("name", ["tools", "functions"])
async def test_offered_tools_are_counted_for_every_model(
    tmp_path: Path, name: str, model: str
) -> None:
    door = Door(tmp_path)
    tool = {"name": "f", "description": BIG, "parameters": {}}
    offered = [tool] if name == "functions" else [{"type": "function", "function": tool}]
    body = {"messages": [{"role": "user", "content": "go on"}], name: offered}
    found = await door.route(PATHS["chat"], body, max_cost_usd="0.01", allowed_models=model)
    assert isinstance(found, Refusal)
    await door.engine.close(HANG_S)


HUNDRED_WORDS = [{"role": "user", "content": "word " * 100}]
OWN_CAPS: list[tuple[str, dict[str, Any], float]] = [
    ("chat", {"max_tokens": 1, "max_completion_tokens": 4000}, 4000),
    ("chat", {"max_completion_tokens": 1, "max_output_tokens": 4000}, 1),
    ("chat", {"max_completion_tokens": 4000, "max_output_tokens": 1}, 4000),
    ("messages", {"max_tokens": 4000, "max_completion_tokens": 1}, 4000),
    ("chat", {"max_tokens": 4000, "n": 8}, 32_000),
]


@pytest.mark.parametrize(("api", "caps", "tokens"), OWN_CAPS)
async def test_the_cap_is_the_apis_own_field_and_holds_for_each_answer(
    tmp_path: Path, api: str, caps: dict[str, Any], tokens: float
) -> None:
    door = Door(tmp_path)
    model = "openai/gpt-5.2"
    body = {"messages": HUNDRED_WORDS, **caps}
    await door.route(PATHS[api], body, allowed_models=model)
    assert door.reserved_usd() == pytest.approx(tokens * 15e-6 + 200 * 5e-6, abs=1e-3)
    await door.engine.close(HANG_S)


async def test_prompts_are_answered_one_by_one_and_tokens_count_exactly(tmp_path: Path) -> None:
    door = Door(tmp_path)
    body = {"prompt": [[151644, 8948, 198], "once", "twice"], "best_of": 4, "max_tokens": 100}
    routed = await door.route(PATHS["completions"], body, allowed_models="openai/gpt-5.2")
    batch, row = routed.decision.batch, routed.decision.row
    assert batch.output_tokens[row] == pytest.approx(12 * 100)
    assert 3 <= batch.input_tokens[row] - batch.input_tokens[row] % 1 <= 12
    await door.route(PATHS["completions"], {"prompt": [151644, 8948, 198], "max_tokens": 9})
    await door.engine.close(HANG_S)


async def test_the_window_has_to_hold_the_asked_answer(tmp_path: Path) -> None:
    door = Door(tmp_path, pool_of=4096)
    body = {"messages": HUNDRED_WORDS, "max_tokens": 8000}
    refused = await door.route(PATHS["chat"], body)
    assert isinstance(refused, Refusal)
    assert "context_window_tokens leaves no eligible model" in str(refused)
    routed = await door.route(PATHS["chat"], {**body, "max_tokens": 3000, "n": 8})
    assert not isinstance(routed, Refusal)
    await door.engine.close(HANG_S)


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ({"type": "video_url", "video_url": {"url": "https://x.example/1.mp4"}}, "'video'"),
        ({"type": "audio_url", "audio_url": {"url": "https://x.example/1.mp3"}}, "'audio'"),
        ({"type": "hologram", "points": "..."}, "'hologram'"),
    ],
)
async def test_what_is_no_text_requires_its_capability(
    tmp_path: Path, part: dict[str, Any], why: str
) -> None:
    door = Door(tmp_path, able=["chat"])
    parts = [{"type": "text", "text": "What is this?"}, part]
    body = {"messages": [{"role": "user", "content": parts}]}
    refused = await door.route(PATHS["chat"], body)
    assert isinstance(refused, Refusal)
    assert f"no model of the pool has the capability {why}" in str(refused)
    await door.engine.close(HANG_S)


def _limit(limit_usd: float | None) -> dict[str, str]:
    return {} if limit_usd is None else {"max_cost_usd": str(limit_usd)}


@pytest.mark.parametrize(
    ("rates", "tokens"),
    [({}, 1600 + 300 * 32), ({"tokens_per_image": 258, "tokens_per_audio_s": 25}, 258 + 300 * 25)],
)
async def test_media_are_reserved_for_by_the_rates_of_the_pool(
    tmp_path: Path, rates: dict[str, float], tokens: int
) -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "https://there/image"}},
        {"type": "input_audio", "input_audio": {"url": "https://there/sound"}},
    ]
    reserved = []
    for content in (parts, []):
        door = Door(tmp_path / str(len(content)), tokens=rates)
        said = [{"type": "text", "text": "look"}, *content]
        body = {"messages": [{"role": "user", "content": said}], "max_tokens": 1}
        routed = await door.route(PATHS["chat"], body, allowed_models="openai/gpt-5.2")
        assert not isinstance(routed, Refusal), routed
        reserved.append(door.reserved_usd())
        await door.engine.close(0.0)
    found = (reserved[0] - reserved[1]) * 1e6 / 5.0 / INPUT_MARGIN
    assert found == pytest.approx(tokens, abs=1)
