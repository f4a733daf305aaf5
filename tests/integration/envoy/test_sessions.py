"""Turns of agents through the processor: loops and what is bound never move, headers say why."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from support.processor_stream import headers_of, reply_body, reply_headers, stream
from support.tiny_pool import CACHED_SPECS, write_cached_pool
from support.tiny_processor import all_ended, with_settings

if TYPE_CHECKING:
    from pathlib import Path

    from support.tiny_service import Running

TURNS = 600
PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "linked": "/v1/responses",
    "messages": "/v1/messages",
    "completions": "/v1/completions",
}
PROVIDERS = {one["name"]: one["provider"] for one in CACHED_SPECS}
WORDS = ["easy", "hard", "long"]


@dataclass
class Agent:
    """A conversation of an agent, and what its next turn has to be answered by.

    Attributes:
        api: the API; ``linked`` is that of responses, which names the reply before.
        said: its messages or items.
        loop: the model whose tool call is to be answered; empty: there is none.
        bound: the provider whose state the conversation holds; empty: of none.
        previous: the id of the reply before.
        violations: answers by others.
    """

    api: str
    source: random.Random
    said: list[dict[str, Any]] = field(default_factory=list)
    loop: str = ""
    bound: str = ""
    previous: str = ""
    turns: int = 0
    violations: int = 0

    def body(self) -> dict[str, Any]:
        """Says something, and returns the body of the next request."""
        if not self.loop:
            text = " ".join(self.source.choices(WORDS, k=self.source.choice([3, 30, 1500])))
            self.said.append({"role": "user", "content": text + f" {id(self)}"})
        if self.api == "completions":
            return {"model": "auto", "prompt": self.said[-1]["content"]}
        if self.api == "linked":
            new = self.said[-1:]
            more = {"previous_response_id": self.previous} if self.previous else {}
            return {"model": "auto", "input": new, **more}
        if self.api == "responses":
            return {"model": "auto", "input": self.said}
        return {"model": "auto", "messages": self.said, "max_tokens": 500}

    def answered(self, model: str, decision_id: str) -> dict[str, Any]:
        """Checks the model, and returns its reply, which may call a tool or be bound."""
        self.turns += 1
        self.violations += bool(self.loop) and model != self.loop
        self.violations += bool(self.bound) and PROVIDERS[model] != self.bound
        calls, binds = self.source.random() < 0.5, self.source.random() < 0.1
        self.loop = model if calls and self.api != "completions" else ""
        if self.api == "linked" or (binds and self.api != "completions"):
            self.bound = PROVIDERS[model]
        self.said += getattr(self, f"_{self.api}")(calls=calls, binds=binds)
        self.previous = f"resp_{decision_id}"
        tokens = {"input_tokens": 3000, "output_tokens": 50}
        return {"id": self.previous, "model": model, "usage": tokens}

    def _chat(self, *, calls: bool, binds: bool) -> list[dict[str, Any]]:
        more = {"extra_content": {"google": {"thought_signature": "s"}}} if binds else {}
        if not calls:
            return [{"role": "assistant", "content": "done", **more}]
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        return [
            {"role": "assistant", "content": None, "tool_calls": [call | more]},
            {"role": "tool", "tool_call_id": "c", "content": "easy " * 300},
        ]

    def _messages(self, *, calls: bool, binds: bool) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = [{"type": "text", "text": "done"}]
        if binds:
            parts.insert(0, {"type": "thinking", "thinking": "hm", "signature": "s"})
        if not calls:
            return [{"role": "assistant", "content": parts}]
        parts.append({"type": "tool_use", "id": "c", "name": "f", "input": {}})
        result = {"type": "tool_result", "tool_use_id": "c", "content": "easy " * 300}
        marked = result | {"cache_control": {"type": "ephemeral"}}
        return [{"role": "assistant", "content": parts}, {"role": "user", "content": [marked]}]

    def _responses(self, *, calls: bool, binds: bool) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        if binds:
            items.append({"type": "reasoning", "id": "rs", "encrypted_content": "x", "summary": []})
        if not calls:
            return [*items, {"role": "assistant", "content": "done"}]
        call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
        return [*items, call, {"type": "function_call_output", "call_id": "c", "output": "4 " * 99}]

    def _linked(self, **what: bool) -> list[dict[str, Any]]:
        return self._responses(**what)

    def _completions(self, *, calls: bool, binds: bool) -> list[dict[str, Any]]:  # noqa: ARG002
        return []


async def turn_of(running: Running, agent: Agent, **headers: str) -> dict[str, str]:
    """Routes and answers one turn; returns the headers of the decision."""
    async with stream(running.channel) as one:
        body = orjson.dumps(agent.body())
        ours = {f"x-routoo-{name.replace('_', '-')}": value for name, value in headers.items()}
        answer = await one.routed(body, ours, PATHS[agent.api])
        assert answer.HasField("request_body"), answer
        told = headers_of(answer.request_body.response.header_mutation)
        reply = agent.answered(told["x-routoo-model"], told["x-routoo-decision-id"])
        await one.say(reply_headers())
        await one.say(reply_body(orjson.dumps(reply)))
        await one.ended()
    return told


async def test_no_loop_and_nothing_bound_moves(tmp_path: Path) -> None:
    write_cached_pool(tmp_path / "pool.yaml")
    source = random.Random(7)  # noqa: S311 - it makes conversations
    routed = {"usage_from": "reply"}
    agents: list[Agent] = []
    chosen: set[str] = set()
    async with with_settings(tmp_path, processor=routed) as running:
        for turn in range(TURNS):
            if turn % 100 == 0:
                agents = [*agents, *(Agent(api, source) for api in PATHS)]
            agent = source.choice(agents[-10:])
            denied = source.choice(list(PROVIDERS))
            free = not agent.loop and not agent.bound
            told = await turn_of(running, agent, **({"denied_models": denied} if free else {}))
            chosen.add(told["x-routoo-model"])
            await all_ended(running)
    assert sum(agent.turns for agent in agents) == TURNS
    assert sum(agent.violations for agent in agents) == 0
    assert sum(bool(agent.bound) for agent in agents) > 10
    assert chosen == set(PROVIDERS)


@pytest.mark.parametrize("derive", [True, False])
async def test_headers_tell_of_the_session(tmp_path: Path, *, derive: bool) -> None:
    write_cached_pool(tmp_path / "pool.yaml")
    sections = {"processor": {"usage_from": "reply"}, "sessions": {"derive": derive}}
    agent = Agent("chat", random.Random(1))  # noqa: S311 - it makes conversations
    async with with_settings(tmp_path, **sections) as running:
        first = await turn_of(running, agent)
        await all_ended(running)
        agent.said.append({"role": "assistant", "content": "done"})
        agent.loop = ""
        second = await turn_of(running, agent)
        await all_ended(running)
        own = await turn_of(running, agent, current_model="large", session_id="mine")
    names = {"x-routoo-stay-reason", "x-routoo-switch-cost-usd"}
    assert not names & set(first)
    assert ("x-routoo-switch-cost-usd" in second) is derive
    assert "x-routoo-switch-cost-usd" in own
