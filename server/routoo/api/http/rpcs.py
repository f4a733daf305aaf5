"""The RPCs over HTTP: their messages in protobuf's JSON form, answered by gRPC's own handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from routoo.api.http.door import Door
from routoo.api.http.json_form import JsonForm
from routoo.api.llm.bodies.json_text import BOM, read_json
from routoo.errors import InvalidRequestError
from routoo.v1 import route_pb2

if TYPE_CHECKING:
    from routoo.api.calls import Calls
    from routoo.api.http.call import HttpCall
    from routoo.api.security.caller import Caller
    from routoo.api.service import RouterService
    from routoo.engine.current import ActiveEngine
    from routoo.routing.request import PromptRequest


class HttpRpcs:
    """Answers the RPCs over HTTP.

    Args:
        current: the engine and the settings in force.
        service: answers them over gRPC.
        calls: of gRPC; its thread reads large bodies.
    """

    def __init__(self, current: ActiveEngine, service: RouterService, calls: Calls) -> None:
        self._current = current
        self._service = service
        self._aside = calls.aside
        self._route_request = JsonForm.of(route_pb2.RouteRequest)
        self._route_response = JsonForm.of(route_pb2.RouteResponse)

    def doors(self) -> list[Door]:
        """Returns the doors of the RPCs."""
        return [Door("POST", "/v1/route", self._route, "Route", sheds=True)]

    async def _route(self, call: HttpCall) -> None:
        assert call.admission is not None  # noqa: S101 - it was let in
        body = call.body
        request = await self._aside.run_if_large(
            len(body), self._read_route, body, call.admission.caller
        )
        decision = await self._current.engine.route(request, call.deadline_s)
        response = self._service.route_response(decision)
        await call.reply(200, orjson.dumps(self._route_response.written(response)))

    def _read_route(self, body: bytes, caller: Caller) -> PromptRequest:
        message = self._route_request.read(json_of(body))
        return self._service.prompt_request(message, caller)


def json_of(body: bytes) -> object:
    """Reads a body.

    Raises:
        InvalidRequestError: it is no JSON.
    """
    try:
        return read_json(body.removeprefix(BOM))
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"the body is not JSON: {error}") from None
