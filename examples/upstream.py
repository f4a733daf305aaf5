"""A provider to try Routoo with, on this machine: it answers every chat at once, and needs no key.

    python examples/upstream.py                # on 127.0.0.1:8001
    python examples/upstream.py --port 8002

It speaks OpenAI's chat completions, streams included, for whatever model is asked, and tells the
usage of each answer as a provider does; of its models it lists some. The answers are not worth
reading: they say which model was asked, and what.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_NUMBERS = itertools.count(1)
MODELS = (
    "meta-llama/llama-3.1-8b-instruct",
    "deepseek/deepseek-v4-flash",
    "google/gemini-3.5-flash",
    "anthropic/claude-opus-4-8",
)
LONGEST_BODY_BYTES = 16 * 1024 * 1024


class Provider(BaseHTTPRequestHandler):
    """One connection of a caller."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Lists some models; it answers for any other, too."""
        if self.path.endswith("/models"):
            listed = [{"id": name, "object": "model", "owned_by": "nobody"} for name in MODELS]
            self._send(200, {"object": "list", "data": listed})
        else:
            self._send(404, {"error": {"message": "no such door", "type": "not_found_error"}})

    def do_POST(self) -> None:
        """Answers a chat; any other path is not found."""
        length = int(self.headers.get("content-length") or 0)
        if not 0 < length <= LONGEST_BODY_BYTES:
            self._send(400, {"error": {"message": "no body", "type": "invalid_request_error"}})
            return
        asked = json.loads(self.rfile.read(length))
        if not self.path.endswith("/chat/completions"):
            self._send(404, {"error": {"message": "no such door", "type": "not_found_error"}})
            return
        words = " ".join(_text(one.get("content")) for one in asked.get("messages", ()))
        answer = f"{asked['model']} was asked: {words[:200]}"
        usage = {"prompt_tokens": len(words.split()), "completion_tokens": len(answer.split())}
        usage["total_tokens"] = sum(usage.values())
        if asked.get("stream"):
            self._stream(asked, answer, usage)
        else:
            message = {"role": "assistant", "content": answer}
            self._send(200, _chunk(asked["model"], "chat.completion", message, "message", usage))

    def log_message(self, *_: Any) -> None:
        """Says nothing of each request."""

    def _send(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, asked: dict[str, Any], answer: str, usage: dict[str, int]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        model, kind = asked["model"], "chat.completion.chunk"
        for word in answer.split(" "):
            delta = {"role": "assistant", "content": f"{word} "}
            self._event(_chunk(model, kind, delta, "delta", None))
        last = _chunk(model, kind, {}, "delta", None)
        last["choices"][0]["finish_reason"] = "stop"
        self._event(last)
        if (asked.get("stream_options") or {}).get("include_usage"):
            self._event({**last, "choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _event(self, value: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content or ()
    return " ".join(part.get("text", "") for part in parts if isinstance(part, dict))


def _chunk(
    model: str, kind: str, part: dict[str, Any], name: str, usage: dict[str, int] | None
) -> dict[str, Any]:
    finish = "stop" if usage else None
    made: dict[str, Any] = {
        "id": f"chatcmpl-{next(_NUMBERS)}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, name: part, "finish_reason": finish}],
    }
    return {**made, "usage": usage} if usage else made


def main() -> None:
    """Serves until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8001)
    with ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), Provider) as server:
        print(f"answers on http://127.0.0.1:{server.server_port}/v1", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
