"""A server with the real API that answers by a script, failures and metadata included."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc

from routoo.v1 import outcome_pb2, route_pb2, router_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

DECIDED = route_pb2.RouteResponse(model="small", decision_id="d-1", predicted_score=0.5)


@dataclass(frozen=True, slots=True)
class Fails:
    """An answer that is a failure.

    Attributes:
        code: the status.
        pushback: the value of grpc-retry-pushback-ms; None: there is none.
        text: the message.
    """

    code: grpc.StatusCode
    pushback: str | None = None
    text: str = "no"


@dataclass(slots=True)
class Hangs:
    """An answer that never comes.

    Attributes:
        begun: set when the call has come.
    """

    begun: threading.Event = field(default_factory=threading.Event)


Answer = Fails | Hangs | route_pb2.RouteResponse | outcome_pb2.ReportOutcomeResponse


class ScriptedRouter(router_pb2_grpc.RouterServiceServicer):
    """Answers in the script's order, then with ``DECIDED``.

    Attributes:
        address: the address of the server.
        calls: the RPCs that came, with their metadata.
        remaining_s: the time to each call's deadline when it came, in seconds.
    """

    def __init__(self, *script: Answer) -> None:
        self.address = ""
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.remaining_s: list[float] = []
        self._script = list(script)

    def then(self, *script: Answer) -> None:
        """Adds answers to the script."""
        self._script.extend(script)

    def Route(  # noqa: N802 - the RPC's name
        self,
        request: route_pb2.RouteRequest,  # noqa: ARG002
        context: grpc.ServicerContext,
    ) -> route_pb2.RouteResponse:
        return self._next("Route", context, DECIDED)

    def ReportOutcome(  # noqa: N802
        self,
        request: outcome_pb2.ReportOutcomeRequest,  # noqa: ARG002
        context: grpc.ServicerContext,
    ) -> outcome_pb2.ReportOutcomeResponse:
        return self._next("ReportOutcome", context, outcome_pb2.ReportOutcomeResponse())

    def Escalate(  # noqa: N802
        self,
        request: outcome_pb2.EscalateRequest,  # noqa: ARG002
        context: grpc.ServicerContext,
    ) -> outcome_pb2.EscalateResponse:
        return self._next("Escalate", context, outcome_pb2.EscalateResponse())

    def _next(self, rpc: str, context: grpc.ServicerContext, usual: Any) -> Any:
        self.calls.append((rpc, dict(context.invocation_metadata())))
        self.remaining_s.append(context.time_remaining())
        answer = self._script.pop(0) if self._script else usual
        if isinstance(answer, Hangs):
            over = threading.Event()
            under_way = context.add_callback(over.set)
            answer.begun.set()
            if under_way:  # of a call that has ended, nothing calls back
                over.wait(60)
        if isinstance(answer, Fails):
            if answer.pushback is not None:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", answer.pushback),))
            context.abort(answer.code, answer.text)
        return answer


@contextmanager
def scripted_router(
    *script: Answer,
    address: str = "127.0.0.1:0",
    credentials: grpc.ServerCredentials | None = None,
) -> Iterator[ScriptedRouter]:
    """Starts a server on a free port or another address; with credentials, over TLS."""
    router = ScriptedRouter(*script)
    server = grpc.server(ThreadPoolExecutor(4))
    router_pb2_grpc.add_RouterServiceServicer_to_server(router, server)
    if credentials is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, credentials)
    router.address = f"127.0.0.1:{port}" if address.endswith(":0") else address
    server.start()
    yield router
    server.stop(10).wait()  # without a grace, gRPC logs the connections that it cuts
