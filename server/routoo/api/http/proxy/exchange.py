"""One request at a door: its attempts at providers, the reply that passes, and what is booked."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Final

from routoo.api.http.proxy.forwarded_headers import to_caller, to_provider
from routoo.api.http.proxy.provider import AttemptError
from routoo.api.http.proxy.relayed_usage import RelayedUsage
from routoo.api.llm.refusal import Refusal
from routoo.api.llm.settlement import FIRST_ERROR_STATUS, settled_by
from routoo.routing.outcome import OutcomeReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from routoo.api.http.call import HttpCall
    from routoo.api.http.proxy.provider import ProviderReply
    from routoo.api.http.proxy.upstreams import UpstreamTarget
    from routoo.api.llm.intake import Accepted
    from routoo.api.llm.metrics import ExchangeCounts
    from routoo.config.settings import Settings

    Attempt = tuple[Accepted, UpstreamTarget]

_FIRST_REDIRECT: Final = 300
_SUFFIXES: Final = {
    "chat": "/chat/completions",
    "responses": "/responses",
    "completions": "/completions",
    "messages": "/messages",
}


class Forwarding:
    """Sends one accepted request on, and passes the reply back.

    Args:
        call: the request.
        first: the request for the decided model, and its provider.
        others: the same for its fallbacks, the best first.
        settings: in force when it was decided.
        tally: counts how the reply has ended.
        let_go: gives the memory of the request back; called once the reply begins to pass.
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
        path: str = "",
    ) -> None:
        self._call = call
        self._attempt: Attempt | None = first
        self._let_go = let_go
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
            self._error, self._may_have_worked = "", False
            provider = self._attempt[1].provider
            provider.enter()
            try:
                reply = await self._sent(*self._attempt)
                failed = reply.status in self._settings.proxy.retry_on
                if failed and self._next():
                    await reply.drop(self._settings.proxy.max_error_bytes)
                    continue
                await self._pass(reply)
            except AttemptError as error:
                if self._began:
                    raise
                self._error = str(error)
                self._may_have_worked = error.may_have_worked
                refusal = _refusal(error, self._found.model)
                if not self._next():
                    return refusal
            else:
                return None
            finally:
                await provider.leave()
        return refusal

    def _next(self) -> bool:
        """Turns to the next fallback; False: there is none, or no time for it."""
        remaining_s = self._call.time_remaining()
        if remaining_s is not None and remaining_s <= 0:
            return False
        following = next(self._others, None)
        if following is not None:
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
        within_s = provider.settings.first_byte_timeout_s
        remaining_s = self._call.time_remaining()
        if remaining_s is not None:
            within_s = min(within_s, max(0.0, remaining_s))
        self._sent_s = perf_counter()
        self._call.handed_s = self._call.handed_s or monotonic()
        return await provider.send(f"{path}?{query}" if query else path, body, headers, within_s)

    async def _pass(self, reply: ProviderReply) -> None:
        """Passes a reply on, byte for byte, and reads the usage in it."""
        status = reply.status
        self._attempt, self._others = None, iter(())
        try:
            if _FIRST_REDIRECT <= status < FIRST_ERROR_STATUS or status < 200:
                raise AttemptError(
                    502, f"it replied with HTTP status {status}", may_have_worked=False
                )
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
                await call.send({"type": "http.response.body", "body": piece, "more_body": True})
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
        model = self._found.model
        answered_by = "" if model == decision.model else model
        found = self._outcome(decision.decision_id, gone=gone)
        return replace(found, model=answered_by) if answered_by else found

    def _outcome(self, decision_id: str, *, gone: bool) -> OutcomeReport:
        if self._error:
            self._tally.reply("failed")
            books = self._settings.processor.failed_upstream == "estimate"
            return OutcomeReport(
                decision_id, error=self._error, estimated=self._may_have_worked and books
            )
        if self._usage is None:
            self._tally.reply("gone" if gone or not self._finished else "estimated")
            return OutcomeReport(decision_id, estimated=True)
        latency_ms = (perf_counter() - self._sent_s) * 1e3
        return settled_by(
            decision_id,
            self._usage.reading(finished=self._finished),
            latency_ms if self._finished else None,
            self._tally,
            broke_off=not self._finished,
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
