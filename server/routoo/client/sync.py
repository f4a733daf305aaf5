"""``RouterClient``, the client with blocking calls."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

import grpc

from routoo.client.channel import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT_S,
    OPTIONS,
    open_channel,
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
    from collections.abc import Callable, Iterable, Iterator

    from google.protobuf.message import Message

    from routoo.v1.batch_pb2 import FrontierResponse, RouteBatchResponse
    from routoo.v1.outcome_pb2 import EscalateResponse, ReportOutcomeResponse
    from routoo.v1.route_pb2 import RouteRequest, RouteResponse

_Reply = TypeVar("_Reply")


class RouterClient:
    """Blocking client; safe to share between threads. Close it, or use it as a context manager.

    Args:
        address: ``HOST:PORT`` of the service, ``unix:PATH``, or any other gRPC target.
        timeout_s: deadline of each call, retries included, in seconds, unless the call names its
            own.
        sleep: waits before a retry; its argument is in seconds.
        options: see ``ClientOptions``.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        sleep: Callable[[float], None] = time.sleep,
        **options: Unpack[ClientOptions],
    ) -> None:
        tls = options.get("tls")
        self._metadata = token_metadata(options.get("token"), address, tls)
        self._channel = open_channel(address, OPTIONS, tls=tls)
        self._stub = RouterServiceStub(self._channel)
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._is_closed = False
        self._retries = make_retries(options)
        self._stand_in = make_stand_in(options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls in flight are cancelled."""
        self._is_closed = True
        self._channel.close()

    @property
    def retries(self) -> int:
        """The number of retries so far."""
        return self._retries.begun

    @property
    def fallbacks(self) -> int:
        """The number of calls that the fallback model has answered so far."""
        return 0 if self._stand_in is None else self._stand_in.answered

    def route(
        self, prompt: Prompt, *, timeout_s: float | None = None, **options: Unpack[RequestOptions]
    ) -> RouteResponse:
        """Decides one prompt.

        With ``fallback_model``, a service that is away or overloaded raises nothing, unless the
        request's own lists rule that model out: the reply is ``degraded``, without a
        ``decision_id``, and says why in ``reason.text``.

        Raises:
            RouterError: INVALID_ARGUMENT, FAILED_PRECONDITION (no model is left),
                RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, UNAVAILABLE, INTERNAL.
        """
        request = make_request(prompt, **options)
        stand_in = self._stand_in
        if stand_in is None or not stand_in.allowed_by(request):
            return self._call(self._stub.Route, request, timeout_s)
        if (unasked := stand_in.unasked(request)) is not None:
            return unasked
        try:
            reply: RouteResponse = self._call(self._stub.Route, request, timeout_s)
        except RouterError as error:
            return stand_in.instead_of(error, request)
        except BaseException:
            stand_in.abandoned()
            raise
        stand_in.succeeded()
        return reply

    def route_stream(
        self, requests: Iterable[Prompt | RouteRequest], *, timeout_s: float | None = None
    ) -> Iterator[RouteResponse]:
        """Decides prompts while they are produced, and yields each reply as soon as it is ready.

        Replies come in any order and have the ``request_id`` of their request; a request without
        one gets its number in ``requests``, from 0, as text. A request that cannot be decided is
        answered with ``error`` in its place, and the stream goes on. Nothing is retried.

        Args:
            requests: prompts, or requests with constraints of their own from ``make_request``. It
                is read in another thread, as far ahead as the service takes requests.
            timeout_s: deadline of the whole stream, in seconds; None: there is none.

        Raises:
            RouterError: the stream broke off.
            Exception: an error of ``requests`` itself.
        """
        failed: list[Exception] = []

        def made() -> Iterator[RouteRequest]:
            try:
                for number, request in enumerate(requests):
                    yield numbered(request, number)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is raised below
                failed.append(error)
                call.cancel()

        stream: Callable[..., Any] = self._stub.RouteStream
        call = stream(made(), timeout=timeout_s, metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError as broken:
            if failed:
                raise failed[0] from None
            raise router_error(broken)[0] from broken
        finally:
            call.cancel()

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
        """Finds what each amount of money would buy for these prompts; decides nothing.

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

        Not repeated when its reply was lost: the decision would not be open any more.

        Raises:
            RouterError: as ``route``; FAILED_PRECONDITION also where the decision is not open any
                more, or no rule knows the signal.
        """
        escalation = make_escalation(decision_id, **signal)
        return self._call(self._stub.Escalate, escalation, timeout_s, repeatable=False)

    def models(
        self, *, curve_points: int = 0, timeout_s: float | None = None
    ) -> ListModelsResponse:
        """Returns the pool and, when ``curve_points`` > 0, its cost-quality curve.

        Raises:
            RouterError: as ``route``.
        """
        request = ListModelsRequest(curve_points=curve_points)
        return self._call(self._stub.ListModels, request, timeout_s)

    def info(self, *, timeout_s: float | None = None) -> GetInfoResponse:
        """Returns the service's versions and limits.

        Raises:
            RouterError: as ``route``.
        """
        return self._call(self._stub.GetInfo, GetInfoRequest(), timeout_s)

    def report(
        self, decision_id: str, *, timeout_s: float | None = None, **outcome: Unpack[Outcome]
    ) -> bool:
        """Reports what really happened, once per decision; settles its cost in the budgets.

        A score alone is a grade: it settles nothing, and is taken once, before or after the rest.
        A report may be repeated: the service books a decision once.

        Returns:
            Whether the service booked or counted the outcome for this call. False: the decision is
            unknown, too old, or was reported before, perhaps by an attempt of this call whose reply
            was lost; or the report tells nothing that counts.

        Raises:
            RouterError: as ``route``.
        """
        return self.report_outcome(decision_id, timeout_s=timeout_s, **outcome).accepted

    def report_outcome(
        self, decision_id: str, *, timeout_s: float | None = None, **outcome: Unpack[Outcome]
    ) -> ReportOutcomeResponse:
        """Reports as ``report`` does, and returns what came of it: ``result`` says why.

        Raises:
            RouterError: as ``route``.
        """
        request = make_report(decision_id, **outcome)
        return self._call(self._stub.ReportOutcome, request, timeout_s)

    def budgets(self, *, tenant: str = "", timeout_s: float | None = None) -> GetBudgetResponse:
        """Returns the state of the budgets: of all, or of those that apply to a tenant.

        Raises:
            RouterError: as ``route``.
        """
        request = GetBudgetRequest(tenant=tenant)
        return self._call(self._stub.GetBudget, request, timeout_s)

    def _call(
        self,
        method: Callable[..., _Reply],
        request: Message,
        timeout_s: float | None,
        *,
        repeatable: bool = True,
    ) -> _Reply:
        allowed_s = self._timeout_s if timeout_s is None else timeout_s
        attempts = Attempts(self._retries, allowed_s, repeatable=repeatable)
        while True:
            try:
                reply = method(request, timeout=attempts.left_s, metadata=self._metadata)
            except grpc.RpcError as failed:
                error, forbidden = router_error(failed)
                pause_s = attempts.pause_s(error, forbidden=forbidden or self._is_closed)
                if pause_s is None:
                    raise error from failed
                self._sleep(pause_s)
            else:
                attempts.succeeded()
                return reply
