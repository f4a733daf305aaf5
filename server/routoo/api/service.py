"""``RouterService`` on grpc.aio: converts requests, asks the engine, and converts its answers."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, TypeVar

import grpc

from routoo.api.aside import LARGE_BYTES
from routoo.api.calls import STREAM
from routoo.api.convert import messages as convert
from routoo.api.convert import reports as convert_reports
from routoo.api.memory.batch_body import BatchBody
from routoo.api.memory.compressed import decompressed, is_compressed, length_of
from routoo.api.memory.in_flight import batch_bytes, explained_bytes, message_bytes
from routoo.api.peers import PeerAwayError
from routoo.api.status import reported
from routoo.api.tenancy import budgets_shown, own_budgets, own_requests, own_route
from routoo.v1 import batch_pb2, budget_pb2, info_pb2, outcome_pb2, route_pb2

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Mapping,
        Sequence,
    )
    from contextlib import AbstractContextManager

    from google.protobuf.message import Message

    from routoo.api.calls import Calls, Context
    from routoo.api.peers import Peers
    from routoo.api.security.caller import Caller
    from routoo.api.security.gate import Admission
    from routoo.engine.current import ActiveEngine
    from routoo.routing.decision import BatchDecision, Decision
    from routoo.routing.joint import JointConstraints
    from routoo.routing.request import PromptRequest
    from routoo.telemetry.tracing import Tracing

    Answer = Callable[[bytes, Context, Admission], Awaitable[bytes]]

SERVICE = "routoo.v1.RouterService"
Written = TypeVar("Written")


class RouterService:
    """Answers the RPCs.

    It takes raw bytes, so that a body that does not parse gets a clear status and not INTERNAL.

    Attributes:
        answers: by the name of an RPC that has one message and one reply, except ``Route``, what
            makes the reply from the message, the call's context and its admission.

    Args:
        current: the engine and the settings in force.
        calls: wraps the calls.
        tracing: gets the decisions; None: nothing is traced.
        peers: the other workers of the service; None: there are none.
    """

    def __init__(
        self,
        current: ActiveEngine,
        calls: Calls,
        tracing: Tracing | None = None,
        peers: Peers | None = None,
    ) -> None:
        self._current = current
        self._calls = calls
        self._tracing = tracing
        self._peers = peers
        self._ready_s = monotonic()

        self.answers: Mapping[str, Answer] = {
            "RouteBatch": self._route_batch,
            "Frontier": self._frontier,
            "ListModels": self._list_models,
            "GetInfo": self._get_info,
            "ReportOutcome": self._report_outcome,
            "GetBudget": self._get_budget,
            "Escalate": self._escalate,
        }

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        """Returns the handlers of all RPCs, to be added to a grpc.aio server."""
        methods = {name: self._calls.unary(name, answer) for name, answer in self.answers.items()}
        methods["Route"] = self._calls.unary("Route", self._route, sheds=True)
        methods[STREAM] = self._calls.replies(STREAM, self._route_stream)
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _route(self, body: bytes, context: Context, admission: Admission) -> bytes:
        if len(body) > LARGE_BYTES:
            request = await self._calls.aside.run(self._read_route, body, admission.caller)
        else:
            request = self._read_route(body, admission.caller)
        decision = await self._current.engine.route(request, _deadline_s(context))
        return self.route_response(decision).SerializeToString()

    def _read_route(self, body: bytes, caller: Caller) -> PromptRequest:
        return self.prompt_request(convert.parse(route_pb2.RouteRequest, body), caller)

    def prompt_request(self, message: route_pb2.RouteRequest, caller: Caller) -> PromptRequest:
        """Checks and converts the message of ``Route``; in any thread.

        Raises:
            InvalidRequestError: names the field.
            PermissionDeniedError: the request names another tenant than the caller's.
        """
        if caller.tenant is not None:
            own_route(message, caller)
        return convert.prompt_request(message, self._current.settings.limits)

    def route_response(
        self, decision: Decision, traceparent: str | None = None
    ) -> route_pb2.RouteResponse:
        """Makes the reply of ``Route`` from a decision, and adds the decision to the trace.

        Args:
            decision: the decision.
            traceparent: the header of that name of a call over HTTP, empty where it has none;
                None: a call over gRPC, which has a span.
        """
        if self._tracing is not None:
            if traceparent is None:
                self._tracing.decided(decision)
            else:
                self._tracing.decided_over_http(decision, traceparent)
        return convert.route_response(decision)

    async def _route_batch(self, body: bytes, _context: Context, admission: Admission) -> bytes:
        return await self.decide_batch(
            body, admission, lambda solved: self._calls.aside.run(convert.batch_response, solved)
        )

    async def decide_batch(
        self,
        body: bytes,
        admission: Admission,
        written: Callable[[BatchDecision], Awaitable[Written]],
    ) -> Written:
        """Decides the message of ``RouteBatch``.

        Args:
            body: the message.
            admission: the call's.
            written: writes the decisions down, as long as memory is reserved for them.

        Returns:
            What ``written`` returns.
        """
        # In a thread, as the conversion of a hundred thousand prompts would block the event loop.
        aside = self._calls.aside
        split = await self._split(batch_pb2.RouteBatchRequest, body)
        own_bytes = message_bytes(len(body))
        del body
        message = convert.parse(batch_pb2.RouteBatchRequest, split.rest)
        own_budgets(message, admission.caller)
        constraints = convert.joint_constraints(message)
        with self._room_for(split, own_bytes):
            requests = await aside.run(self._prompts, split, admission.caller, constraints)
            del split
            admission.count(len(requests) - 1)
            own_bytes += self._batch_bytes(len(requests))
            with self._room_to_explain(requests, own_bytes):
                solved = await self._current.engine.route_batch(
                    requests, constraints, is_dry=message.dry_run
                )
                if self._tracing is not None:
                    self._tracing.decided_jointly(solved)
                return await written(solved)

    async def _frontier(self, body: bytes, _context: Context, admission: Admission) -> bytes:
        aside = self._calls.aside
        split = await self._split(batch_pb2.FrontierRequest, body)
        own_bytes = message_bytes(len(body))
        del body
        message = convert.parse(batch_pb2.FrontierRequest, split.rest)
        points, weight = convert.frontier_terms(message)
        with self._room_for(split, own_bytes):
            requests = await aside.run(self._prompts, split, admission.caller)
            del split
            admission.count(len(requests) - 1)
            found = await self._current.engine.frontier(requests, points, weight)
            response = await aside.run(convert.frontier_response, found)
            return response.SerializeToString()

    async def _split(self, kind: type[Message], body: bytes) -> BatchBody:
        most = self._current.settings.limits.max_batch_prompts
        return await self._calls.aside.run(BatchBody.split, kind, body, most)

    def _prompts(
        self, split: BatchBody, caller: Caller, together: JointConstraints | None = None
    ) -> list[PromptRequest]:
        messages, limits = own_requests(split, caller), self._current.settings.limits
        at_presets = together is not None and not together.any
        return convert.batch_prompts(messages, limits, at_presets=at_presets)

    def _room_for(self, split: BatchBody, own_bytes: int) -> AbstractContextManager[None]:
        return self._calls.in_flight.holding(
            self._batch_bytes(len(split)), f"a batch of {len(split)} prompts", own_bytes
        )

    def _room_to_explain(
        self, requests: Sequence[PromptRequest], own_bytes: int
    ) -> AbstractContextManager[None]:
        explained = sum(request.explain for request in requests)
        size_bytes = explained_bytes(explained, len(self._current.engine.pool.names))
        return self._calls.in_flight.holding(
            size_bytes, f"explaining {explained} prompts", own_bytes
        )

    def _batch_bytes(self, prompts: int) -> int:
        return batch_bytes(prompts, len(self._current.engine.pool.names))

    async def _list_models(self, body: bytes, _context: Context, _admission: Admission) -> bytes:
        points = convert.curve_points(convert.parse(info_pb2.ListModelsRequest, body))
        models = await self._current.engine.models(points)
        return convert.models_response(models).SerializeToString()

    async def _get_info(self, body: bytes, _context: Context, admission: Admission) -> bytes:
        convert.parse(info_pb2.GetInfoRequest, body)
        settings = self._current.settings
        info = await self._current.engine.info()
        response = convert_reports.info_response(info, settings, monotonic() - self._ready_s)
        # The shadow's sums are those of all tenants.
        if not admission.caller.is_admin:
            response.ClearField("shadow")
            response.ClearField("experiment")
            tenant = admission.caller.confined_to
            seen = [one for one in response.guarantee if one.tenant in {"*", tenant}]
            response.ClearField("guarantee")
            response.guarantee.extend(seen)
        return response.SerializeToString()

    async def _report_outcome(self, body: bytes, _context: Context, admission: Admission) -> bytes:
        message = convert.parse(outcome_pb2.ReportOutcomeRequest, body)
        tenant = admission.caller.confined_to
        answer = await self._elsewhere("ReportOutcome", message.decision_id, body, tenant)
        if answer is not None:
            return answer
        outcome = convert_reports.outcome(message, tenant)
        if self._tracing is not None:
            self._tracing.reported(outcome)
        result = await self._current.engine.report(outcome)
        return convert_reports.report_response(result).SerializeToString()

    async def _escalate(self, body: bytes, _context: Context, admission: Admission) -> bytes:
        message = convert.parse(outcome_pb2.EscalateRequest, body)
        tenant = admission.caller.confined_to
        answer = await self._elsewhere("Escalate", message.decision_id, body, tenant)
        if answer is not None:
            return answer
        request = convert_reports.escalation_request(message, tenant)
        escalation = await self._current.engine.escalate(request)
        return convert_reports.escalate_response(escalation).SerializeToString()

    async def _elsewhere(
        self, rpc: str, decision_id: str, body: bytes, tenant: str | None
    ) -> bytes | None:
        """Returns the answer of the worker that made a decision; None: this worker has to answer.

        The decision of a worker that has ended is answered here, like any that is not known.

        Raises:
            ForwardedError: that worker refuses the call.
        """
        owner = None if self._peers is None else self._peers.owner_of(decision_id)
        if self._peers is None or owner is None:
            return None
        with suppress(PeerAwayError):
            return await self._peers.ask(owner, f"/{SERVICE}/{rpc}", body, tenant)
        return None

    async def _get_budget(self, body: bytes, _context: Context, admission: Admission) -> bytes:
        message = convert.parse(budget_pb2.GetBudgetRequest, body)
        tenant, alone = budgets_shown(message, admission.caller)
        engine = self._current.engine
        budgets = await engine.budgets(tenant)
        if alone:
            budgets = [one for one in budgets if one[0].terms.tenant == tenant]
        response = convert_reports.budgets_response(budgets, engine.capped_reports)
        if self._peers is not None:
            message.tenant = tenant
            method = f"/{SERVICE}/GetBudget"
            for answer in await self._peers.ask_all(method, message.SerializeToString()):
                convert_reports.add_capped(response, answer)
        return response.SerializeToString()

    async def _route_stream(
        self, bodies: AsyncIterator[bytes], context: Context, admission: Admission
    ) -> AsyncGenerator[bytes]:
        free = asyncio.Semaphore(self._current.settings.limits.max_stream_in_flight)
        ready: asyncio.Queue[bytes | None] = asyncio.Queue()
        in_flight = self._calls.in_flight
        unsent_bytes = 0

        async def decide(body: bytes) -> None:
            nonlocal unsent_bytes
            reply = await self._stream_reply(body, context, admission)
            # The caller may never read it.
            unsent_bytes += len(reply)
            in_flight.keep(len(reply))
            ready.put_nowait(reply)

        async def read() -> None:
            try:
                async with asyncio.TaskGroup() as deciding:
                    async for body in bodies:
                        await free.acquire()
                        deciding.create_task(decide(body))
            except* grpc.aio.AbortError:
                pass  # ``Calls`` has ended the stream, and told its caller why
            finally:
                ready.put_nowait(None)

        reader = asyncio.create_task(read())
        try:
            while (reply := await ready.get()) is not None:
                yield reply
                unsent_bytes -= len(reply)
                in_flight.give(len(reply))
                # Freed only when the reply is sent: of a caller that reads no replies, no further
                # requests are read.
                free.release()
            await reader
        finally:
            # Until the reader has ended, decisions under way may still add their replies.
            reader.add_done_callback(lambda _: in_flight.give(unsent_bytes))
            reader.cancel()

    async def _stream_reply(self, body: bytes, context: Context, admission: Admission) -> bytes:
        started = perf_counter()
        code = "OK"
        request_id = ""
        in_flight = self._calls.in_flight
        held_bytes = 0
        try:
            length = length_of(body, in_flight.longest_message_bytes)
            held_bytes = in_flight.take(message_bytes(length))
            aside = self._calls.aside
            if is_compressed(body):
                body = await aside.run(decompressed, body, length)
            message = await aside.run_if_large(length, convert.parse, route_pb2.RouteRequest, body)
            request_id = message.request_id
            admission.take()
            if admission.caller.tenant is not None:
                own_route(message, admission.caller)
            limits = self._current.settings.limits
            request = await aside.run_if_large(length, convert.prompt_request, message, limits)
            decision = await self._current.engine.route(request, _deadline_s(context))
            if self._tracing is not None:
                self._tracing.decided(decision, within_stream=True)
            return convert.route_response(decision).SerializeToString()
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        except Exception as error:  # noqa: BLE001 - one request's error must not end the stream
            status, line = reported(error, "RouteStream")
            code = status.name
            failed = route_pb2.RouteError(code=status.value[0], message=line)
            return route_pb2.RouteResponse(request_id=request_id, error=failed).SerializeToString()
        finally:
            in_flight.give(held_bytes)
            self._calls.answered("RouteStream", code, perf_counter() - started)


def _deadline_s(context: Context) -> float | None:
    remaining_s = context.time_remaining()
    return None if remaining_s is None else monotonic() + remaining_s
