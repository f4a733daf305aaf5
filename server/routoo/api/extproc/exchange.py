"""One HTTP request and its reply, processed in Envoy's messages.

    request headers -> request body -> (decided) -> reply headers -> reply body, piece by piece

A request that is not to be routed ends at one of the first two steps. The last two happen to routed
requests only, and only if replies are not settled by the access log: then the reply is read while
it passes, to find what it cost.
"""

from __future__ import annotations

import re
from dataclasses import replace
from enum import Enum, auto
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from routoo.api.extproc import messages, retry
from routoo.api.extproc.failures import may_have_worked, reply_failure
from routoo.api.llm.bodies.edits import changed
from routoo.api.llm.body import api_of
from routoo.api.llm.headers import DECISION_ID, FALLBACK_MODEL, PREFIX
from routoo.api.llm.intake import decided
from routoo.api.llm.refusal import Refusal, unreadable
from routoo.api.llm.router import Head
from routoo.api.llm.settlement import FIRST_ERROR_STATUS, settled_by
from routoo.errors import InvalidRequestError
from routoo.routing.outcome import OutcomeReport
from routoo.tariffs.usage_reader import UsageReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.api.aside import Aside
    from routoo.api.extproc.settlement import AwaitedReplies
    from routoo.api.llm.headers import Header
    from routoo.api.llm.intake import Accepted
    from routoo.api.llm.metrics import ExchangeCounts
    from routoo.api.llm.router import Routed, Router
    from routoo.api.security.gate import Admission
    from routoo.config.processor import ProcessorSettings
    from routoo.routing.decision import FallbackArm
    from routoo.routing.health.failures import ProviderFailure

Message = Any  # envoy.service.ext_proc.v3.ProcessingRequest, or a part of it; it has no types
_PLAIN = frozenset({"", "identity"})
_STATUS = re.compile(r"[1-9]\d\d", re.ASCII)


class _Next(Enum):
    REQUEST_HEADERS = auto()
    REQUEST_BODY = auto()
    REPLY_HEADERS = auto()
    REPLY_BODY = auto()
    NOTHING = auto()


