"""``AsyncRouterClient``, the client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

import grpc.aio

from routoo.client.channel import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT_S,
    OPTIONS,
    open_aio_channel,
    token_metadata,
)
from routoo.client.errors import RouterError, router_error
from routoo.client.messages import (
    BatchOptions,
    Outcome,
    Prompt,
    RequestOptions,
    Signal,
    make_batch,
    make_escalation,
    make_frontier,
    make_report,
    make_request,
    numbered,
)
from routoo.client.options import ClientOptions, make_retries, make_stand_in
from routoo.client.retry import Attempts
from routoo.v1.budget_pb2 import GetBudgetRequest, GetBudgetResponse
from routoo.v1.info_pb2 import (
    GetInfoRequest,
    GetInfoResponse,
    ListModelsRequest,
    ListModelsResponse,
)
from routoo.v1.router_pb2_grpc import RouterServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from google.protobuf.message import Message

    from routoo.v1.batch_pb2 import FrontierResponse, RouteBatchResponse
    from routoo.v1.outcome_pb2 import EscalateResponse, ReportOutcomeResponse
    from routoo.v1.route_pb2 import RouteRequest, RouteResponse

_Reply = TypeVar("_Reply")


class AsyncRouterClient:
    """The client for asyncio: ``RouterClient``'s methods, awaited; ``async with`` closes it."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        **options: Unpack[ClientOptions],
    ) -> None:
        tls = options.get("tls")
        self._metadata = token_metadata(options.get("token"), address, tls)
        self._channel = open_aio_channel(address, OPTIONS, tls=tls)
        self._stub = RouterServiceStub(self._channel)
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._is_closed = False
        self._retries = make_retries(options)
        self._stand_in = make_stand_in(options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls in flight are cancelled."""
        self._is_closed = True
        await self._channel.close(grace=None)

    @property
    def retries(self) -> int:
        """The number of retries so far."""
        return self._retries.begun

    @property
    def fallbacks(self) -> int:
        """The number of calls that the fallback model has answered so far."""
        return 0 if self._stand_in is None else self._stand_in.answered

    async def route(
        self, prompt: Prompt, *, timeout_s: float | None = None, **options: Unpack[RequestOptions]
    ) -> RouteResponse:
        """Decides one prompt; ``RouterClient.route`` has the details."""
        request = make_request(prompt, **options)
        stand_in = self._stand_in
        if stand_in is None or not stand_in.allowed_by(request):
            return await self._call(self._stub.Route, request, timeout_s)
        if (unasked := stand_in.unasked(request)) is not None:
            return unasked
        try:
            reply: RouteResponse = await self._call(self._stub.Route, request, timeout_s)
        except RouterError as error:
            return stand_in.instead_of(error, request)
        except BaseException:
            stand_in.abandoned()
            raise
        stand_in.succeeded()
        return reply

    async def route_stream(
        self,
        requests: Iterable[Prompt | RouteRequest] | AsyncIterable[Prompt | RouteRequest],
        *,
        timeout_s: float | None = None,
    ) -> AsyncIterator[RouteResponse]:
        """Decides prompts while they are produced; ``RouterClient.route_stream`` has the details.

        ``requests`` may be asynchronous, too; it is read in a task of its own.
        """
        failed: list[Exception] = []

        async def made() -> AsyncIterator[RouteRequest]:
            number = 0
            try:
                async for request in _each(requests):
                    yield numbered(request, number)
                    number += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, it is raised below
                failed.append(error)
                call.cancel()

        call = self._stub.RouteStream(made(), timeout=timeout_s, metadata=self._metadata)
        try:
            async for reply in call:
                yield reply
        except grpc.aio.AioRpcError as broken:
            raise router_error(broken)[0] from broken
        except asyncio.CancelledError:
            if failed:
                raise failed[0] from None
            raise
        finally:
            call.cancel()

    async def route_many(
        self,
        requests: Iterable[Prompt | RouteRequest],
        *,
        timeout_s: float | None = None,
        **options: Unpack[BatchOptions],
    ) -> RouteBatchResponse:
        """Decides many prompts jointly; ``RouterClient.route_many`` has the details."""
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
        """Finds what each amount of money would buy; ``RouterClient.frontier`` has the details."""
        request = make_frontier(requests, max_points, score_std_weight)
        return await self._call(self._stub.Frontier, request, timeout_s)

    async def escalate(
        self, decision_id: str, *, timeout_s: float | None = None, **signal: Unpack[Signal]
    ) -> EscalateResponse:
        """Keeps an answer, or decides the next model; ``RouterClient.escalate`` has the details."""
        escalation = make_escalation(decision_id, **signal)
        return await self._call(self._stub.Escalate, escalation, timeout_s, repeatable=False)

    async def models(
        self, *, curve_points: int = 0, timeout_s: float | None = None
    ) -> ListModelsResponse:
        """Returns the pool and its curve; ``RouterClient.models`` has the details."""
        request = ListModelsRequest(curve_points=curve_points)
        return await self._call(self._stub.ListModels, request, timeout_s)

    async def info(self, *, timeout_s: float | None = None) -> GetInfoResponse:
        """Returns the service's versions and limits; ``RouterClient.info`` has the details."""
        return await self._call(self._stub.GetInfo, GetInfoRequest(), timeout_s)

    async def report(
        self, decision_id: str, *, timeout_s: float | None = None, **outcome: Unpack[Outcome]
    ) -> bool:
        """Reports what really happened; ``RouterClient.report`` has the details."""
        return (await self.report_outcome(decision_id, timeout_s=timeout_s, **outcome)).accepted

    async def report_outcome(
        self, decision_id: str, *, timeout_s: float | None = None, **outcome: Unpack[Outcome]
    ) -> ReportOutcomeResponse:
        """Reports what really happened; ``RouterClient.report_outcome`` has the details."""
        request = make_report(decision_id, **outcome)
        return await self._call(self._stub.ReportOutcome, request, timeout_s)

    async def budgets(
        self, *, tenant: str = "", timeout_s: float | None = None
    ) -> GetBudgetResponse:
        """Returns the state of the budgets; ``RouterClient.budgets`` has the details."""
        request = GetBudgetRequest(tenant=tenant)
        return await self._call(self._stub.GetBudget, request, timeout_s)

    async def _call(
        self,
        method: Callable[..., Awaitable[_Reply]],
        request: Message,
        timeout_s: float | None,
        *,
        repeatable: bool = True,
    ) -> _Reply:
        allowed_s = self._timeout_s if timeout_s is None else timeout_s
        attempts = Attempts(self._retries, allowed_s, repeatable=repeatable)
        while True:
            try:
                reply = await method(request, timeout=attempts.left_s, metadata=self._metadata)
            except grpc.aio.AioRpcError as failed:
                error, forbidden = router_error(failed)
                pause_s = attempts.pause_s(error, forbidden=forbidden or self._is_closed)
                if pause_s is None:
                    raise error from failed
                await self._sleep(pause_s)
            else:
                attempts.succeeded()
                return reply


async def _each(
    requests: Iterable[Prompt | RouteRequest] | AsyncIterable[Prompt | RouteRequest],
) -> AsyncIterator[Prompt | RouteRequest]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request
