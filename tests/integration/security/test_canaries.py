"""Prompts, tokens and keys stay out of logs, metrics, error texts and other files."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path
from time import time
from typing import Any
from urllib.request import urlopen

import grpc
import orjson
import pytest

from routoo.api.security.tokens import append_token, new_token
from routoo.client.channel import Tls, token_metadata
from routoo.telemetry.logs import ForeignLogs, error_shape
from routoo.v1 import batch_pb2, outcome_pb2, route_pb2
from routoo.v1.router_pb2_grpc import RouterServiceStub
from support.certificates import authority
from support.processes.process import ROUTOO, exit_code, line_of, process, write_tiny_config
from support.tiny_service import connected
from support.watched import HANG_S

LEAKY = (str(Path(__file__).parents[2] / "support" / "processes" / "leaky_serve.py"),)
CANARY = "canary-5d1f"
PROMPT = f"easy {CANARY}-prompt"
SYSTEM = f"{CANARY}-system"
CODES = grpc.StatusCode


def chat(*texts: str) -> Any:
    return [route_pb2.ChatMessage(role="system", content=SYSTEM)] + [
        route_pb2.ChatMessage(role="user", content=text) for text in texts
    ]


def attempts(prompt: str) -> list[tuple[str, Any]]:
    """Returns good and bad calls of every RPC that takes prompts."""
    one = route_pb2.RouteRequest(prompt=prompt)
    both = route_pb2.RouteRequest(prompt=prompt, messages=chat(prompt))
    choosy = route_pb2.RouteRequest(prompt=prompt, max_cost_usd=0.0, min_score=1.0)
    return [
        ("Route", one),
        ("Route", route_pb2.RouteRequest(messages=chat(prompt))),
        ("Route", both),
        ("Route", choosy),
        ("Route", route_pb2.RouteRequest(prompt=prompt, policy="none")),
        ("Route", route_pb2.RouteRequest(prompt=prompt, tenant="other")),
        ("Route", route_pb2.RouteRequest(prompt=prompt + " long" * 2000)),
        ("RouteBatch", batch_pb2.RouteBatchRequest(requests=[one], budget_usd=1.0)),
        ("RouteBatch", batch_pb2.RouteBatchRequest(requests=[one, both])),
        ("RouteBatch", batch_pb2.RouteBatchRequest(requests=[one], budget_usd=0.0)),
        ("Frontier", batch_pb2.FrontierRequest(requests=[one, choosy])),
        ("Escalate", outcome_pb2.EscalateRequest(decision_id="none")),
    ]


async def test_nothing_that_is_secret_leaves_the_service(tmp_path: Path) -> None:
    token, stored = new_token("a", ["route"], time())
    append_token(tmp_path / "tokens.jsonl", stored)
    # The secret may have an underscore itself: routoo_ID_SECRET.
    secrets = [CANARY, token, token.split("_", 2)[2]]
    config = write_tiny_config(
        tmp_path,
        metrics={"listen": "127.0.0.1:0"},
        security={"tokens": "tokens.jsonl"},
        budgets=[{"name": "a", "tenant": "a", "usd": 1000.0, "per": "30d"}],
        limits={"max_prompt_chars": 5000},
        decision_log={"path": "decisions.jsonl"},
        log={"level": "debug"},
    )
    seen: list[str] = []
    codes: set[grpc.StatusCode] = set()

    async def call(method: Any, request: Any, metadata: Any) -> None:
        try:
            await method(request, metadata=metadata, timeout=60)
        except grpc.aio.AioRpcError as error:
            codes.add(error.code())
            seen.append(f"{error.details()} {error.trailing_metadata()}")

    async with process(*LEAKY, "serve", "--config", str(config)) as running:
        ready = await line_of(running, "ready ")
        address, metrics = ready.split()[1], ready.split("metrics=")[1].split()[0]
        good = token_metadata(token, address, None)
        wrong = (("authorization", f"Bearer {token[:-1]}{CANARY}"),)
        odd = (*good, ("x-odd", CANARY))
        async with connected(address) as channel:
            stub = RouterServiceStub(channel)
            for prompt in (PROMPT, f"explode {PROMPT}", f"unawaited {PROMPT}"):
                for name, request in attempts(prompt):
                    for metadata in (good, wrong, odd, None):
                        await call(getattr(stub, name), request, metadata)
                raw = channel.unary_unary("/routoo.v1.RouterService/Route")
                await call(raw, b"\xff" + prompt.encode(), good)
                stream = stub.RouteStream(metadata=good, timeout=60)
                await stream.write(route_pb2.RouteRequest(prompt=prompt))
                await stream.done_writing()
                seen.extend([str(reply) async for reply in stream])
        page = await asyncio.to_thread(
            lambda: urlopen(f"http://{metrics}/metrics", timeout=HANG_S).read().decode()
        )
        running.send_signal(signal.SIGTERM)
        assert running.stderr is not None
        log = (await running.stderr.read()).decode()
        assert await exit_code(running) == 0
    written = (tmp_path / "decisions.jsonl").read_text()
    for name, text in (
        ("replies", "\n".join(seen)),
        ("metrics", page),
        ("log", log),
        ("ready", ready),
        ("decision log", written),
    ):
        for secret in secrets:
            assert secret not in text, name
    # The errors did happen, and are logged without their texts.
    assert codes >= {
        *(CODES.INTERNAL, CODES.INVALID_ARGUMENT, CODES.UNAUTHENTICATED),
        *(CODES.PERMISSION_DENIED, CODES.FAILED_PRECONDITION),
    }
    lines = [orjson.loads(line) for line in log.splitlines()]
    failed = [line["exception"] for line in lines if line["event"] == "call failed"]
    assert any(
        "builtins.KeyError" in text and "which led to:\nbuiltins.ValueError" in text
        for text in failed
    )
    assert all("leaky_serve.py:" in text for text in failed)
    assert any(line.get("thread") == "broken" for line in lines)
    foreign = {line["logger"]: line["text"] for line in lines if "logger" in line}
    assert foreign["some.library"] == "refused %s"
    assert foreign["asyncio"] == "Task exception was never retrieved"
    assert len(written.splitlines()) >= 4


async def test_a_key_that_is_refused_is_not_quoted(tmp_path: Path) -> None:
    tls = authority(tmp_path).serve()
    del tls["client_ca"]
    (tmp_path / "server.key").write_text(f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n")
    config = write_tiny_config(tmp_path, security={"tls": tls})
    async with process(*ROUTOO, "check-config", str(config)) as running:
        said = b"".join(await running.communicate()).decode()
        assert running.returncode == 2
    assert "are not a PEM certificate and its key" in said
    assert CANARY not in said


def test_credentials_do_not_show_in_representations() -> None:
    tls = Tls(ca=b"x", certificate=CANARY.encode(), key=CANARY.encode())
    assert CANARY not in repr(tls)
    for token in (f"{CANARY} {CANARY}", f"{CANARY}\n{CANARY}", "\N{SNOWMAN}" + CANARY):
        with pytest.raises(ValueError, match="has characters that no token has") as caught:
            token_metadata(token, "127.0.0.1:1", None)
        assert CANARY not in str(caught.value)


def test_a_token_does_not_leave_the_machine_in_the_clear() -> None:
    for address in ("10.0.0.1:50051", "router.example:1", "dns:///router:50051", "0.0.0.0:1"):
        with pytest.raises(ValueError, match="would be sent there unencrypted; use TLS"):
            token_metadata("t", address, None)
        assert token_metadata("t", address, Tls()) == (("authorization", "Bearer t"),)
        assert token_metadata("t", address, None, insecure=True)
    for address in ("127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/run/a.sock", "unix:a.sock"):
        assert token_metadata("t", address, None) == (("authorization", "Bearer t"),)
    assert token_metadata(None, "10.0.0.1:1", None) == ()


def test_the_shape_of_an_error_tells_places_and_kinds_alone() -> None:
    def fails() -> None:
        raise ExceptionGroup(CANARY, [KeyError(CANARY)])

    try:
        try:
            fails()
        except ExceptionGroup as group:
            raise OSError(CANARY) from group
    except OSError as error:
        shape = error_shape((type(error), error, error.__traceback__))
    assert CANARY not in shape
    assert [line for line in shape.splitlines() if not line.startswith("  ")] == [
        "builtins.ExceptionGroup",
        "builtins.KeyError",
        "which led to:",
        "builtins.OSError",
    ]
    assert "test_canaries.py:" in shape


def test_what_a_library_repeats_is_passed_on_once_a_second() -> None:
    said: list[tuple[int, str]] = []

    class Log:
        def log(self, level: int, _event: str, **values: str) -> None:
            said.append((level, values["text"]))

    now_s = [0.0]
    handler = ForeignLogs(Log(), lambda: now_s[0])  # type: ignore[arg-type]

    def emit(text: str) -> None:
        handler.emit(logging.LogRecord("grpc", logging.ERROR, "", 1, text, (CANARY,), None))

    for _ in range(100):
        emit("Invalid encoding on %s")
        emit(f"other\n{CANARY}")
    assert said == [(logging.ERROR, "Invalid encoding on %s"), (logging.ERROR, "other")]
    now_s[0] = 1.0
    emit("Invalid encoding on %s")
    assert len(said) == 3
