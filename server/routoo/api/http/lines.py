"""``RouteStream`` over HTTP: a request on each line, and a line for each reply as it is decided."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

import orjson

from routoo.api.http.door import Door
from routoo.api.http.json_form import JsonForm
from routoo.api.http.rpcs import admitted, json_of
from routoo.api.llm.bodies.json_text import BOM
from routoo.api.status import reported
from routoo.errors import InvalidRequestError
from routoo.v1.route_pb2 import RouteError, RouteRequest, RouteResponse

if TYPE_CHECKING:
    from routoo.api.calls import Calls
    from routoo.api.http.call import HttpCall
    from routoo.api.service import RouterService
    from routoo.engine.current import ActiveEngine

LINES: Final = "application/x-ndjson"
_RPC: Final = "RouteStream"


class LineDoor:
    """Decides a body of JSON lines. Lives on the event loop that serves.

    The body is read to its end before the first line is decided: a client that reads nothing before
    it has sent all would wait for ever otherwise.

    Args:
        current: the engine and the settings in force.
        service: reads requests and makes replies.
        calls: of gRPC; its thread reads large bodies, and its counts are used here, too.
    """

    def __init__(self, current: ActiveEngine, service: RouterService, calls: Calls) -> None:
        self._current = current
        self._service = service
        self._calls = calls
        self._request = JsonForm.of(RouteRequest)
        self._response = JsonForm.of(RouteResponse)

    def door(self) -> Door:
        """Returns the door."""
        return Door(
            "POST",
            "/v1/route/stream",
            self._answer,
            _RPC,
            summary="Decides the request on each line; replies come as they are decided.",
            takes=LINES,
            media=LINES,
        )

    async def _answer(self, call: HttpCall) -> None:
        body = call.body.removeprefix(BOM)
        lines = await self._calls.aside.run_if_large(len(body), _numbered, body)
        most = self._current.settings.limits.max_batch_prompts
        if not 1 <= len(lines) <= most:
            raise InvalidRequestError(
                f"{len(lines)} lines; send a JSON object on each of 1 to {most} lines"
            )
        # What a reply waits for its caller is not the service's time.
        call.handed_s = monotonic()
        await call.begin(200, ((b"content-type", LINES.encode()),))
        gone = asyncio.create_task(call.gone())
        deciding = asyncio.create_task(self._decide_all(call, lines))
        try:
            await asyncio.wait((deciding, gone), return_when=asyncio.FIRST_COMPLETED)
            if deciding.done():
                deciding.result()
                await call.end()
        finally:
            # Of a caller that has left, nothing more is decided, nor booked.
            gone.cancel()
            deciding.cancel()
            with suppress(asyncio.CancelledError):
                await deciding

    async def _decide_all(self, call: HttpCall, lines: list[tuple[int, bytes]]) -> None:
        free = asyncio.Semaphore(self._current.settings.limits.max_stream_in_flight)

        async def decide(number: int, line: bytes, *, is_first: bool) -> None:
            try:
                reply = await self._reply(call, number, line, is_first=is_first)
                await call.write(orjson.dumps(reply) + b"\n")
            finally:
                free.release()

        async with asyncio.TaskGroup() as deciding:
            for at, (number, line) in enumerate(lines):
                # A caller that reads no replies has no further lines decided.
                await free.acquire()
                deciding.create_task(decide(number, line, is_first=at == 0))

    async def _reply(
        self, call: HttpCall, number: int, line: bytes, *, is_first: bool
    ) -> dict[str, object]:
        """Decides a line; an error becomes the line's reply."""
        began_s, code, request_id = monotonic(), "OK", ""
        try:
            if not is_first:  # which has been counted with the call
                admitted(call).take()
            message = await self._calls.aside.run_if_large(len(line), self._read, line)
            request_id = message.request_id
            request = self._service.prompt_request(message, admitted(call).caller)
            decision = await self._current.engine.route(request, call.deadline_s)
            return self._response.written(
                self._service.route_response(decision, call.header(b"traceparent"))
            )
        except Exception as error:  # noqa: BLE001 - one line's error must not end the others
            status, text = reported(error, _RPC)
            code = status.name
            failed = RouteError(code=status.value[0], message=f"line {number}: {text}")
            return self._response.written(RouteResponse(request_id=request_id, error=failed))
        finally:
            if not is_first:
                self._calls.answered(_RPC, code, monotonic() - began_s)

    def _read(self, line: bytes) -> RouteRequest:
        return self._request.read(json_of(line))


def _numbered(body: bytes) -> list[tuple[int, bytes]]:
    """Returns the lines that hold something, with their numbers from 1 on."""
    return [
        (number, line)
        for number, line in enumerate(body.split(b"\n"), 1)
        if not line.isspace() and line
    ]
