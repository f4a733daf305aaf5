"""Random bodies of four APIs with what a provider bills for each: the tokens of every text in it.

The texts are frozen samples with the counts of real tokenizers, see ``token_counts.jsonl``, so that
the bill of a body depends on nothing that the service computes.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

COUNTS = Path(__file__).parent / "tables" / "token_counts.jsonl"
PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
_PER_MESSAGE = 4
_IMAGE = 1600


@cache
def samples() -> tuple[dict[str, Any], ...]:
    """Returns texts, each with its ``kind`` and its number of tokens by family."""
    return tuple(json.loads(line) for line in COUNTS.read_text(encoding="utf-8").splitlines())


@dataclass
class Billed:
    """A body, and what is billed for it.

    Attributes:
        api: its API.
        body: the JSON object.
        cap: the most tokens of one answer.
        answers: how many answers are billed.
        texts: positions in ``samples``, how often each is in it.
        tokens: input tokens besides them.
        predicted: texts that are billed as output, too, where a prediction is wrong.
    """

    api: str
    body: dict[str, Any]
    cap: int = 0
    answers: int = 1
    texts: Counter[int] = field(default_factory=Counter)
    tokens: int = 0
    predicted: Counter[int] = field(default_factory=Counter)

    def input_tokens(self, family: str) -> int:
        """Returns the input tokens that a tokenizer of a family counts."""
        return self.tokens + _sum(self.texts, family)

    def output_tokens(self, family: str) -> int:
        """Returns the output tokens where each answer reaches the cap."""
        return self.answers * (self.cap + _sum(self.predicted, family))


def _sum(texts: Counter[int], family: str) -> int:
    return sum(samples()[at][family] * times for at, times in texts.items())


def random_body(random: Random) -> Billed:
    """Makes a body of a random API."""
    api = random.choice(list(PATHS))
    billed = Billed(api, {"model": "auto"})
    _MAKERS[api](billed, random)
    return billed


def _text(billed: Billed, random: Random) -> str:
    at = random.randrange(len(samples()))
    billed.texts[at] += 1
    return str(samples()[at]["text"])


def _schema(billed: Billed, random: Random) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "description": _text(billed, random)}
    for _ in range(random.randrange(4)):
        schema = {"type": "object", "properties": {"field": schema}, "required": ["field"]}
    return schema


def _cap(billed: Billed, random: Random, own: tuple[str, ...], foreign: tuple[str, ...]) -> None:
    values = {name: random.choice([1, 16, 500, 4000, 32000]) for name in own}
    if len(values) > 1 and random.random() < 0.6:
        values.pop(random.choice(own))
    billed.cap = max(values.values())
    billed.body |= values
    if random.random() < 0.3:
        billed.body[random.choice(foreign)] = random.choice([1, 2, 100_000])


def _image(billed: Billed, part: dict[str, Any]) -> dict[str, Any]:
    billed.tokens += _IMAGE
    return part


def _chat_content(billed: Billed, random: Random, role: str) -> Any:
    parts: list[Any] = [
        {"type": "text", "text": _text(billed, random)} for _ in range(random.randint(1, 3))
    ]
    if role == "user" and random.random() < 0.2:
        url = {"url": "https://images.example/1.png"}
        parts.append(_image(billed, {"type": "image_url", "image_url": url}))
    if role == "user" and random.random() < 0.1:
        parts.append({"type": "new_kind_of_text", "text": _text(billed, random)})
    return parts[0]["text"] if len(parts) == 1 and random.random() < 0.5 else parts


def _chat_message(billed: Billed, random: Random) -> dict[str, Any]:
    billed.tokens += _PER_MESSAGE
    role = random.choice(["system", "user", "assistant", "tool", "developer"])
    message: dict[str, Any] = {"role": role, "content": None}
    if role != "assistant" or random.random() < 0.5:
        message["content"] = _chat_content(billed, random, role)
        return message
    call = {"name": "look_up", "arguments": _text(billed, random)}
    if random.random() < 0.5:
        message["function_call"] = call
    else:
        message["tool_calls"] = [{"id": "1", "type": "function", "function": call}]
    if random.random() < 0.3:
        message["reasoning_content"] = _text(billed, random)
    return message


def _chat(billed: Billed, random: Random) -> None:
    messages = [_chat_message(billed, random) for _ in range(random.randint(1, 5))]
    billed.body["messages"] = messages
    for _ in range(random.choice([0, 0, 1, 3])):
        tool = {"name": "tool", "description": _text(billed, random)}
        tool["parameters"] = _schema(billed, random)
        wrapped = {"type": "function", "function": tool}
        billed.body.setdefault("tools", []).append(wrapped)
    if random.random() < 0.2:
        wanted = {"name": "answer", "schema": _schema(billed, random)}
        billed.body["response_format"] = {"type": "json_schema", "json_schema": wanted}
    if random.random() < 0.1:
        text = _text(billed, random)
        billed.predicted[next(at for at, one in enumerate(samples()) if one["text"] == text)] += 1
        billed.body["prediction"] = {"type": "content", "content": text}
    if random.random() < 0.4:
        billed.answers = billed.body["n"] = random.randint(1, 8)
    _cap(
        billed, random, ("max_tokens", "max_completion_tokens"), ("max_output_tokens", "maxTokens")
    )


def _completions(billed: Billed, random: Random) -> None:
    prompts: list[Any] = []
    for _ in range(random.choice([1, 1, 2, 5])):
        if random.random() < 0.3:
            tokens = [random.randrange(100_000) for _ in range(random.randint(1, 400))]
            billed.tokens += len(tokens)
            prompts.append(tokens)
        else:
            prompts.append(_text(billed, random))
    billed.body["prompt"] = prompts[0] if len(prompts) == 1 else prompts
    answers = 1
    if random.random() < 0.3:
        answers = billed.body["n"] = random.randint(1, 4)
    if random.random() < 0.3:
        billed.body["best_of"] = random.randint(answers, 8)
        answers = billed.body["best_of"]
    billed.answers = answers * len(prompts)
    _cap(billed, random, ("max_tokens",), ("max_completion_tokens", "max_output_tokens"))


def _responses(billed: Billed, random: Random) -> None:
    _cap(billed, random, ("max_output_tokens",), ("max_tokens", "max_completion_tokens"))
    if random.random() < 0.1:
        billed.body["input"] = _text(billed, random)
        return
    if random.random() < 0.5:
        billed.body["instructions"] = _text(billed, random)
    items: list[dict[str, Any]] = []
    for _ in range(random.randint(1, 5)):
        kind = random.choice(["user", "call", "result", "reasoning", "file"])
        text = _text(billed, random)
        if kind == "user":
            items.append({"role": "user", "content": [{"type": "input_text", "text": text}]})
        elif kind == "call":
            items.append({"type": "function_call", "name": "look_up", "arguments": text})
        elif kind == "result":
            output: Any = random.choice([text, [{"type": "input_text", "text": text}]])
            items.append({"type": "function_call_output", "call_id": "1", "output": output})
        elif kind == "reasoning":
            items.append({"type": "reasoning", "summary": [{"type": "summary_text", "text": text}]})
        else:
            image = {"type": "input_image", "image_url": "https://images.example/1.png"}
            parts = [{"type": "input_text", "text": text}, _image(billed, image)]
            items.append({"role": "user", "content": parts})
        billed.tokens += _PER_MESSAGE
    billed.body["input"] = items
    for _ in range(random.choice([0, 0, 2])):
        tool = {"type": "function", "name": "tool", "description": _text(billed, random)}
        billed.body.setdefault("tools", []).append(tool | {"parameters": _schema(billed, random)})
    if random.random() < 0.2:
        wanted = {"type": "json_schema", "name": "answer", "schema": _schema(billed, random)}
        billed.body["text"] = {"format": wanted}


def _messages(billed: Billed, random: Random) -> None:
    if random.random() < 0.3:
        billed.body["system"] = _text(billed, random)
    elif random.random() < 0.5:
        parts = [
            {"type": "text", "text": _text(billed, random), "cache_control": {"type": "ephemeral"}}
            for _ in range(2)
        ]
        billed.body["system"] = parts
    messages = []
    for _ in range(random.randint(1, 5)):
        role = random.choice(["user", "assistant"])
        makers = [random.choice(_BLOCKS[role]) for _ in range(random.randint(1, 3))]
        content = [make(billed, random) for make in makers]
        messages.append({"role": role, "content": content})
        billed.tokens += _PER_MESSAGE
    billed.body["messages"] = messages
    for _ in range(random.choice([0, 0, 2])):
        tool = {"name": "tool", "description": _text(billed, random)}
        billed.body.setdefault("tools", []).append(tool | {"input_schema": _schema(billed, random)})
    _cap(billed, random, ("max_tokens",), ("max_completion_tokens", "max_output_tokens"))


_BLOCKS: dict[str, list[Any]] = {
    "user": [
        lambda billed, random: {"type": "text", "text": _text(billed, random)},
        lambda billed, random: {
            "type": "document",
            "title": _text(billed, random),
            "source": {"type": "text", "media_type": "text/plain", "data": _text(billed, random)},
        },
        lambda billed, random: {
            "type": "tool_result",
            "tool_use_id": "1",
            "content": [{"type": "text", "text": _text(billed, random)}],
        },
        lambda billed, random: {
            "type": "search_result",
            "source": "x",
            "title": _text(billed, random),
            "content": [{"type": "text", "text": _text(billed, random)}],
        },
        lambda billed, _: _image(
            billed, {"type": "image", "source": {"type": "url", "url": "https://x.example/1.png"}}
        ),
    ],
    "assistant": [
        lambda billed, random: {"type": "text", "text": _text(billed, random)},
        lambda billed, random: {
            "type": "tool_use",
            "id": "1",
            "name": "look_up",
            "input": {"query": {"deep": [_text(billed, random)]}},
        },
        lambda billed, random: {
            "type": "thinking",
            "thinking": _text(billed, random),
            "signature": "c2lnbmF0dXJl",
        },
    ],
}
_MAKERS: dict[str, Callable[[Billed, Random], None]] = {
    "chat": _chat,
    "completions": _completions,
    "responses": _responses,
    "messages": _messages,
}
