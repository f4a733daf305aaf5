"""An OpenAI-compatible server whose answers are a function of the request."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(slots=True)
class ScriptedLlm:
    """A server that runs.

    Attributes:
        answer: gets a request, and returns a text, or a status and the body as it is sent.
        url: its base address.
        asked: all requests, oldest first.
        keys: the authorization of each.
        retry_after: of replies that are no answer; empty: none.
    """

    answer: Callable[[dict[str, Any]], str | tuple[int, bytes]]
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    retry_after: str = ""

    def of(self, model: str) -> list[dict[str, Any]]:
        """The requests to a model."""
        return [one for one in self.asked if one["model"] == model]


INPUT_TOKENS, OUTPUT_TOKENS = 10, 20


def chat_reply(text: str | None, **message: Any) -> bytes:
    """The body of a chat reply, with its usage."""
    choice = {"index": 0, "finish_reason": "stop"}
    told = {"role": "assistant", "content": text, **message}
    usage = {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
    }
    return json.dumps({"choices": [{**choice, "message": told}], "usage": usage}).encode()


@contextmanager
def scripted_llm(
    answer: Callable[[dict[str, Any]], str | tuple[int, bytes]],
) -> Iterator[ScriptedLlm]:
    """Runs the server on a free port."""
    llm = ScriptedLlm(answer)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:
                self.close_connection = True  # the client has left, or read enough

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                llm.asked.append(asked)
                llm.keys.append(self.headers.get("authorization", ""))
                found = llm.answer(asked)
            status, body = (200, chat_reply(found)) if isinstance(found, str) else found
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            if status != 200 and llm.retry_after:
                self.send_header("retry-after", llm.retry_after)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    llm.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield llm
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
