"""The client that other Python services import.

    from routoo.client import RouterClient

    with RouterClient("127.0.0.1:50051", timeout_s=0.5) as router:
        decision = router.route("Prove that sqrt(2) is irrational", max_cost_usd=0.01)
        print(decision.model, decision.predicted_score, decision.predicted_cost_usd)

Arguments are plain Python values named as in ``proto/routoo/v1/route.proto``; replies are the
protobuf messages themselves (``routoo.v1``), whose fields that file documents with their units.
``to_dict`` turns any of them into plain dicts and lists. A refused or failed call raises
``RouterError``; a value that no request can carry raises ``TypeError`` or ``ValueError`` before
anything is sent.

A client holds one HTTP/2 connection, made on the first call and remade when it breaks. Make one
and share it: ``RouterClient`` between threads, ``AsyncRouterClient`` between the tasks of one
event loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TypeVar, Unpack

import grpc
import grpc.aio

from routoo.messages import (
    BatchOptions,
    Outcome,
    Prompt,
    RequestOptions,
    make_batch,
    make_frontier,
    make_request,
    to_dict,
)
from routoo.signals import Signal, make_escalation
from routoo.v1.budget_pb2 import GetBudgetRequest, GetBudgetResponse
from routoo.v1.info_pb2 import (
    GetInfoRequest,
    GetInfoResponse,
    ListModelsRequest,
    ListModelsResponse,
)
from routoo.v1.outcome_pb2 import ReportOutcomeRequest
from routoo.v1.router_pb2_grpc import RouterServiceStub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from google.protobuf.message import Message

    from routoo.v1.batch_pb2 import (
        FrontierResponse,
        RouteBatchResponse,
    )
    from routoo.v1.outcome_pb2 import EscalateResponse
    from routoo.v1.route_pb2 import RouteRequest, RouteResponse

__all__ = [
    "DEFAULT_ADDRESS",
    "MAX_MESSAGE_BYTES",
    "AsyncRouterClient",
    "BatchOptions",
    "Outcome",
    "Prompt",
    "RequestOptions",
    "RouterClient",
    "RouterError",
    "make_request",
    "to_dict",
]

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_TIMEOUT_S = 10.0
MAX_MESSAGE_BYTES = 128 * 1024 * 1024
"""As the service's ``limits.max_message_bytes``: a batch of 100,000 prompts fits."""

_CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)

_Reply = TypeVar("_Reply")


class RouterError(Exception):
    """The service refused the call, failed, or could not be reached.

    Attributes:
        code: the gRPC status, e.g. ``StatusCode.FAILED_PRECONDITION`` when no model is left.
        message: one line; the service's own words where it answered.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(code, message)

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class RouterClient:
    """Blocking client; safe to share between threads. Close it, or use it as a context manager.

    Args:
        address: ``HOST:PORT`` of the service, or any other gRPC target.
        timeout_s: deadline of each call, in seconds, unless the call names its own.
    """

    def __init__(
        self, address: str = DEFAULT_ADDRESS, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> None:
        self._channel = grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self._stub = RouterServiceStub(self._channel)
        self._timeout_s = timeout_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls in flight are cancelled."""
        self._channel.close()

    def route(
        self, prompt: Prompt, *, timeout_s: float | None = None, **options: Unpack[RequestOptions]
    ) -> RouteResponse:
        """Decides one prompt.

        Raises:
            RouterError: INVALID_ARGUMENT, FAILED_PRECONDITION (no model is left),
                RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, UNAVAILABLE, INTERNAL.
        """
        return self._call(self._stub.Route, make_request(prompt, **options), timeout_s)

    def route_many(
        self,
        requests: Iterable[Prompt | RouteRequest],
        *,
        timeout_s: float | None = None,
        **options: Unpack[BatchOptions],
    ) -> RouteBatchResponse:
        """Decides many prompts jointly; ``responses`` are in the order of ``requests``.

        Args:
            requests: prompts, or requests with constraints of their own from ``make_request``.
            timeout_s: deadline of this call, in seconds; None: the client's.
            options: what the batch has to keep, see ``BatchOptions``.

        Raises:
            RouterError: as ``route``; FAILED_PRECONDITION also when the batch constraints cannot
                be met.
        """
        batch = make_batch(requests, options)
        return self._call(self._stub.RouteBatch, batch, timeout_s)

    def frontier(
        self,
        requests: Iterable[Prompt | RouteRequest],
        *,
        max_points: int = 0,
        score_std_weight: float = 0.0,
        timeout_s: float | None = None,
    ) -> FrontierResponse:
        """What each amount of money would buy for these prompts; decides nothing.

        Args:
            requests: as for ``route_many``.
            max_points: points of the curve, 2 or more; 0: every vertex.
            score_std_weight: how many standard deviations to take off each predicted score.
            timeout_s: deadline of this call, in seconds; None: the client's.

        Raises:
            RouterError: as ``route``.
        """
        request = make_frontier(requests, max_points, score_std_weight)
        return self._call(self._stub.Frontier, request, timeout_s)

    def escalate(
        self, decision_id: str, *, timeout_s: float | None = None, **signal: Unpack[Signal]
    ) -> EscalateResponse:
        """Keeps an answer that was seen, or decides which model is asked next.

        Raises:
            RouterError: as ``route``; FAILED_PRECONDITION also where the decision is not open any
                more, or no rule knows the signal.
        """
        return self._call(self._stub.Escalate, make_escalation(decision_id, **signal), timeout_s)

    def models(
        self, *, curve_points: int = 0, timeout_s: float | None = None
    ) -> ListModelsResponse:
        """The pool and, when ``curve_points`` > 0, its cost-quality curve.

        Raises:
            RouterError: as ``route``.
        """
        request = ListModelsRequest(curve_points=curve_points)
        return self._call(self._stub.ListModels, request, timeout_s)

    def info(self, *, timeout_s: float | None = None) -> GetInfoResponse:
        """The service's versions and limits.

        Raises:
            RouterError: as ``route``.
        """
        return self._call(self._stub.GetInfo, GetInfoRequest(), timeout_s)

    def report(
        self, decision_id: str, *, timeout_s: float | None = None, **outcome: Unpack[Outcome]
    ) -> bool:
        """Reports what really happened, once per decision; settles its cost in the budgets.

        Returns:
            Whether it was booked: not when the decision is unknown or was reported before.

        Raises:
            RouterError: as ``route``.
        """
        request = ReportOutcomeRequest(decision_id=decision_id, **outcome)
        return (self._call(self._stub.ReportOutcome, request, timeout_s)).accepted

    def budgets(self, *, tenant: str = "", timeout_s: float | None = None) -> GetBudgetResponse:
        """What is left of the budgets: all, or those that apply to a tenant.

        Raises:
            RouterError: as ``route``.
        """
        request = GetBudgetRequest(tenant=tenant)
        return self._call(self._stub.GetBudget, request, timeout_s)

    def _call(
        self, method: Callable[..., _Reply], request: Message, timeout_s: float | None
    ) -> _Reply:
        try:
            return method(request, timeout=self._timeout_s if timeout_s is None else timeout_s)
        except grpc.RpcError as error:
            raise _router_error(error) from error


