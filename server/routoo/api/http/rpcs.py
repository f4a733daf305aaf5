"""The RPCs over HTTP: their messages in protobuf's JSON form, answered by gRPC's own handlers."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qsl

import orjson

from routoo.api.aside import LARGE_BYTES
from routoo.api.convert import messages as convert
from routoo.api.convert.reports import outcome
from routoo.api.http.door import Door
from routoo.api.http.json_form import JsonForm
from routoo.api.http.problem import problem_of
from routoo.api.llm.bodies.json_text import BOM, read_json
from routoo.api.memory.in_flight import message_bytes
from routoo.errors import InvalidRequestError
from routoo.v1 import batch_pb2, budget_pb2, info_pb2, outcome_pb2, route_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from routoo.api.calls import Calls
    from routoo.api.http.call import HttpCall
    from routoo.api.security.caller import Caller
    from routoo.api.security.gate import Admission
    from routoo.api.service import RouterService
    from routoo.engine.current import ActiveEngine
    from routoo.routing.decision import BatchDecision
    from routoo.routing.request import PromptRequest

Result = TypeVar("Result")
_MOST_QUERY_FIELDS: Final = 16
_REPORTS_AT_ONCE: Final = 64
# Memory of what a JSON parser makes: of an object, and of any other value.
_OBJECT_BYTES, _VALUE_BYTES = 240, 64


class HttpRpcs:
    """Answers the RPCs over HTTP.

    Args:
        current: the engine and the settings in force.
        service: answers them over gRPC.
        calls: of gRPC; its thread reads large bodies, and its memory holds them.
    """

    def __init__(self, current: ActiveEngine, service: RouterService, calls: Calls) -> None:
        self._current = current
        self._service = service
        self._aside = calls.aside
        self._in_flight = calls.in_flight
        self._route_request = JsonForm.of(route_pb2.RouteRequest)
        self._route_response = JsonForm.of(route_pb2.RouteResponse)
        self._batch_request = JsonForm.of(batch_pb2.RouteBatchRequest)
        self._batch_response = JsonForm.of(batch_pb2.RouteBatchResponse)
        self._report = JsonForm.of(outcome_pb2.ReportOutcomeRequest)
        self._reported = JsonForm.of(outcome_pb2.ReportOutcomeResponse)

    def doors(self) -> list[Door]:
        """Returns the doors of the RPCs."""
        return [
            Door(
                "POST", "/v1/route", self._route, "Route", sheds=True, summary="Decides one prompt."
            ),
            Door(
                "POST",
                "/v1/route/batch",
                self._route_batch,
                "RouteBatch",
                summary="Decides many prompts jointly, as one linear program.",
            ),
            Door(
                "POST",
                "/v1/outcomes",
                self._outcomes,
                "ReportOutcome",
                summary="Reports what really happened after one decision, or after several.",
            ),
            *(self._door(*row) for row in _SMALL),
        ]

    async def _route(self, call: HttpCall) -> None:
        caller = admitted(call).caller
        request = await self._read(call, partial(self._prompt_request, caller))
        decision = await self._current.engine.route(request, call.deadline_s)
        response = self._service.route_response(decision, call.header(b"traceparent"))
        await call.reply(200, orjson.dumps(self._route_response.written(response)))

    def _prompt_request(self, caller: Caller, body: bytes) -> PromptRequest:
        message = self._route_request.read(json_of(body))
        return self._service.prompt_request(message, caller)

    async def _route_batch(self, call: HttpCall) -> None:
        message = await self._read(call, partial(_serialized, self._batch_request))
        await self._service.decide_batch(message, admitted(call), partial(self._send_batch, call))

    async def _send_batch(self, call: HttpCall, solved: BatchDecision) -> None:
        """Sends the decisions of a batch in slices, so that they take no memory all together."""
        await call.begin(200, ((b"content-type", b"application/json"),))
        before = b'{"responses":['
        slices = convert.batch_slices(solved)
        while part := await self._aside.run(self._next_slice, slices):
            await call.write(before + part)
            before = b","
        totals = self._batch_response.written(convert.batch_totals(solved))
        del totals["responses"]
        await call.write(b"]," + orjson.dumps(totals)[1:])
        await call.end()

    def _next_slice(self, slices: Any) -> bytes:
        """Returns the next decisions, separated by commas; empty: there are no more."""
        found = next(slices, None)
        if found is None:
            return b""
        return orjson.dumps([self._route_response.written(one) for one in found])[1:-1]

    async def _outcomes(self, call: HttpCall) -> None:
        """Answers one report, or a list of them, of which each has a result of its own."""
        admission = admitted(call)
        reports, is_one = await self._read(call, partial(self._reports, admission.caller))
        if is_one:
            await call.reply(200, orjson.dumps(await self._book(call, reports[0])))
            return
        admission.count(len(reports) - 1)
        results: list[dict[str, Any]] = []
        for start in range(0, len(reports), _REPORTS_AT_ONCE):
            some = reports[start : start + _REPORTS_AT_ONCE]
            results += await asyncio.gather(*(self._book_or_tell(call, one) for one in some))
        await call.reply(200, orjson.dumps(results))

    def _reports(self, caller: Caller, body: bytes) -> tuple[list[bytes], bool]:
        """Reads and checks one report or a list, so that nothing is booked of a wrong list."""
        value = json_of(body)
        if not isinstance(value, list):
            return [self._report.read(value).SerializeToString()], True
        most = self._current.settings.limits.max_batch_prompts
        if not 1 <= len(value) <= most:
            raise InvalidRequestError(f"{len(value)} reports; send 1 to {most} at once")
        reports = []
        for at, one in enumerate(value):
            message = self._report.read(one, f"[{at}]")
            try:
                outcome(message, caller.confined_to)
            except InvalidRequestError as error:
                raise error.within(f"[{at}]") from None
            reports.append(message.SerializeToString())
        return reports, False

    async def _book(self, call: HttpCall, report: bytes) -> dict[str, Any]:
        answer = await self._service.answers["ReportOutcome"](report, call, admitted(call))
        response = outcome_pb2.ReportOutcomeResponse.FromString(answer)
        return self._reported.written(response)

    async def _book_or_tell(self, call: HttpCall, report: bytes) -> dict[str, Any]:
        try:
            return await self._book(call, report)
        except Exception as error:  # noqa: BLE001 - one report's error must not hide the others' results
            return {"error": problem_of(error, "ReportOutcome")[2]}

    def _door(self, method: str, path: str, rpc: str, summary: str, kinds: _Kinds) -> Door:
        """Returns the door of an RPC whose message and reply are small."""
        request, response = JsonForm.of(kinds[0]), JsonForm.of(kinds[1])

        async def answer(call: HttpCall) -> None:
            if method == "GET":
                message = request.read(query_of(call)).SerializeToString()
            else:
                message = await self._read(call, partial(_serialized, request))
            answered = await self._service.answers[rpc](message, call, admitted(call))
            said = await self._aside.run_if_large(
                len(answered), lambda: response.written(kinds[1].FromString(answered))
            )
            await call.reply(200, orjson.dumps(said))

        return Door(method, path, answer, rpc, summary=summary)

    async def _read(self, call: HttpCall, read: Callable[[bytes], Result]) -> Result:
        """Returns what a function makes of the body; of a large one beside the event loop."""
        body = call.body
        if len(body) <= LARGE_BYTES:
            return read(body)
        size_bytes = await self._aside.run(tree_bytes, body)
        own_bytes = message_bytes(len(body))
        with self._in_flight.holding(size_bytes, "the body's JSON", own_bytes):
            return await self._aside.run(read, body)


_Kinds = tuple[type["Message"], type["Message"]]
_SMALL: Final[tuple[tuple[str, str, str, str, _Kinds], ...]] = (
    (
        "POST",
        "/v1/frontier",
        "Frontier",
        "Tells the whole cost-quality curve of many prompts.",
        (batch_pb2.FrontierRequest, batch_pb2.FrontierResponse),
    ),
    (
        "POST",
        "/v1/escalate",
        "Escalate",
        "Keeps an answer that was seen, or names the model to ask next.",
        (outcome_pb2.EscalateRequest, outcome_pb2.EscalateResponse),
    ),
    (
        "GET",
        "/v1/pool",
        "ListModels",
        "Lists the pool and, on request, its cost-quality curve.",
        (info_pb2.ListModelsRequest, info_pb2.ListModelsResponse),
    ),
    (
        "GET",
        "/v1/budgets",
        "GetBudget",
        "Tells what is left of the budgets.",
        (budget_pb2.GetBudgetRequest, budget_pb2.GetBudgetResponse),
    ),
    (
        "GET",
        "/v1/info",
        "GetInfo",
        "Tells versions and limits.",
        (info_pb2.GetInfoRequest, info_pb2.GetInfoResponse),
    ),
)


def admitted(call: HttpCall) -> Admission:
    """Returns the admission of a call that was let in."""
    assert call.admission is not None  # noqa: S101 - doors with an RPC let nobody else in
    return call.admission


def _serialized(form: JsonForm[Any], body: bytes) -> bytes:
    message: bytes = form.read(json_of(body)).SerializeToString()
    return message


def json_of(body: bytes) -> object:
    """Reads a body.

    Raises:
        InvalidRequestError: it is no JSON.
    """
    try:
        return read_json(body.removeprefix(BOM))
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"the body is not JSON: {error}") from None


def query_of(call: HttpCall) -> dict[str, str]:
    """Reads the fields of a message from the query.

    Raises:
        InvalidRequestError: a field stands twice, or it is no query.
    """
    text = call.scope["query_string"].decode("latin-1")
    if not text:
        return {}
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=True, max_num_fields=_MOST_QUERY_FIELDS
        )
    except ValueError:
        raise InvalidRequestError("the query is not NAME=VALUE&NAME=VALUE") from None
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InvalidRequestError("a field of the query stands twice; send it once")
    return found


def tree_bytes(body: bytes) -> int:
    """Returns the memory in bytes that the values of a JSON text take at most, besides its texts.

    A value follows a bracket, a colon or a comma; such signs within texts are counted, too.
    """
    values = body.count(b",") + body.count(b":") + body.count(b"[")
    return _VALUE_BYTES * values + _OBJECT_BYTES * body.count(b"{")
