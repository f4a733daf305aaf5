"""One request at a door: its attempts at providers, the reply that passes, and what is booked."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from time import monotonic, perf_counter, time
from typing import TYPE_CHECKING, Final

from routoo.api.http.proxy.forwarded_headers import to_caller, to_provider
from routoo.api.http.proxy.provider import AttemptError
from routoo.api.http.proxy.relayed_usage import RelayedUsage
from routoo.api.llm.refusal import Refusal
from routoo.api.llm.settlement import FIRST_ERROR_STATUS, settled_by
from routoo.routing.health.failures import Cause, ProviderFailure, cause_of
from routoo.routing.health.retry_after import retry_after_s_of
from routoo.routing.outcome import OutcomeReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from routoo.api.http.call import HttpCall
    from routoo.api.http.proxy.provider import Provider, ProviderReply
    from routoo.api.http.proxy.upstreams import UpstreamTarget
    from routoo.api.llm.intake import Accepted
    from routoo.api.llm.metrics import ExchangeCounts
    from routoo.config.settings import Settings
    from routoo.engine.health.tracker import ProviderHealth

    Attempt = tuple[Accepted, UpstreamTarget]

_FIRST_SUCCESS: Final = 200
_FIRST_REDIRECT: Final = 300
_SUFFIXES: Final = {
    "chat": "/chat/completions",
    "responses": "/responses",
    "completions": "/completions",
    "messages": "/messages",
}

_OF_ACCOUNT: Final = frozenset({Cause.CREDENTIALS, Cause.RATE_LIMITED})
"""Failures that a provider tells of an account."""


class Forwarding:
    """Sends one accepted request on, and passes the reply back.

    Args:
        call: the request.
        first: the request for the decided model, and its provider.
        others: the same for its fallbacks, the best first.
        settings: in force when it was decided.
        tally: counts how the reply has ended.
        let_go: gives the memory of the request back; called once the reply begins to pass.
        health: is told of providers that fail; None: nobody keeps it.
        path: of the request, from ``/v1`` on; empty: that of its API.
    """

    def __init__(
        self,
        call: HttpCall,
        first: Attempt,
        others: Iterator[Attempt],
        settings: Settings,
        tally: ExchangeCounts,
        let_go: Callable[[HttpCall], None],
        health: ProviderHealth | None = None,
        path: str = "",
    ) -> None:
        self._call = call
        self._attempt: Attempt | None = first
        self._let_go = let_go
        self._health = health
        self._status = 0
        self._failure: ProviderFailure | None = None
        self._asked_s = 0.0
        self._others = others
        self._settings = settings
        self._tally = tally
        self._path = path.removeprefix("/v1")
        self._found = first[0].found
        self._sent_s = 0.0
        self._usage: RelayedUsage | None = None
        self._finished = False
        self._began = False
        self._error = ""
        self._may_have_worked = False

    @property
    def finished(self) -> bool:
        """Whether the whole reply was passed on."""
        return self._finished

    @property
    def model(self) -> str:
        """The model that was asked last."""
        return self._found.model

    async def run(self) -> Refusal | None:
        """Asks until one answers, and passes its reply on; a refusal: nobody has.

        Raises:
            AttemptError: the reply broke off after it had begun.
        """
        refusal: Refusal | None = None
        # No variable holds the request: its body may be large, and the reply long.
        while self._attempt is not None:
            self._found = self._attempt[0].found
            self._begin_attempt()
            provider = self._attempt[1].provider
            try:
                async with provider.connection(self._within_s(provider)):
                    reply = await self._sent(*self._attempt)
                    self._note(reply, provider)
                    if reply.status in self._settings.proxy.retry_on and self._next():
                        await reply.drop(self._settings.proxy.max_error_bytes)
                        continue
                    await self._pass(reply, provider)
            except AttemptError as error:
                if self._began:
                    self._failure = self._failure_of(error)
                    raise
                self._error = str(error)
                self._may_have_worked = error.may_have_worked
                self._failure = self._failure_of(error)
                refusal = _refusal(error, self._found.model)
                if not self._next():
                    return refusal
            else:
                return None
        return refusal

    def _begin_attempt(self) -> None:
        self._error, self._may_have_worked = "", False
        self._status, self._failure = 0, None
        self._asked_s = monotonic()

    def _note(self, reply: ProviderReply, provider: Provider) -> None:
        """Notes what the headers of a reply tell of the provider."""
        self._status = reply.status
        cause = cause_of(reply.status)
        if cause in _OF_ACCOUNT and provider.takes_callers_key:
            return  # one caller's key or limits must not leave the provider out for all
        if cause is not Cause.NONE:
            told = retry_after_s_of(reply.header(b"retry-after"), time())
            self._failure = ProviderFailure.of(cause, told)

    def _failure_of(self, error: AttemptError) -> ProviderFailure | None:
        """Returns the failure of a provider without a reply; None: its time was the caller's."""
        remaining_s = self._call.time_remaining()
        hurried = remaining_s is not None and remaining_s <= 0
        if hurried and error.cause is Cause.TIMEOUT:
            return None
        return ProviderFailure.of(error.cause)

    def _next(self) -> bool:
        """Turns to the next fallback; False: there is none, or no time for it."""
        remaining_s = self._call.time_remaining()
        if remaining_s is not None and remaining_s <= 0:
            return False
        following = next(self._others, None)
        if following is not None:
            # The last attempt is told with the outcome, this one is not.
            if self._failure is not None:
                self._tally.retried(self._failure)
                if self._health is not None:
                    self._health.failed(self._found.model, self._failure, self._asked_s)
            self._attempt = following
        return following is not None

    async def _sent(self, accepted: Accepted, target: UpstreamTarget) -> ProviderReply:
        settings, provider = self._settings, target.provider
        body = accepted.rewritten(settings.processor, target.upstream_model)
        query = self._call.scope.get("query_string", b"").decode("latin-1")
        path = self._path or _SUFFIXES[accepted.head.api]
        headers = to_provider(
            self._call.scope["headers"],
            provider,
            (("content-type", "application/json"),),
            identity=settings.processor.uncompressed_replies,
        )
        within_s = self._within_s(provider)
        self._sent_s = perf_counter()
        self._call.handed_s = self._call.handed_s or monotonic()
        return await provider.send(f"{path}?{query}" if query else path, body, headers, within_s)

    def _within_s(self, provider: Provider) -> float:
        """Returns the longest time until a reply begins, in seconds."""
        within_s = provider.settings.first_byte_timeout_s
        remaining_s = self._call.time_remaining()
        return within_s if remaining_s is None else min(within_s, max(0.0, remaining_s))

    async def _pass(self, reply: ProviderReply, provider: Provider) -> None:
        """Passes a reply on, byte for byte, and reads the usage in it."""
        status = reply.status
        try:
            _check_passes(status, provider)
            self._attempt, self._others = None, iter(())
            if status >= FIRST_ERROR_STATUS:
                self._error = f"HTTP status {status}"
                self._may_have_worked = False
            else:
                self._error = ""
                self._usage = RelayedUsage.of(reply, self._settings.processor.max_reply_bytes)
            call, usage = self._call, self._usage
            self._began = True
            self._let_go(call)
            await call.begin(status, to_caller(reply.headers, self._found.headers))
            async for piece in reply.pieces():
                if usage is not None:
                    usage.feed(piece)
                self._finished = reply.ended
                await call.send(
                    {
                        "type": "http.response.body",
                        "body": piece,
                        "more_body": not self._finished,
                    }
                )
            if not self._finished:
                self._finished = True
                await call.send({"type": "http.response.body", "body": b""})
        finally:
            reply.close()

    def outcome(self, *, gone: bool) -> OutcomeReport | None:
        """Returns the outcome to be booked; None: nothing was decided.

        Args:
            gone: whether the caller has left.
        """
        decision = self._found.decision
        if decision is None:
            return None
        found, failure = self._found, self._failure
        latency_ms = (perf_counter() - self._sent_s) * 1e3
        outcome = replace(
            self._outcome(decision.decision_id, latency_ms, gone=gone),
            model="" if found.is_named or found.name == decision.name else found.name,
            status=self._status,
            failure=failure,
        )
        if failure is not None and failure.cause is Cause.TIMEOUT:
            # Nobody waited any longer: the answer would have taken more time than that.
            return replace(outcome, latency_ms=latency_ms)
        return outcome

    def _outcome(self, decision_id: str, latency_ms: float, *, gone: bool) -> OutcomeReport:
        if self._error:
            self._tally.reply("failed")
            books = self._settings.processor.failed_upstream == "estimate"
            return OutcomeReport(
                decision_id, error=self._error, estimated=self._may_have_worked and books
            )
        if self._usage is None:
            self._tally.reply("gone" if gone or not self._finished else "estimated")
            return OutcomeReport(decision_id, estimated=True)
        finished, first_s = self._finished, self._usage.first_s
        return settled_by(
            decision_id,
            self._usage.reading(finished=finished),
            latency_ms if finished else None,
            self._tally,
            broke_off=not finished,
            first_token_ms=(first_s - self._sent_s) * 1e3 if finished and first_s else None,
        )


def _check_passes(status: int, provider: Provider) -> None:
    """Refuses to pass a reply on that is not for the caller.

    Raises:
        AttemptError: it sends to another address, or refuses the key of the service, which it may
            quote.
    """
    if _FIRST_REDIRECT <= status < FIRST_ERROR_STATUS or status < _FIRST_SUCCESS:
        raise AttemptError(
            Cause.SERVER_ERROR, f"it replied with HTTP status {status}", may_have_worked=False
        )
    if status == HTTPStatus.UNAUTHORIZED and not provider.takes_callers_key:
        raise AttemptError(
            Cause.CREDENTIALS, "it does not take the service's key", may_have_worked=False
        )


def _refusal(error: AttemptError, model: str) -> Refusal:
    """Makes the reply for a request that nobody has answered, without an address or a key."""
    kind = "upstream_timeout" if error.status == 504 else "upstream_unreachable"
    return Refusal(
        error.status,
        kind,
        f"the provider of {model} gave no reply: {error}; send again, or see the log of the"
        " service",
    )
