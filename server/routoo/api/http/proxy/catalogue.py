"""The doors beside those of requests: the lists of models, and the counting of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from routoo.api.http.door import Door
from routoo.api.http.problem import HttpError
from routoo.api.llm.bodies.request_body import read_body
from routoo.api.llm.content_coding import codings_of, decoded
from routoo.api.llm.model_lists import listed, one_of
from routoo.api.llm.named_models import EVERY_NAME
from routoo.api.llm.token_estimate import estimated_tokens
from routoo.errors import TooLargeError, UnreadableBodyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from routoo.api.aside import Aside
    from routoo.api.http.call import HttpCall
    from routoo.api.http.door import Refuse
    from routoo.api.http.proxy.upstreams import Upstreams, UpstreamTarget
    from routoo.api.llm.bodies.request_body import RequestBody
    from routoo.engine.current import ActiveEngine

MODELS: Final = "/v1/models"
COUNT_TOKENS: Final = "/v1/messages/count_tokens"
ESTIMATED: Final = (b"x-routoo-estimated", b"input_tokens")
"""Header of a reply whose figure is an estimate of the service, and not the provider's word."""


class DoorCatalogue:
    """Answers what clients ask before they send a request.

    Args:
        current: the engine and the settings in force.
        aside: reads large bodies.
        upstreams: returns the providers in force.
        forward: sends a body that names a model of the pool on to its provider.
        hold: reserves the memory of a body that was decompressed to a length in bytes.
    """

    def __init__(
        self,
        current: ActiveEngine,
        aside: Aside,
        upstreams: Callable[[], Upstreams],
        forward: Callable[[HttpCall, RequestBody, UpstreamTarget], Awaitable[None]],
        hold: Callable[[HttpCall, int], None],
    ) -> None:
        self._current = current
        self._aside = aside
        self._upstreams = upstreams
        self._forward = forward
        self._hold = hold

    def doors(self, refuse: Refuse) -> list[Door]:
        """Returns the doors.

        Args:
            refuse: replies to a counting of tokens that has failed.
        """
        return [
            Door("GET", MODELS, self._list, rpc="models"),
            Door("GET", f"{MODELS}/*", self._one, rpc="models"),
            Door(
                "POST",
                COUNT_TOKENS,
                self._count,
                rpc="messages/count_tokens",
                decodes=True,
                refuse=refuse,
            ),
        ]

    async def _list(self, call: HttpCall) -> None:
        names, models = self._names()
        await call.reply(200, listed(names, models, anthropic=_is_anthropic(call)))

    async def _one(self, call: HttpCall) -> None:
        name = call.path.removeprefix(f"{MODELS}/")
        found = one_of(name, *self._names(), anthropic=_is_anthropic(call))
        if found is None:
            raise HttpError(404, f"there is no model {name[:80]!r} here; {MODELS} lists all")
        await call.reply(200, found)

    def _names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Returns the route names, and the models that may be named and can be reached."""
        settings = self._current.settings.processor
        named = () if settings.named_models == "refuse" else self._upstreams().reached
        return settings.route_names, named

    async def _count(self, call: HttpCall) -> None:
        """Counts the input tokens of a request.

        The provider of a model that is named counts by itself. For a route name nobody knows yet
        which model will count, so the service estimates.
        """
        settings, pool = self._current.settings.processor, self._current.engine.pool
        data = await self._plain(call)
        size = len(data)
        body = await self._aside.run_if_large(size, read_body, data, EVERY_NAME)
        model = None if body is None else body.values.get("model")
        if body is None or not isinstance(model, str):
            raise HttpError(400, f"the body names no model; send {settings.route_names[0]!r}")
        if model not in settings.route_names:
            column = pool.answering(model)
            target = None
            if column is not None and settings.named_models != "refuse":
                target = self._upstreams().target(pool.model_of(column), "messages")
            if target is not None:
                await self._forward(call, body, target)
                return
            if column is None:
                raise HttpError(404, f"there is no model {model[:80]!r} here; {MODELS} lists all")
        tokens = await self._aside.run_if_large(
            size, estimated_tokens, "messages", body.values, body.counted, pool, settings
        )
        await call.reply(200, orjson.dumps({"input_tokens": tokens}), headers=(ESTIMATED,))

    async def _plain(self, call: HttpCall) -> bytes:
        """Returns the body without its coding.

        Raises:
            HttpError: it is too long, or not in a coding that is known.
        """
        most_bytes = self._current.settings.processor.max_body_bytes
        codings = codings_of(call.header(b"content-encoding"))
        if codings is None:
            raise HttpError(415, "the content-encoding is not read; send plain JSON")
        if len(call.body) > most_bytes:
            raise HttpError(413, f"the body is longer than {most_bytes} bytes; send less")
        if not codings:
            return call.body
        try:
            data = await self._aside.run(decoded, call.body, codings, most_bytes)
        except UnreadableBodyError as error:
            raise HttpError(400, f"{error}; send plain JSON") from None
        except TooLargeError as error:
            raise HttpError(413, f"{error}; send less") from None
        self._hold(call, len(data))
        return data


def _is_anthropic(call: HttpCall) -> bool:
    """Returns whether a client of Anthropic's API asks: every one of them sends this header."""
    return b"anthropic-version" in call.headers
