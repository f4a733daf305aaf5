"""The doors that take requests of LLM clients: decided, forwarded, and settled."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final

import structlog

from routoo.api.http.admission import CallerGoneError
from routoo.api.http.door import Door
from routoo.api.http.problem import HttpError
from routoo.api.http.proxy.catalogue import COUNT_TOKENS, DoorCatalogue
from routoo.api.http.proxy.exchange import Forwarding
from routoo.api.http.proxy.provider import AttemptError
from routoo.api.http.proxy.upstreams import Upstreams
from routoo.api.llm.content_coding import codings_of
from routoo.api.llm.headers import PREFIX
from routoo.api.llm.intake import Accepted, decided
from routoo.api.llm.refusal import Refusal, refusal_of
from routoo.api.llm.router import Head, Routed, Router
from routoo.api.llm.settlement import OutcomeQueue
from routoo.api.memory.in_flight import CALL_BYTES, message_bytes
from routoo.api.security.gate import Admission
from routoo.errors import ConfigError, DrainingError, NoEligibleModelError
from routoo.routing.outcome import OutcomeReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routoo.api.calls import Calls
    from routoo.api.http.call import HttpCall
    from routoo.api.http.proxy.exchange import Attempt
    from routoo.api.http.proxy.upstreams import UpstreamTarget
    from routoo.api.llm.bodies.request_body import RequestBody
    from routoo.api.llm.body import Api
    from routoo.api.llm.metrics import ExchangeCounts
    from routoo.config.sections.processor import ProcessorSettings
    from routoo.config.sections.proxy import ProxySettings
    from routoo.engine.current import ActiveEngine
    from routoo.routing.pool import Pool
    from routoo.telemetry.tracing import Tracing

PATHS: Final[dict[str, Api]] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/completions": "completions",
    "/v1/messages": "messages",
}
_RPCS: Final[dict[Api, str]] = {
    "chat": "chat/completions",
    "responses": "responses",
    "completions": "completions",
    "messages": "messages",
}
_log = structlog.get_logger("routoo.proxy")


class LlmDoors:
    """Takes requests of LLM clients. Lives on the loop that serves.

    Args:
        current: the engine and the settings in force.
        calls: their overload, memory and thread for large bodies are used here, too.
        tally: counts the results of requests and replies.
        tracing: gets the decisions; None: nothing is traced.
    """

    def __init__(
        self,
        current: ActiveEngine,
        calls: Calls,
        tally: ExchangeCounts,
        tracing: Tracing | None = None,
    ) -> None:
        self._current = current
        self._calls = calls
        self._tally = tally
        self._router = Router(
            current, calls.overload, tracing, aside=calls.aside, on_fault=tally.fault
        )
        self._booking = OutcomeQueue(current)
        self._running: set[asyncio.Task[None]] = set()
        self._ends = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._built: tuple[ProxySettings, Pool, Upstreams] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._terms: tuple[ProcessorSettings, ProcessorSettings] | None = None

    def doors(self) -> list[Door]:
        """Returns the doors, for the HTTP front."""
        catalogue = DoorCatalogue(
            self._current, self._calls.aside, self._upstreams, self._forward_counting, self._hold
        )
        requests = [
            Door(
                "POST",
                path,
                partial(self._answer, api),
                rpc=_RPCS[api],
                decodes=True,
                refuse=partial(self._refuse, api),
            )
            for path, api in PATHS.items()
        ]
        kept = [
            Door(
                method,
                "/v1/responses/*",
                _kept_elsewhere,
                rpc=_RPCS["responses"],
                most_bytes=0,
                refuse=partial(self._refuse, "responses"),
            )
            for method in ("GET", "POST", "DELETE")
        ]
        return [*requests, *kept, *catalogue.doors(partial(self._refuse, "messages"))]

    @property
    def reached(self) -> tuple[str, ...]:
        """The models whose providers can be reached, in the pool's order."""
        return self._upstreams().reached

    async def close(self, grace_s: float) -> None:
        """Waits for the replies under way, and books those that take longer at the estimate.

        To be called before the engine is closed.

        Args:
            grace_s: the longest wait, in seconds.
        """
        self._router.open = False
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        self._ends = True
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._booking.done()
        if self._built is not None:
            await self._built[2].close()

    async def settled(self) -> None:
        """Waits until no request is in progress and all outcomes are booked."""
        await self._idle.wait()
        await self._booking.done()

    async def _answer(self, api: Api, call: HttpCall) -> None:
        # No variable holds the request while the reply passes: its body may be large.
        found = await self._accepted(api, call)
        if isinstance(found, Refusal):
            await self._send(call, api, found)
        else:
            await self._run(call, api, found)

    async def _accepted(self, api: Api, call: HttpCall) -> Forwarding | Refusal:
        """Decides a request.

        Raises:
            HttpError: it cannot be read, or is not one that is decided.
            NoEligibleModelError: no model can be reached, or not the one that it names.
        """
        settings = self._current.settings
        upstreams, terms = self._upstreams(), self._terms_of(settings.processor)
        if len(call.body) > terms.max_body_bytes:
            raise HttpError(413, f"the body is longer than {terms.max_body_bytes} bytes; send less")
        coding = call.header(b"content-encoding")
        if codings_of(coding) is None:
            raise HttpError(415, f"content-encoding {coding[:40]} is not read; send plain JSON")
        offered = upstreams.offered(api, terms)
        if offered is None:
            raise _no_upstream(api)
        assert call.admission is not None  # noqa: S101 - the front lets nobody in without one
        # The front ends the admission when the reply has been passed on.
        admission = Admission(call.admission.caller)
        head = head_of(api, call)
        found = await decided(
            self._router,
            self._calls.aside,
            head,
            call.body,
            terms,
            lambda: admission,
            partial(self._hold, call),
            offered,
        )
        if found is None:
            raise HttpError(
                400, f"the body is no JSON object; send one with model {terms.route_names[0]!r}"
            )
        if isinstance(found, Refusal):
            return found
        return self._forwarding(call, found, self._attempts(found, upstreams))

    def _attempts(self, accepted: Accepted, upstreams: Upstreams) -> Iterator[Attempt]:
        """Yields whom to ask: the decided model, then its fallbacks, as far as they are reached."""
        for one in chain((accepted,), accepted.instead()):
            target = upstreams.target(one.found.model, one.head.api)
            if target is not None:
                yield one, target

    def _hold(self, call: HttpCall, length: int) -> None:
        """Reserves the memory of a body that was decompressed to a length in bytes."""
        more_bytes = message_bytes(length)
        self._calls.in_flight.take(more_bytes, own_bytes=call.held_bytes)
        call.held_bytes += more_bytes

    async def _forward_counting(
        self, call: HttpCall, body: RequestBody, target: UpstreamTarget
    ) -> None:
        """Has a provider count the tokens of a request, which it does not bill."""
        found = Routed(target.model, None, (), None, is_named=True)
        accepted = Accepted(head_of("messages", call), body, found)
        attempts = iter([(accepted, target)])
        await self._run(call, "messages", self._forwarding(call, accepted, attempts, COUNT_TOKENS))

    def _forwarding(
        self, call: HttpCall, accepted: Accepted, attempts: Iterator[Attempt], path: str = ""
    ) -> Forwarding:
        found = accepted.found
        first = next(attempts, None)
        if first is None:
            if found.decision is not None:
                lost = OutcomeReport(found.decision.decision_id, error="no upstream")
                self._booking.add(lost)
            raise _no_upstream(accepted.head.api, found.model)
        if found.decision is not None:
            self._router.trace(found.decision, accepted.head.traceparent)
            self._tally.request("routed")
        else:
            self._tally.request("passed" if found.is_named else "fallback")
        return Forwarding(
            call,
            first,
            attempts,
            self._current.settings,
            self._tally,
            self._let_go,
            self._current.engine.accounting.health,
            path,
        )

    def _let_go(self, call: HttpCall) -> None:
        """Gives back what is reserved for the body of a request, which nobody needs any more."""
        call.body = b""
        kept_bytes = min(call.held_bytes, CALL_BYTES)
        self._calls.in_flight.give(call.held_bytes - kept_bytes)
        call.held_bytes = kept_bytes

    async def _run(self, call: HttpCall, api: Api, forwarding: Forwarding) -> None:
        """Has a request answered, or refuses it where nobody answers."""
        refusal = await self._ended(call, forwarding)
        if refusal is not None:
            await self._send(call, api, refusal)

    async def _ended(self, call: HttpCall, forwarding: Forwarding) -> Refusal | None:
        """Has a request answered, and books it when it has ended, or its caller has left.

        Raises:
            CallerGoneError: the caller has left, or the reply has broken off, of which only the end
                of the connection can tell.
            DrainingError: the service stops, and no reply has begun.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has one
        self._running.add(task)
        self._idle.clear()
        left = False

        def leave(watching: asyncio.Task[None]) -> None:
            nonlocal left
            if not watching.cancelled() and not forwarding.finished:
                left = True
                task.cancel()

        watching = asyncio.get_running_loop().create_task(call.gone())
        watching.add_done_callback(leave)
        try:
            return await forwarding.run()
        except asyncio.CancelledError:
            if not (left or self._ends) or task.uncancel():
                raise
            if left or call.begun:
                raise CallerGoneError from None
            raise DrainingError("the service is stopping; send again") from None
        except AttemptError as error:
            _log.warning("a reply broke off", model=forwarding.model, reason=str(error))
            raise CallerGoneError from None
        finally:
            watching.remove_done_callback(leave)
            watching.cancel()
            self._running.discard(task)
            if (outcome := forwarding.outcome(gone=left)) is not None:
                self._booking.add(outcome)
            if not self._running:
                self._idle.set()

    async def _send(self, call: HttpCall, api: Api, refusal: Refusal) -> None:
        if not refusal.code.startswith("upstream_"):
            self._tally.request("refused")
        headers = [(name.encode(), value.encode()) for name, value in refusal.headers]
        kind = dict(headers).pop(b"content-type")
        further = [header for header in headers if header[0] != b"content-type"]
        await call.reply(refusal.status, refusal.body(api), kind, further)

    async def _refuse(self, api: Api, call: HttpCall, error: Exception, rpc: str) -> str:
        """Replies to a call that has failed in the form of its API's errors; returns the code."""
        if isinstance(error, HttpError):
            call.closes |= error.closes
            found = Refusal(error.status, f"http_{error.status}", str(error))
        else:
            found = refusal_of(error, rpc)
        await self._send(call, api, found)
        return found.code.upper()

    def _upstreams(self) -> Upstreams:
        """Returns the providers of the settings and the pool in force."""
        settings, pool = self._current.settings.proxy, self._current.engine.pool
        if self._built is not None and self._built[0] is settings and self._built[1] is pool:
            return self._built[2]
        old = None if self._built is None else self._built[2]
        try:
            upstreams = Upstreams(settings, pool)
        except ConfigError as error:
            if old is None:
                raise
            # Checked at the reload; a file has changed since.
            _log.error("kept the old upstreams", reason=str(error))
            return old
        self._built = settings, pool, upstreams
        if old is not None:
            closing = asyncio.get_running_loop().create_task(old.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        return upstreams

    def _terms_of(self, settings: ProcessorSettings) -> ProcessorSettings:
        """Returns the processor's settings as they hold here, where nothing passes unread."""
        if self._terms is None or self._terms[0] is not settings:
            here = {"on_unreadable": "refuse", "on_too_large": "refuse"}
            self._terms = settings, settings.model_copy(update=here)
        return self._terms[1]


async def _kept_elsewhere(call: HttpCall) -> None:  # noqa: ARG001 - each gets the same answer
    """Refuses what is asked of a reply that was given before."""
    raise HttpError(
        404,
        "the provider that gave this reply has it, and which one that was is not kept here; keep"
        " replies yourself, or ask that provider",
    )


def head_of(api: Api, call: HttpCall) -> Head:
    """Returns the parts of a request's headers that a decision reads."""
    headers = [
        (name.decode("latin-1"), value.decode("utf-8", "replace"))
        for name, value in call.scope["headers"]
    ]
    return Head(
        api=api,
        ours=tuple(header for header in headers if header[0].startswith(PREFIX)),
        names=frozenset(name for name, _ in headers),
        request_id=call.header(b"x-request-id"),
        traceparent=call.header(b"traceparent"),
        codings=codings_of(call.header(b"content-encoding")) or (),
    )


def _no_upstream(api: Api, model: str = "") -> NoEligibleModelError:
    whose = f"model {model!r} has" if model else "no model of the pool has"
    return NoEligibleModelError(
        f"{whose} {'no' if model else 'an'} upstream that takes {_RPCS[api]}; set the key of a"
        " provider, such as OPENROUTER_API_KEY, or name it under proxy.upstreams",
        constraint="upstreams",
    )
