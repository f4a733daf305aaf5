"""RouterService on grpc.aio: converts, hands to the engine, converts back."""

from __future__ import annotations

import asyncio
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

import grpc
import structlog

from routoo import __version__
from routoo.api import convert, convert_reports
from routoo.api.forwarding import answer_for_another, where_it_is_open
from routoo.api.status import status_of, trailers_of
from routoo.api.tenancy import budgets_shown, own_batch, own_requests, own_route
from routoo.errors import InvalidRequestError, QueueFullError, RoutooError
from routoo.v1 import batch_pb2, budget_pb2, info_pb2, outcome_pb2, route_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from routoo.api.overload import Overload
    from routoo.api.peers import Place
    from routoo.api.security.caller import Caller
    from routoo.api.security.gate import Admission, Gate
    from routoo.engine.current import Current
    from routoo.routing.joint import JointConstraints
    from routoo.routing.request import PromptRequest
    from routoo.telemetry.metrics import Metrics

SERVICE = "routoo.v1.RouterService"
Context = Any  # grpc.aio.ServicerContext[bytes, bytes]; the stubs' generic does not fit raw bytes
_log = structlog.get_logger("routoo.api")
# A draining service is left by its callers when none has called for so long.
_QUIET_S, _LONGEST_LISTENING_S = 0.1, 1.0


