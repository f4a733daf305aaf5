"""Random replies that look like those of providers, with usage in odd places and broken bytes."""

from __future__ import annotations

import json
from random import Random
from typing import Any

_KEYS = (
    *("usage", "message", "response", "choices", "delta", "text", "content", "prompt_tokens"),
    *("output_tokens", "cost", "model", "finish_reason", "usageMetadata", "promptTokensDetails"),
    *("modality", "tokenCount", "meta", "billed_units", "x", "arguments", "service_tier"),
    *("eval_count", "done", 'q"k', "total_tokens"),
)
_LEAVES: tuple[Any, ...] = (
    *(None, True, False, 1, 0, -3, 1e3, 1.5, 2e9, "12", "NaN", "stop", "\\", "é", 'a\\"b'),
    *('say "usage": {"prompt_tokens": 3}', float("nan"), float("inf"), "\\" * 3000),
    *("x", "x" * 300, "x" * 1100, "x" * 20_000),
)
_CONTAINERS = ("usage", "message", "response", "choices", "usageMetadata", "meta")
_STRAY = b'"{}[]\\:,x1\n'


def random_reply(seed: int, *, streams: bool) -> bytes:
    """Makes a reply; the same seed makes the same one.

    Args:
        seed: of the random generator.
        streams: whether it is a stream of events; otherwise it is JSON.
    """
    chance = Random(seed)  # noqa: S311 - the same reply in every run
    documents = [
        json.dumps(
            _document(chance),
            ensure_ascii=chance.random() < 0.5,
            separators=chance.choice([(",", ":"), (", ", ": ")]),
        ).encode()
        for _ in range(chance.randrange(1, 4))
    ]
    if streams:
        ends = (b"\n\n", b"\r\n\r\n", b"\n")
        body = b"".join(b"data: " + one + chance.choice(ends) for one in documents)
    else:
        body = b"\n".join(documents)
    if chance.random() < 0.5:
        return body
    broken = bytearray(body)
    for _ in range(chance.randrange(1, 5)):
        broken[chance.randrange(len(broken))] = chance.choice(_STRAY)
    return bytes(broken)


def _document(chance: Random) -> dict[str, Any]:
    inner = {chance.choice(_KEYS): _value(chance, 3) for _ in range(5)}
    outer = {chance.choice(_KEYS): _value(chance, 3) for _ in range(5)}
    return {chance.choice(_CONTAINERS): inner, **outer}


def _value(chance: Random, depth: int) -> Any:
    kind = chance.random()
    if kind < 0.35 and depth < 6:
        return {chance.choice(_KEYS): _value(chance, depth + 1) for _ in range(chance.randrange(4))}
    if kind < 0.45 and depth < 6:
        return [_value(chance, depth + 1) for _ in range(chance.randrange(3))]
    return chance.choice(_LEAVES)
