"""A coding agent with Anthropic's library, which asks as Claude Code does.

    python examples/coding_agent.py "How many lines has pyproject.toml?"

It counts the tokens of a turn, streams it with tools and marks of caches, carries out what the
model calls, and goes on until there is an answer. Routoo keeps the model while a tool's result is
awaited, and weighs what its provider has cached before it takes another one. ROUTOO_URL names the
HTTP front of ``routoo serve``, or an Envoy beside it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import anthropic

URL = os.environ.get("ROUTOO_URL", "http://127.0.0.1:8080")
MOST_TURNS = 8
TOOL = {
    "name": "count_lines",
    "description": "Counts the lines of a file.",
    "input_schema": {
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "required": ["path"],
    },
}
SYSTEM = [
    {
        "type": "text",
        "text": "You help with software. Use the tools to look things up.",
        "cache_control": {"type": "ephemeral"},
    }
]


def count_lines(path: str) -> str:
    """Returns the number of lines of a file, or why there is none."""
    try:
        return str(len(Path(path).read_text(encoding="utf-8").splitlines()))
    except OSError as error:
        return f"error: {error.strerror}"


def main(task: str) -> None:
    """Works on a task until the model calls no more tools."""
    client = anthropic.Anthropic(
        base_url=URL, api_key=os.environ.get("ANTHROPIC_API_KEY", "none needed")
    )
    text = {"type": "text", "text": task, "cache_control": {"type": "ephemeral"}}
    messages: list[dict[str, Any]] = [{"role": "user", "content": [text]}]
    asked: dict[str, Any] = {"model": "auto", "system": SYSTEM, "tools": [TOOL]}
    counted = client.messages.count_tokens(messages=messages, **asked)
    print("input:", counted.input_tokens, "tokens")
    for _ in range(MOST_TURNS):
        with client.messages.stream(messages=messages, max_tokens=2000, **asked) as stream:
            reply = stream.get_final_message()
            print("chosen:", stream.response.headers["x-routoo-model"])
        messages.append({"role": "assistant", "content": reply.content})
        calls = [block for block in reply.content if block.type == "tool_use"]
        if not calls:
            print("answer:", "".join(one.text for one in reply.content if one.type == "text"))
            return
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": count_lines(**call.input)}
            for call in calls
        ]
        messages.append({"role": "user", "content": results})
    print("no answer after", MOST_TURNS, "turns", file=sys.stderr)


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "How many lines has pyproject.toml?")