class RouterService:
    """The RPCs, on raw bytes: a body that does not parse gets a clear status, not INTERNAL."""

    def __init__(
        self,
        current: Current,
        metrics: Metrics,
        gate: Gate,
        overload: Overload,
        place: Place | None = None,
    ) -> None:
        self._current = current
        self._metrics = metrics
        self._gate = gate
        self._overload = overload
        self._place = place
        self._ready_s = monotonic()
        self._active = 0
        self._came_s = -_QUIET_S
        self._idle = asyncio.Event()
        self._idle.set()
        self._may_refuse = asyncio.Event()
        self._may_refuse.set()

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        """Everything the service answers, to be added to a grpc.aio server."""
        unary = {
            "Route": self._route,
            "RouteBatch": self._route_batch,
            "Frontier": self._frontier,
            "ListModels": self._list_models,
            "GetInfo": self._get_info,
            "ReportOutcome": self._report_outcome,
            "GetBudget": self._get_budget,
            "Escalate": self._escalate,
        }
        # As streams, of which we read one message ourselves: gRPC would wait for it before it
        # asks us who calls, and would never answer a call that ends without one.
        methods = {
            name: grpc.stream_unary_rpc_method_handler(self._guarded(name, call))
            for name, call in unary.items()
        }
        methods["RouteStream"] = grpc.stream_stream_rpc_method_handler(self._route_stream)
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def drained(self, grace_s: float) -> None:
        """Waits until every unary call has been answered, ``grace_s`` at most.

        And then until no more calls come: who was answered last sends once more, and a call that
        meets the end of the server is cancelled, not refused. Whoever is refused may send again at
        once; so from then on refusals wait for ``refuse_the_last``, when the server takes no calls.
        """
        try:
            await asyncio.wait_for(self._idle.wait(), grace_s)
        except TimeoutError:
            _log.warning("calls were still running when the grace period ended", calls=self._active)
            return
        self._may_refuse.clear()
        most_s = perf_counter() + min(grace_s, _LONGEST_LISTENING_S)
        # Time itself is waited for here: that nothing comes is no event.
        while (now_s := perf_counter()) < min(most_s, self._came_s + _QUIET_S):  # noqa: ASYNC110
            await asyncio.sleep(min(most_s, self._came_s + _QUIET_S) - now_s)

    def refuse_the_last(self) -> None:
        """Lets the refusals go that ``drained`` has held back."""
        self._may_refuse.set()

    async def _route(self, body: bytes, context: Context, admission: Admission) -> bytes:
        message = convert.parse(route_pb2.RouteRequest, body)
        own_route(message, admission.caller)
        request = convert.prompt_request(message, self._current.settings.limits)
        decision = await self._current.engine.route(request, _deadline_s(context))
        if self._metrics.tracing is not None:
            self._metrics.tracing.decided(decision)
        return convert.route_response(decision).SerializeToString()

    async def _route_batch(self, body: bytes, _context: Context, admission: Admission) -> bytes:
        # A hundred thousand prompts take a while to convert: off the event loop.
        read = await asyncio.to_thread(self._read_batch, body, admission.caller)
        requests, constraints = read
        admission.count(len(requests) - 1)
        solved = await self._current.engine.route_batch(requests, constraints)
        if self._metrics.tracing is not None:
            self._metrics.tracing.decided_jointly(solved)
        return await asyncio.to_thread(lambda: convert.batch_response(solved).SerializeToString())

    def _read_batch(
        self, body: bytes, caller: Caller
    ) -> tuple[list[PromptRequest], JointConstraints]:
        message = convert.parse(batch_pb2.RouteBatchRequest, body)
        own_batch(message, caller)
        return convert.batch_request(message, self._current.settings.limits)

    async def _frontier(self, body: bytes, _context: Context, admission: Admission) -> bytes:
        read = await asyncio.to_thread(self._read_frontier, body, admission.caller)
        requests, points, weight = read
        admission.count(len(requests) - 1)
        found = await self._current.engine.frontier(requests, points, weight)
        return await asyncio.to_thread(lambda: convert.frontier_response(found).SerializeToString())

    def _read_frontier(
        self, body: bytes, caller: Caller
    ) -> tuple[list[PromptRequest], int | None, float]:
        message = convert.parse(batch_pb2.FrontierRequest, body)
        own_requests(message.requests, caller)
        return convert.frontier_request(message, self._current.settings.limits)

    async def _list_models(self, body: bytes, _context: Context, _admission: Admission) -> bytes:
        points = convert.curve_points(convert.parse(info_pb2.ListModelsRequest, body))
        engine = self._current.engine
        curve = await engine.curve(points) if points else []
        sample = engine.sample
        means = list(
            zip(
                sample.scores.mean(axis=0).tolist(),
                sample.costs_usd.mean(axis=0).tolist(),
                strict=True,
            )
        )
        at = sample.point_at(engine.price, engine.policies.in_force)
        response = convert.models_response(engine.pool, at, means, curve)
        return response.SerializeToString()

    async def _get_info(self, body: bytes, _context: Context, admission: Admission) -> bytes:
        convert.parse(info_pb2.GetInfoRequest, body)
        engine, settings = self._current.engine, self._current.settings
        budgets = await engine.budgets()
        shadow = None
        # The shadow's sums are those of all tenants.
        if engine.shadow is not None and admission.caller.is_admin:
            shadow = convert_reports.shadow(engine.shadow.comparison)
        return info_pb2.GetInfoResponse(
            version=__version__,
            predictor_version=engine.versions.predictor,
            predictor_backend=engine.predictor.backend,
            policy_version=engine.versions.policy,
            policies=list(engine.policies.offered),
            max_mean_cost_usd=settings.policy.max_mean_cost_usd,
            shadow_price=engine.price,
            max_prompt_tokens=engine.predictor.max_tokens,
            max_prompt_chars=settings.limits.max_prompt_chars,
            max_batch_prompts=settings.limits.max_batch_prompts,
            max_queue=settings.batching.max_queue,
            degraded=engine.predictor.degraded or any(state.degraded for state, _ in budgets),
            uptime_s=monotonic() - self._ready_s,
            shadow=shadow,
        ).SerializeToString()

    async def answer_for_another(self, rpc: str, sent: bytes) -> tuple[str, bytes]:
        """Answers a call that another worker of the service was asked; see ``elsewhere``."""
        answer = {"ReportOutcome": self._report_here, "Escalate": self._escalate_here}[rpc]
        return await answer_for_another(answer, sent)

    async def _report_outcome(self, body: bytes, _context: Context, admission: Admission) -> bytes:
        decision_id = convert.parse(outcome_pb2.ReportOutcomeRequest, body).decision_id
        asked = (body, admission.caller.confined_to)
        return await where_it_is_open(
            self._place, "ReportOutcome", decision_id, asked, self._report_here
        )

    async def _report_here(self, body: bytes, tenant: str | None) -> bytes:
        message = convert.parse(outcome_pb2.ReportOutcomeRequest, body)
        accepted = await self._current.engine.report(convert_reports.outcome(message, tenant))
        return outcome_pb2.ReportOutcomeResponse(accepted=accepted).SerializeToString()

    async def _escalate(self, body: bytes, _context: Context, admission: Admission) -> bytes:
        decision_id = convert.parse(outcome_pb2.EscalateRequest, body).decision_id
        asked = (body, admission.caller.confined_to)
        return await where_it_is_open(
            self._place, "Escalate", decision_id, asked, self._escalate_here
        )

    async def _escalate_here(self, body: bytes, tenant: str | None) -> bytes:
        message = convert.parse(outcome_pb2.EscalateRequest, body)
        request = convert_reports.escalation_request(message, tenant)
        escalation = await self._current.engine.escalate(request)
        return convert_reports.escalate_response(escalation).SerializeToString()

    async def _get_budget(self, body: bytes, _context: Context, admission: Admission) -> bytes:
        message = convert.parse(budget_pb2.GetBudgetRequest, body)
        tenant, alone = budgets_shown(message, admission.caller)
        budgets = await self._current.engine.budgets(tenant)
        if alone:
            budgets = [one for one in budgets if one[0].terms.tenant == tenant]
        return convert_reports.budgets_response(budgets).SerializeToString()

    async def _route_stream(
        self, bodies: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        try:
            admission = self._gate.admit(context, "RouteStream")
        except RoutooError as error:
            status, line = self._status("RouteStream", error)
            self._metrics.answered("RouteStream", status.name, 0.0)
            await context.abort(status, line, trailers_of(error))
        with admission:
            async for reply in self._stream_replies(bodies, context, admission):
                yield reply

    async def _stream_replies(
        self, bodies: AsyncIterator[bytes], context: Context, admission: Admission
    ) -> AsyncIterator[bytes]:
        free = asyncio.Semaphore(self._current.settings.limits.max_stream_in_flight)
        ready: asyncio.Queue[bytes | None] = asyncio.Queue()

        async def decide(body: bytes) -> None:
            ready.put_nowait(await self._stream_reply(body, context, admission))

        async def read() -> None:
            try:
                async with asyncio.TaskGroup() as deciding:
                    async for body in bodies:
                        await free.acquire()
                        deciding.create_task(decide(body))
            finally:
                ready.put_nowait(None)

        reader = asyncio.create_task(read())
        try:
            while (reply := await ready.get()) is not None:
                yield reply
                # Freed only when the reply is on its way: a caller that does not read is not read.
                free.release()
            await reader
        finally:
            reader.cancel()

    async def _stream_reply(self, body: bytes, context: Context, admission: Admission) -> bytes:
        started = perf_counter()
        code = "OK"
        request_id = ""
        try:
            message = convert.parse(route_pb2.RouteRequest, body)
            request_id = message.request_id
            admission.take()
            own_route(message, admission.caller)
            request = convert.prompt_request(message, self._current.settings.limits)
            decision = await self._current.engine.route(request, _deadline_s(context))
            if self._metrics.tracing is not None:
                self._metrics.tracing.decided(decision, within_stream=True)
            return convert.route_response(decision).SerializeToString()
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        except Exception as error:  # noqa: BLE001 - one request's error must not end the stream
            status, line = self._status("RouteStream", error)
            code = status.name
            failed = route_pb2.RouteError(code=status.value[0], message=line)
            return route_pb2.RouteResponse(request_id=request_id, error=failed).SerializeToString()
        finally:
            self._metrics.answered("RouteStream", code, perf_counter() - started)

    def _guarded(
        self, rpc: str, call: Callable[[bytes, Context, Admission], Awaitable[bytes]]
    ) -> Callable[[AsyncIterator[bytes], Context], Awaitable[bytes]]:
        """The one place where a unary call's errors become statuses and its time is counted."""
        # The others ask for little, have a bound of their own, or are what an operator looks with.
        overload = self._overload if rpc == "Route" else None

        async def guarded(_: AsyncIterator[bytes], context: Context) -> bytes:
            started = self._came_s = perf_counter()
            code = "OK"
            active = 0
            entered_s = None
            try:
                if overload is not None:
                    # Before anything is read: most that comes under overload ends here.
                    overload.check(context.time_remaining())
                with self._gate.admit(context, rpc) as admission:
                    body = await _only_message(context)
                    started = perf_counter()
                    self._active += (active := 1)
                    self._idle.clear()
                    if overload is not None:
                        entered_s = overload.enter(context.time_remaining())
                    return await call(body, context, admission)
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except Exception as error:
                status, line = self._status(rpc, error)
                code = status.name
                if isinstance(error, QueueFullError) and error.retry_after_s is None:
                    error.retry_after_s = self._overload.retry_after_s
                await self._may_refuse.wait()
                await context.abort(status, line, trailers_of(error))
                raise  # abort raises; this line is for the type checker
            finally:
                if overload is not None and entered_s is not None:
                    overload.leave(entered_s)
                self._metrics.answered(rpc, code, perf_counter() - started)
                self._active -= active
                if not self._active:
                    self._idle.set()

        return guarded

    def _status(self, rpc: str, error: Exception) -> tuple[grpc.StatusCode, str]:
        status, line = status_of(error)
        if status is grpc.StatusCode.INTERNAL:
            _log.error("call failed", rpc=rpc, exc_info=error)
        return status, line


async def _only_message(context: Context) -> bytes:
    body = await context.read()
    if not isinstance(body, bytes):  # the end of the stream
        raise InvalidRequestError("the call carries no message; send one")
    return body


def _deadline_s(context: Context) -> float | None:
    remaining_s = context.time_remaining()
    return None if remaining_s is None else monotonic() + remaining_s