class AsyncRouterClient:
    """``RouterClient`` for asyncio: the same methods, awaited; ``async with`` closes it."""

    def __init__(
        self, address: str = DEFAULT_ADDRESS, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self._stub = RouterServiceStub(self._channel)
        self._timeout_s = timeout_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """See ``RouterClient.close``."""
        await self._channel.close(grace=None)

    async def route(
        self, prompt: Prompt, *, timeout_s: float | None = None, **options: Unpack[RequestOptions]
    ) -> RouteResponse:
        """See ``RouterClient.route``."""
        return await self._call(self._stub.Route, make_request(prompt, **options), timeout_s)

    async def route_many(
        self,
        requests: Iterable[Prompt | RouteRequest],
        *,
        timeout_s: float | None = None,
        **options: Unpack[BatchOptions],
    ) -> RouteBatchResponse:
        """See ``RouterClient.route_many``."""
        batch = make_batch(requests, options)
        return await self._call(self._stub.RouteBatch, batch, timeout_s)

    async def frontier(
        self,
        requests: Iterable[Prompt | RouteRequest],
        *,
        max_points: int = 0,
        score_std_weight: float = 0.0,
        timeout_s: float | None = None,
    ) -> FrontierResponse:
        """See ``RouterClient.frontier``."""
        request = make_frontier(requests, max_points, score_std_weight)
        return await self._call(self._stub.Frontier, request, timeout_s)

    async def escalate(
        self, decision_id: str, *, timeout_s: float | None = None, **signal: Unpack[Signal]
    ) -> EscalateResponse:
        """See ``RouterClient.escalate``."""
        escalation = make_escalation(decision_id, **signal)
        return await self._call(self._stub.Escalate, escalation, timeout_s)

    async def models(
        self, *, curve_points: int = 0, timeout_s: float | None = None
    ) -> ListModelsResponse:
        """See ``RouterClient.models``."""
        request = ListModelsRequest(curve_points=curve_points)
        return await self._call(self._stub.ListModels, request, timeout_s)

    async def info(self, *, timeout_s: float | None = None) -> GetInfoResponse:
        """See ``RouterClient.info``."""
        return await self._call(self._stub.GetInfo, GetInfoRequest(), timeout_s)

    async def report(
        self, decision_id: str, *, timeout_s: float | None = None, **outcome: Unpack[Outcome]
    ) -> bool:
        """See ``RouterClient.report``."""
        request = ReportOutcomeRequest(decision_id=decision_id, **outcome)
        return (await self._call(self._stub.ReportOutcome, request, timeout_s)).accepted

    async def budgets(
        self, *, tenant: str = "", timeout_s: float | None = None
    ) -> GetBudgetResponse:
        """See ``RouterClient.budgets``."""
        request = GetBudgetRequest(tenant=tenant)
        return await self._call(self._stub.GetBudget, request, timeout_s)

    async def _call(
        self, method: Callable[..., Awaitable[_Reply]], request: Message, timeout_s: float | None
    ) -> _Reply:
        try:
            return await method(
                request, timeout=self._timeout_s if timeout_s is None else timeout_s
            )
        except grpc.RpcError as error:
            raise _router_error(error) from error


def _router_error(error: grpc.RpcError) -> RouterError:
    return RouterError(error.code(), " ".join((error.details() or "no detail given").split()))
