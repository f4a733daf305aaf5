"""Replies of LLM APIs that call a tool, whole and as the events of a stream."""

from __future__ import annotations

import json
from typing import Any

CALL_ID = "call_1"
_RESULTS = ("tool", "function_call_output", "tool_result")


def is_to_call(asked: dict[str, Any]) -> bool:
    """Returns whether a request offers tools, and its last item is no result of one."""
    items = asked.get("messages", asked.get("input"))
    if not asked.get("tools") or not isinstance(items, list) or not items:
        return False
    last = items[-1]
    content = last.get("content")
    parts = content if isinstance(content, list) else []
    kinds = [last.get("role"), last.get("type"), *(part.get("type") for part in parts)]
    return not any(kind in _RESULTS for kind in kinds)


def whole(path: str, asked: dict[str, Any], arguments: str) -> dict[str, Any]:
    """Returns the reply that calls the first tool, without its usage."""
    model, name = asked.get("model"), _tool(asked)
    if path.startswith("/v1/messages"):
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [_block(name, json.loads(arguments))],
            "stop_reason": "tool_use",
        }
    if path.startswith("/v1/responses"):
        return _response(model, [_item(name, arguments)])
    call = {"id": CALL_ID, "type": "function", "function": {"name": name, "arguments": arguments}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}],
    }


def events(
    path: str, asked: dict[str, Any], arguments: str, usage: dict[str, Any]
) -> list[dict[str, Any]]:
    """Returns the events of a stream that calls the first tool.

    Args:
        path: of the request.
        asked: its body.
        arguments: those of the call, JSON.
        usage: as the API of the path tells it.
    """
    model, name = asked.get("model"), _tool(asked)
    if path.startswith("/v1/messages"):
        message = {**whole(path, asked, arguments), "content": [], "stop_reason": None}
        delta = {"type": "input_json_delta", "partial_json": arguments}
        return [
            {"type": "message_start", "message": {**message, "usage": usage}},
            {"type": "content_block_start", "index": 0, "content_block": _block(name, {})},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": usage},
            {"type": "message_stop"},
        ]
    if path.startswith("/v1/responses"):
        item = _item(name, arguments)
        done = _response(model, [item])
        return [
            {"type": "response.created", "response": {**done, "output": []}},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": {**done, "usage": usage}},
        ]
    reply = whole(path, asked, arguments)
    start = {**reply, "object": "chat.completion.chunk"}
    (call,) = reply["choices"][0]["message"]["tool_calls"]
    delta = {"role": "assistant", "tool_calls": [{**call, "index": 0}]}
    return [
        {**start, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**start, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
        {**start, "choices": [], "usage": usage},
    ]


def _tool(asked: dict[str, Any]) -> str:
    first = asked["tools"][0]
    name: str = first.get("function", first)["name"]
    return name


def _block(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": CALL_ID, "name": name, "input": arguments}


def _item(name: str, arguments: str) -> dict[str, Any]:
    return {
        "type": "function_call",
        "id": "fc_1",
        "call_id": CALL_ID,
        "name": name,
        "arguments": arguments,
        "status": "completed",
    }


def _response(model: Any, output: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": model,
        "status": "completed",
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
