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

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypedDict, TypeVar, Unpack

import grpc
import grpc.aio

from routoo.v1.batch_pb2 import RouteBatchRequest, RouteBatchResponse
from routoo.v1.budget_pb2 import GetBudgetRequest, GetBudgetResponse
from routoo.v1.info_pb2 import (
    GetInfoRequest,
    GetInfoResponse,
    ListModelsRequest,
    ListModelsResponse,
)
from routoo.v1.outcome_pb2 import ReportOutcomeRequest
from routoo.v1.route_pb2 import RouteRequest, RouteResponse
from routoo.v1.router_pb2_grpc import RouterServiceStub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from google.protobuf.message import Message

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_TIMEOUT_S = 10.0
MAX_MESSAGE_BYTES = 128 * 1024 * 1024
"""As the service's ``limits.max_message_bytes``: a batch of 100,000 prompts fits."""

_CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)

Prompt = str | Sequence[Mapping[str, str]]
"""Plain text, or a chat: ``[{"role": "user", "content": "..."}, ...]``, oldest message first."""

_Reply = TypeVar("_Reply")


class RequestOptions(TypedDict, total=False):
    """What a request may carry beside its prompt; ``None`` means not set. Units as in the proto."""

    request_id: str | None
    max_cost_usd: float | None
    min_score: float | None
    max_latency_ms: float | None
    allowed_models: Sequence[str] | None
    denied_models: Sequence[str] | None
    required_capabilities: Sequence[str] | None
    tenant: str | None
    session_id: str | None
    policy: str | None
    expected_output_tokens: int | None
    max_quality_gap: float | None
    explain: bool | None


class Outcome(TypedDict, total=False):
    """What may be reported about a decision; ``None`` means not known. Units as in the proto."""

    model: str | None
    score: float | None
    cost_usd: float | None
    input_tokens: int | None
    output_tokens: int | None
    latency_ms: float | None
    error: str | None


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


def make_request(prompt: Prompt, **options: Unpack[RequestOptions]) -> RouteRequest:
    """One request, for ``route_many`` or for one's own stub.

    Raises:
        TypeError: a value of the wrong type.
        ValueError: text that is not valid Unicode, or a number out of the field's range.
    """
    if isinstance(prompt, str):
        return RouteRequest(prompt=prompt, **options)
    return RouteRequest(messages=prompt, **options)


def to_dict(message: Message) -> dict[str, Any]:
    """A reply as plain dicts, lists, strings and numbers, ready for a JSON encoder.

    Every field is present under its proto name, enums by name, 64-bit integers as integers; only
    messages and ``optional`` fields that are not set are left out.
    """
    values: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            values[field.name] = dict(value)
        elif field.is_repeated:
            values[field.name] = [to_dict(v) for v in value] if field.message_type else list(value)
        elif field.message_type is not None:
            values[field.name] = to_dict(value)
        elif field.enum_type is not None:
            known = field.enum_type.values_by_number.get(value)
            values[field.name] = known.name if known else value
        else:
            values[field.name] = value
    return values


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
        budget_usd: float | None = None,
        min_mean_score: float | None = None,
        timeout_s: float | None = None,
    ) -> RouteBatchResponse:
        """Decides many prompts jointly; ``responses`` are in the order of ``requests``.

        Args:
            requests: prompts, or requests with constraints of their own from ``make_request``.
            budget_usd: what all answers together may cost: the most quality that it buys.
            min_mean_score: mean predicted score to reach, in [0, 1]: at the least cost when it
                stands alone, under ``budget_usd`` when both are given.
            timeout_s: deadline of this call, in seconds; None: the client's.

        Raises:
            RouterError: as ``route``; FAILED_PRECONDITION also when the batch constraints cannot
                be met.
        """
        batch = _make_batch(requests, budget_usd, min_mean_score)
        return self._call(self._stub.RouteBatch, batch, timeout_s)

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
        budget_usd: float | None = None,
        min_mean_score: float | None = None,
        timeout_s: float | None = None,
    ) -> RouteBatchResponse:
        """See ``RouterClient.route_many``."""
        batch = _make_batch(requests, budget_usd, min_mean_score)
        return await self._call(self._stub.RouteBatch, batch, timeout_s)

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


def _make_batch(
    requests: Iterable[Prompt | RouteRequest],
    budget_usd: float | None,
    min_mean_score: float | None,
) -> RouteBatchRequest:
    return RouteBatchRequest(
        requests=[r if isinstance(r, RouteRequest) else make_request(r) for r in requests],
        budget_usd=budget_usd,
        min_mean_score=min_mean_score,
    )


def _router_error(error: grpc.RpcError) -> RouterError:
    return RouterError(error.code(), " ".join((error.details() or "no detail given").split()))