class Exchange:
    """Answers Envoy's messages of one HTTP request, in their order.

    Attributes:
        sent_s: when the request was sent on to its model, in seconds of ``perf_counter``; 0: not
            yet.
        held_bytes: what is kept in ``InFlight`` for the message that is answered now.

    Args:
        router: decides.
        settings: the settings of the processor.
        tally: counts the results of requests and replies.
        logged: the decisions whose replies the access log reports.
        admit: lets the sender in, or raises.
        aside: reads large bodies.
    """

    def __init__(
        self,
        router: Router,
        settings: ProcessorSettings,
        tally: ExchangeCounts,
        logged: AwaitedReplies,
        admit: Callable[[], Admission],
        aside: Aside,
    ) -> None:
        self._router = router
        self._aside = aside
        self._admit = admit
        self._settings = settings
        self._tally = tally
        self._logged = logged
        self._reads_reply = settings.usage_from == "reply"
        self._next = _Next.REQUEST_HEADERS
        self._request: Head | None = None
        self._routed: Routed | None = None
        self.sent_s = 0.0
        self.held_bytes = 0
        self._reply: UsageReader | None = None
        self._handed = False
        self._told = False
        self._ended = "gone"
        self._error = ""
        self._may_have_worked = False
        self._fallback: FallbackArm | None = None
        self._first_try: ProviderFailure | None = None
        self._status = 0
        self._failure: ProviderFailure | None = None

    @property
    def over(self) -> bool:
        """True if no more messages are to be answered, so that the stream may end."""
        return self._next is _Next.NOTHING

    @property
    def waits_for_upstream(self) -> bool:
        """True if the request has been sent on and only the reply is still to come."""
        return self._next in (_Next.REPLY_HEADERS, _Next.REPLY_BODY)

    async def answer(self, message: Message) -> bytes | None:
        """Answers one message; None: the end of the stream is the answer.

        When a stream ends with OK, Envoy continues the request by itself. This costs half as much
        as a message and an end, so it is the answer for all that is left unchanged.

        Raises:
            InvalidRequestError: the message is not one that may come now.
        """
        kind: str | None = message.WhichOneof("request")
        if kind == "response_body" and self._next is _Next.REPLY_BODY:
            return self._reply_body(message.response_body)
        if kind == "request_headers" and self._next is _Next.REQUEST_HEADERS:
            return self._request_headers(message.request_headers)
        if kind == "request_body" and self._next is _Next.REQUEST_BODY:
            return await self._request_body(message.request_body)
        if kind == "response_headers" and self._next is _Next.REPLY_HEADERS:
            return self._reply_headers(message.response_headers, message)
        if kind == "request_trailers" and self._next is not _Next.REQUEST_HEADERS:
            return messages.REQUEST_TRAILERS_AS_THEY_ARE
        if kind == "response_trailers" and self._next is _Next.REPLY_BODY:
            self._next = _Next.NOTHING
            self._ended = "read"
            return None
        raise InvalidRequestError(
            f"{kind or 'an empty message'} where {self._next.name.lower()} comes next; processing"
            " modes are to be as in deploy/envoy/envoy.yaml"
        )

    def handed(self) -> None:
        """Notes that an answer is on its way to Envoy."""
        self._handed = True

    def told(self) -> None:
        """Notes that the last answer has been handed to Envoy."""
        self._told = True

    @property
    def in_doubt(self) -> str:
        """The decision of which nobody knows whether Envoy has got it; empty: there is none.

        The stream was cancelled while the answer was on its way: the caller has left, or Envoy had
        the answer, and the request was over at once.
        """
        if self._reads_reply or self._told or not self._handed or self._routed is None:
            return ""
        decision = self._routed.decision
        return "" if decision is None else decision.decision_id

    def outcome(self) -> OutcomeReport | None:
        """Returns the outcome to be booked, after the last message of the stream.

        None: nothing was decided, or the access log will report the outcome.
        """
        if self._routed is None or self._routed.decision is None:
            return None
        decision_id = self._routed.decision.decision_id
        if self.in_doubt:
            return None
        if not self._reads_reply and (self._told or not self._logged.forget(decision_id)):
            return None
        fallback = self._fallback
        return replace(
            self._outcome(decision_id),
            model="" if self._first_try is None or fallback is None else fallback.name,
            first_try=self._first_try,
        )

    def _outcome(self, decision_id: str) -> OutcomeReport:
        latency_ms = (perf_counter() - self.sent_s) * 1e3
        if self._error:
            self._tally.reply("failed")
            found = OutcomeReport(
                decision_id,
                error=self._error,
                estimated=self._may_have_worked and self._settings.failed_upstream == "estimate",
            )
        elif self._reply is None:
            self._tally.reply("gone" if self._ended == "gone" else "estimated")
            found = OutcomeReport(decision_id, estimated=True)
        else:
            finished = self._ended == "read"
            found = settled_by(
                decision_id,
                self._reply.reading(finished=finished),
                latency_ms if finished and self._first_try is None else None,
                self._tally,
                broke_off=not finished,
            )
        return replace(found, status=self._status, failure=self._failure, witnessed=True)

    def _request_headers(self, message: Message) -> bytes | None:
        headers = _plain(message.headers)
        by_name = dict(headers)
        ours = tuple(header for header in headers if header[0].startswith(PREFIX))
        # Headers for the processor, and forged ones of it, must not reach the upstream.
        removed = sorted({name for name, _ in ours})
        as_it_is = messages.pass_request(removed) if removed else None
        api = None
        if by_name.get(":method") == "POST":
            # Servers read a path in other letters, or with signs that are escaped, alike.
            api = api_of(unquote(by_name.get(":path", "")).lower())
        if api is None or message.end_of_stream:
            return self._pass(as_it_is)
        self._request = Head(
            api=api,
            ours=ours,
            names=frozenset(by_name),
            request_id=by_name.get("x-request-id", ""),
            traceparent=by_name.get("traceparent", ""),
        )
        encoding = by_name.get("content-encoding", "")
        if encoding.strip().lower() not in _PLAIN:
            return self._unreadable(as_it_is, 415, f"content-encoding {encoding[:40]} is not read")
        length = by_name.get("content-length", "")
        if length.isascii() and length.isdigit() and len(length) < 20:  # noqa: SIM102
            if int(length) > self._settings.max_body_bytes:
                return self._too_large(as_it_is)
        self._next = _Next.REQUEST_BODY
        # Envoy refuses a body that does not fit in its buffer, unless it may send a part of it.
        whole = bool(length) or self._settings.on_too_large == "refuse"
        return messages.ask_for_body(removed, whole=whole, reply=self._reads_reply)

    async def _request_body(self, message: Message) -> bytes | None:
        assert self._request is not None  # noqa: S101 - its headers came before
        data: bytes = message.body
        if len(data) > self._settings.max_body_bytes or not message.end_of_stream:
            return self._too_large(None)
        found = await decided(
            self._router, self._aside, self._request, data, self._settings, self._admit
        )
        if found is None:
            return self._pass(None)
        return self._refuse(found) if isinstance(found, Refusal) else self._sent_on(found)

    def _sent_on(self, accepted: Accepted) -> bytes:
        assert self._request is not None  # noqa: S101 - its headers came before
        self._routed = found = accepted.found
        if found.decision is not None:
            self._router.trace(found.decision, self._request.traceparent)
        self.sent_s = perf_counter()
        self._next = _Next.REPLY_HEADERS if self._reads_reply else _Next.NOTHING
        if found.decision is not None and not self._reads_reply:
            self._logged.expect(found.decision.decision_id, found.decision.tenant)
        self._tally.request("fallback" if found.decision is None else "routed")
        changes, plan = accepted.changes(self._settings), ""
        data = changed(accepted.body.data, changes)
        headers = [*found.headers, ("content-length", str(len(data)))]
        fallback = self._fallback = found.fallback
        if fallback is not None:
            instead = accepted.changes_for(fallback, self._settings)
            plan = retry.plan_of(fallback, accepted.body.data, changes, instead)
            headers.append((FALLBACK_MODEL, fallback.model))
            wait_s = self._settings.first_byte_s
            if wait_s and accepted.streams:
                headers.append((retry.FIRST_BYTE_MS, str(round(wait_s * 1e3))))
        removed = {name for name, _ in self._request.ours}.difference(dict(headers))
        if self._settings.uncompressed_replies and "accept-encoding" in self._request.names:
            removed.add("accept-encoding")
        return messages.routed_request(data, headers, sorted(removed), plan)

    def _reply_headers(self, message: Message, context: Message) -> bytes:
        assert self._routed is not None  # noqa: S101 - Envoy sends them for routed requests only
        headers, attributes = dict(_plain(message.headers)), context.attributes
        told = self._routed.headers
        self._first_try = retry.failed_try(context.metadata_context.filter_metadata)
        if self._fallback is not None and self._first_try is not None:
            self._tally.retried(self._first_try)
            told = (
                *retry.fallback_headers(self._fallback),
                (DECISION_ID, dict(told)[DECISION_ID]),
            )
        status = headers.get(":status", "")
        self._status = int(status) if _STATUS.fullmatch(status) else 0
        reader = None
        if not self._status or self._status >= FIRST_ERROR_STATUS:
            self._error = f"HTTP status {status}" if self._status else "no HTTP status"
            self._may_have_worked = may_have_worked(status, headers, attributes)
            self._failure = reply_failure(self._status, headers, attributes)
        elif not message.end_of_stream and self._routed.decision is not None:
            reader = self._reader(headers)
        self._reply = reader
        self._next = _Next.NOTHING if reader is None else _Next.REPLY_BODY
        if reader is None:
            self._ended = "unread"
        # An upstream must not say of its replies what only the processor knows.
        forged = {name for name in headers if name.startswith(PREFIX)}
        return messages.reply_headers(
            told,
            sorted(forged.difference(dict(told))),
            body=reader is not None,
        )

    def _reader(self, headers: dict[str, str]) -> UsageReader | None:
        """Returns a reader for a reply with these headers; None: no reader can read it."""
        if headers.get("content-encoding", "").strip().lower() not in _PLAIN:
            return None
        kind = headers.get("content-type", "").lower()
        streams = "event-stream" in kind
        if streams or "json" in kind:
            return UsageReader(streams=streams, longest_event=self._settings.max_reply_bytes)
        return None

    def _reply_body(self, message: Message) -> bytes | None:
        assert self._reply is not None  # noqa: S101 - Envoy sends it only if there is a reader
        self._reply.feed(message.body)
        if not message.end_of_stream:
            return messages.REPLY_BODY_AS_IT_IS
        self._next = _Next.NOTHING
        self._ended = "read"
        return None

    def _pass(self, answer: bytes | None) -> bytes | None:
        self._next = _Next.NOTHING
        self._tally.request("passed")
        return answer

    def _too_large(self, answer: bytes | None) -> bytes | None:
        if self._settings.on_too_large == "pass":
            return self._pass(answer)
        most = self._settings.max_body_bytes
        return self._refuse(
            Refusal(413, "body_too_large", f"the body is longer than {most} bytes; send less")
        )

    def _unreadable(self, answer: bytes | None, status: int, what: str) -> bytes | None:
        if self._settings.on_unreadable == "pass":
            return self._pass(answer)
        return self._refuse(unreadable(status, what))

    def _refuse(self, refusal: Refusal) -> bytes:
        assert self._request is not None  # noqa: S101 - refusals come after its headers
        self._next = _Next.NOTHING
        self._tally.request("refused")
        return messages.refused(refusal, self._request.api)


def _plain(headers: Message) -> list[Header]:
    """Returns names and values as text; Envoy sends names in lower case, and values as bytes."""
    return [
        (one.key, one.raw_value.decode("utf-8", "replace") if one.raw_value else one.value)
        for one in headers.headers
    ]
