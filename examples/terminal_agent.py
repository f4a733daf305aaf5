"""A terminal agent with OpenAI's Responses API, which asks as Codex does.

    python examples/terminal_agent.py "What is in this folder?"

The provider stores nothing: each turn sends all items again, with reasoning that is encrypted, and
a key under which its prompt is cached. Routoo takes that key for the session. ROUTOO_URL names the
HTTP front of ``routoo serve``, or an Envoy beside it.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from pathlib import Path
from typing import Any

import openai

URL = os.environ.get("ROUTOO_URL", "http://127.0.0.1:8080")
MOST_TURNS = 8
TOOL = {
    "type": "function",
    "name": "list_folder",
    "description": "Lists the names in a folder.",
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "required": ["path"],
    },
}


def list_folder(path: str) -> str:
    """Returns the names in a folder, or why there are none."""
    try:
        return "\n".join(sorted(one.name for one in Path(path).iterdir()))
    except OSError as error:
        return f"error: {error.strerror}"


def main(task: str) -> None:
    """Works on a task until the model calls no more tools."""
    client = openai.OpenAI(
        base_url=f"{URL}/v1", api_key=os.environ.get("OPENAI_API_KEY", "none needed")
    )
    items: list[Any] = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": task}]}
    ]
    key = str(uuid.uuid4())
    for _ in range(MOST_TURNS):
        opened = client.responses.with_raw_response.create(
            model="auto",
            instructions="You are a coding agent in a terminal.",
            input=items,
            tools=[TOOL],
            parallel_tool_calls=False,
            store=False,
            stream=True,
            include=["reasoning.encrypted_content"],
            prompt_cache_key=key,
        )
        print("chosen:", opened.headers["x-routoo-model"])
        output: list[Any] = []
        for event in opened.parse():
            if event.type == "response.completed":
                output = [one.model_dump(exclude_none=True) for one in event.response.output]
        items += output
        calls = [one for one in output if one["type"] == "function_call"]
        if not calls:
            said = [part["text"] for one in output for part in one.get("content", ())]
            print("answer:", "".join(said))
            return
        items += [
            {
                "type": "function_call_output",
                "call_id": call["call_id"],
                "output": list_folder(**json.loads(call["arguments"])),
            }
            for call in calls
        ]
    print("no answer after", MOST_TURNS, "turns", file=sys.stderr)


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "What is in this folder?")
