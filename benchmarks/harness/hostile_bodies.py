"""Bodies of 4 MB that are made to take long, and a client that sends them.

Run as a script, it sends one of them several times to the processor, or as a call, and prints one
line per answer: the time it was sent and the time of its answer (s, monotonic), and what came.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final

import grpc

from routoo.v1 import batch_pb2, route_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BYTES: Final = 4 * 1024 * 1024 - 256
_PROCESS: Final = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
_SERVICE: Final = "/routoo.v1.RouterService/"
_SAID: Final = b'{"model":"auto","messages":[{"role":"user","content":"hello"}]'


@dataclass(frozen=True, slots=True)
class Sent:
    """A body that was sent.

    Attributes:
        sent_s: when, in seconds of the machine's monotonic clock.
        answered_s: when the answer came.
        answer: what it was.
    """

    sent_s: float
    answered_s: float
    answer: str


def sent(address: str, name: str, times: int) -> list[Sent]:
    """Sends a body of ``BODIES`` or ``CALLS`` from a process of its own, one after the other.

    Raises:
        RuntimeError: the client failed.
    """
    found = subprocess.run(
        [sys.executable, __file__, address, name, str(times)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if found.returncode:
        raise RuntimeError(f"the client that sends {name} failed")
    rows = (line.split(maxsplit=2) for line in found.stdout.splitlines())
    return [Sent(float(at), float(answered), answer) for at, answered, answer in rows]


def _many(value: bytes) -> bytes:
    return b",".join([value] * (_BYTES // (len(value) + 1)))


def _chat(content: bytes) -> bytes:
    return b'{"model":"auto","messages":[{"role":"user","content":%b}]}' % content


def _deep(opens: bytes, closes: bytes) -> bytes:
    depth = _BYTES // len(opens + closes)
    return opens * depth + b"1" + closes * depth


BODIES: Final[Mapping[str, Callable[[], bytes]]] = {
    "lists in metadata": lambda: _SAID + b',"metadata":[%b]}' % _many(b"[]"),
    "lists as messages": lambda: b'{"model":"auto","messages":[%b]}' % _many(b"[]"),
    "lists as tools": lambda: _SAID + b',"tools":[%b]}' % _many(b"[]"),
    "deep objects": lambda: _SAID + b',"tools":[%b]}' % _deep(b'{"a":', b"}"),
    "deep arrays": lambda: _SAID + b',"tools":%b}' % _deep(b"[", b"]"),
    "escapes": lambda: _chat(b'"%b"' % (rb"\u0041" * (_BYTES // 6))),
    "half pairs": lambda: _chat(b'"%b"' % (rb"\ud83d" * (_BYTES // 6))),
    "messages": lambda: (
        b'{"model":"auto","messages":[%b]}' % _many(b'{"role":"user","content":"x"}')
    ),
    "texts": lambda: b'{"model":"auto","messages":[%b]}' % _many(b'"a"'),
    "one number": lambda: _SAID + b',"n":%b}' % (b"1" * _BYTES),
    "one text": lambda: _chat(b'"%b"' % (b"7" * _BYTES)),
    "keys": lambda: (
        _SAID + b',"metadata":{%b}}' % b",".join(b'"%d":1' % at for at in range(_BYTES // 11))
    ),
    "no JSON": lambda: b'{"model":"auto","messages":[%b,]}' % _many(b"[]"),
}
"""Request bodies, by names."""


def _messages() -> tuple[str, bytes]:
    said = [route_pb2.ChatMessage(role="user", content="hello")] * 100_000
    return "Route", route_pb2.RouteRequest(messages=said).SerializeToString()


def _prompts() -> tuple[str, bytes]:
    prompt = route_pb2.RouteRequest(prompt="hello there " * 80_000)
    return "RouteBatch", batch_pb2.RouteBatchRequest(requests=[prompt] * 4).SerializeToString()


CALLS: Final[Mapping[str, Callable[[], tuple[str, bytes]]]] = {
    "Route of 100,000 messages": _messages,
    "RouteBatch of 4 MB": _prompts,
}
"""Calls and their messages, by names."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Sends a hostile body; logs each answer.")
    parser.add_argument("address")
    parser.add_argument("name")
    parser.add_argument("times", type=int)
    arguments = parser.parse_args()
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(arguments.address, options) as channel:
        grpc.channel_ready_future(channel).result(timeout=30)
        send = _sender(channel, arguments.name)
        for _ in range(arguments.times):
            sent_s = monotonic()
            answer = send()
            print(sent_s, monotonic(), answer)
    return 0


def _sender(channel: grpc.Channel, name: str) -> Callable[[], str]:
    if name in CALLS:
        rpc, message = CALLS[name]()
        call = channel.unary_unary(_SERVICE + rpc)

        def routed() -> str:
            try:
                call(message, timeout=60)
            except grpc.RpcError as error:
                return str(error.code().name)  # type: ignore[attr-defined]
            return "OK"

        return routed
    # In the other scripts benchmarks/envoy.py has that name.
    from routoo.api.extproc.envoy import ext_proc_pb2 as ext_proc  # noqa: PLC0415

    head, body = ext_proc.ProcessingRequest(), ext_proc.ProcessingRequest()
    for key, value in ((":method", "POST"), (":path", "/v1/chat/completions")):
        head.request_headers.headers.headers.add(key=key, raw_value=value.encode())
    body.request_body.body = BODIES[name]()
    body.request_body.end_of_stream = True
    messages = [head.SerializeToString(), body.SerializeToString()]
    process = channel.stream_stream(_PROCESS)

    def processed() -> str:
        answers = [
            ext_proc.ProcessingResponse.FromString(one)
            for one in process(iter(messages), timeout=60)
        ]
        last = answers[-1] if len(answers) > 1 else ext_proc.ProcessingResponse()
        status = last.immediate_response.status.code
        return f"refused {status}" if status else last.WhichOneof("response") or "passed"

    return processed


if __name__ == "__main__":
    sys.exit(main())
