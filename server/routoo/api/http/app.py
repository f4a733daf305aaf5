"""The ASGI application of the HTTP front: which door takes a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from routoo.api.http.admission import HttpAdmission, has_body
from routoo.api.http.call import HttpCall
from routoo.api.http.problem import HttpError, send_problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from routoo.api.http.call import Receive, Scope, Send
    from routoo.api.http.door import Door
    from routoo.api.http.hosts import KnownHosts

_MOST_PATH_CHARS: Final = 80


class HttpApp:
    """Gives each request to its door. An ASGI application.

    Args:
        doors: all doors of the front; a method of a path stands once.
        admission: lets calls in.
        hosts: the names by which the front may be reached.
    """

    def __init__(self, doors: Iterable[Door], admission: HttpAdmission, hosts: KnownHosts) -> None:
        self._doors: dict[str, dict[str, Door]] = {}
        for door in doors:
            methods = self._doors.setdefault(door.path, {})
            for method in ("GET", "HEAD") if door.method == "GET" else (door.method,):
                assert method not in methods, door  # noqa: S101 - which one would answer?
                methods[method] = door
        self._admission = admission
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        call = HttpCall(scope, receive, send)
        try:
            self._hosts.check(call)
            door = self._door(call)
        except HttpError as error:
            call.closes = has_body(call)
            await send_problem(call, error, "")
            return
        await self._admission.run(call, door)

    def _door(self, call: HttpCall) -> Door:
        if call.headers.get(b"upgrade", b"").lower() == b"websocket":
            raise HttpError(
                426,
                "WebSockets are not spoken here; send the request over plain HTTP",
                ((b"upgrade", b"HTTP/1.1"),),
            )
        methods = self._doors.get(call.path) or self._below(call.path)
        if methods is None:
            raise HttpError(
                404, f"there is no {call.path[:_MOST_PATH_CHARS]} here; /openapi.json lists all"
            )
        door = methods.get(call.method)
        if door is None and b"upgrade" in call.headers:
            raise HttpError(
                426,
                f"{call.path} has no websocket; send the request with POST",
                ((b"upgrade", b"HTTP/1.1"),),
            )
        if door is None:
            allow = ", ".join(sorted(methods))
            raise HttpError(
                405,
                f"{call.path} takes {allow}, not {call.method}",
                ((b"allow", allow.encode()),),
            )
        return door

    def _below(self, path: str) -> dict[str, Door] | None:
        """Returns the doors of all paths below one; None: there are none."""
        return next(
            (
                methods
                for start, methods in self._doors.items()
                if start.endswith("/*") and path.startswith(start[:-1])
            ),
            None,
        )
