"""One HTTP request and its reply, processed in a gateway's messages.

    request headers -> request body -> (decided) -> reply headers -> reply body, piece by piece

Envoy with the shipped configuration is asked for what is needed, see ``Modes``. There, a request
that is not to be routed ends at one of the first two steps, and the last two happen to routed
requests only, and only if replies are not settled by the access log: then the reply is read while
it passes, to find what it cost. Other gateways send all that they are configured to, and get an
answer to each message.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from routoo.api.extproc import messages, retry
from routoo.api.extproc.as_it_is import as_it_is
from routoo.api.extproc.modes import BodyMode, Modes, modes_of
from routoo.api.extproc.reply import PassingReply, plain_headers
from routoo.api.llm.bodies.edits import changed
from routoo.api.llm.body import api_of
from routoo.api.llm.content_coding import codings_of
from routoo.api.llm.headers import DECISION_ID, FALLBACK_MODEL, PREFIX
from routoo.api.llm.intake import decided
from routoo.api.llm.refusal import Refusal, too_large, unreadable
from routoo.api.llm.router import Head
from routoo.errors import InvalidRequestError, QueueFullError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routoo.api.aside import Aside
    from routoo.api.extproc.questions import OwnAnswers
    from routoo.api.extproc.settlement import AwaitedReplies
    from routoo.api.llm.body import Api
    from routoo.api.llm.headers import Header
    from routoo.api.llm.intake import Accepted
    from routoo.api.llm.metrics import ExchangeCounts
    from routoo.api.llm.router import Routed, Router
    from routoo.api.memory.held import Held
    from routoo.api.security.gate import Admission
    from routoo.config.sections.processor import ProcessorSettings
    from routoo.routing.decision import FallbackArm
    from routoo.routing.health.failures import ProviderFailure
    from routoo.routing.outcome import OutcomeReport

Message = Any  # envoy.service.ext_proc.v3.ProcessingRequest, or a part of it; it has no types
_MOST_DIGITS = 20


class _Next(Enum):
    REQUEST_HEADERS = auto()
    REQUEST_BODY = auto()
    REPLY_HEADERS = auto()
    REPLY_BODY = auto()
    NOTHING = auto()


class Exchange:
    """Answers the messages of one HTTP request, in their order.

    Attributes:
        sent_s: when the request was sent on to its model, in seconds of ``perf_counter``; 0: not
            yet.

    Args:
        router: decides.
        settings: the settings of the processor.
        tally: counts the results of requests and replies.
        logged: the decisions whose replies the access log reports.
        admit: lets the sender in, or raises.
        aside: reads large bodies.
        held: the memory of the request.
        questions: answers requests that no model has to answer.
    """

    def __init__(
        self,
        router: Router,
        settings: ProcessorSettings,
        tally: ExchangeCounts,
        logged: AwaitedReplies,
        admit: Callable[[], Admission],
        aside: Aside,
        held: Held,
        questions: OwnAnswers,
    ) -> None:
        self._router = router
        self._aside = aside
        self._admit = admit
        self._settings = settings
        self._tally = tally
        self._logged = logged
        self._held = held
        self._questions = questions
        self._reads_reply = settings.usage_from == "reply"
        self._next = _Next.REQUEST_HEADERS
        self._modes = Modes()
        self._removed: list[str] = []
        self._counts = False
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._told_bytes = 0
        self._takes_length = True
        self._request: Head | None = None
        self._routed: Routed | None = None
        self.sent_s = 0.0
        self._reply = PassingReply(settings, tally)
        self._handed = False
        self._told = False
        self._fallback: FallbackArm | None = None
        self._first_try: ProviderFailure | None = None

    @property
    def over(self) -> bool:
        """True if no more messages are to be answered, so that the stream may end."""
        return self._next is _Next.NOTHING

    @property
    def waits_for_upstream(self) -> bool:
        """True if the request has been sent on and only the reply is still to come."""
        return self._next in (_Next.REPLY_HEADERS, _Next.REPLY_BODY)

    async def answer(self, message: Message) -> Sequence[bytes] | None:
        """Answers one message, at once or with a later one; None: the end of the stream answers.

        When a stream ends with OK, Envoy continues the request by itself. This costs half as much
        as a message and an end, so it is the answer for all that is left unchanged, where the modes
        allow it.

        Raises:
            InvalidRequestError: the message is not one that may come now.
        """
        kind: str | None = message.WhichOneof("request")
        if kind == "request_headers" and self._next is _Next.REQUEST_HEADERS:
            self._modes = modes_of(message)
            answers = self._request_headers(message.request_headers)
            if self._modes.body is not None and not self.over:
                return await self._decide(self._modes.body, whole=True)
            return answers
        if kind == "request_body" and self._next is _Next.REQUEST_BODY:
            return await self._request_body(message.request_body)
        if kind == "request_trailers" and self._next is not _Next.REQUEST_HEADERS:
            return await self._request_trailers()
        return self._of_reply(kind, message)

    def _of_reply(self, kind: str | None, message: Message) -> Sequence[bytes] | None:
        if kind == "response_body" and self._next is _Next.REPLY_BODY:
            return self._reply_body(message.response_body)
        if kind == "response_headers" and self._next is _Next.REPLY_HEADERS:
            return self._reply_headers(message.response_headers, message)
        if kind == "response_trailers" and self._next is _Next.REPLY_BODY:
            return self._reply_trailers()
        if kind is not None and self._modes.is_fixed and kind != "request_headers":
            return as_it_is(kind, message, self._modes)
        raise InvalidRequestError(
            f"{kind or 'an empty message'} where {self._next.name.lower()} comes next; processing"
            " modes are to be as docs/how-to/envoy.md says"
        )

    def handed(self) -> None:
        """Notes that an answer is on its way to Envoy."""
        self._handed = True

    def told(self) -> None:
        """Notes that all answers have been handed to Envoy."""
        self._told = self._routed is not None

    @property
    def in_doubt(self) -> str:
        """The decision of which nobody knows whether Envoy has got it; empty: there is none.

        The stream was cancelled while the answer was on its way: the caller has left, or Envoy had
        the answer and needs no more of the stream.
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
        first, fallback = self._first_try, self._fallback
        found = self._reply.outcome(decision_id, self.sent_s)
        if first is None or fallback is None:
            return found
        # The time is that of both tries.
        return replace(
            found,
            model=fallback.name,
            first_try=first,
            latency_ms=None,
            time_to_first_token_ms=None,
        )

    def _request_headers(self, message: Message) -> Sequence[bytes] | None:
        headers = plain_headers(message.headers)
        by_name = dict(headers)
        ours = tuple(header for header in headers if header[0].startswith(PREFIX))
        # Headers for the processor, and forged ones of it, must not reach the upstream.
        self._removed = sorted({name for name, _ in ours})
        # Servers read a path in other letters, or with signs that are escaped, alike.
        path = unquote(by_name.get(":path", "")).lower()
        api: Api | None = None
        if by_name.get(":method") != "POST":
            answer = self._questions.answer(path, by_name)
            if answer is not None:
                return self._answered(answer)
        elif self._questions.asks_for_count(path):
            api, self._counts = "messages", True
        else:
            api = api_of(path)
        if api is None or message.end_of_stream:
            return self._pass_headers()
        encoding = by_name.get("content-encoding", "")
        codings = codings_of(encoding) if encoding else ()
        self._request = Head(
            api=api,
            ours=ours,
            names=frozenset(by_name),
            request_id=by_name.get("x-request-id", ""),
            traceparent=by_name.get("traceparent", ""),
            codings=codings or (),
        )
        length = by_name.get("content-length", "")
        if length.isascii() and length.isdigit() and len(length) < _MOST_DIGITS:
            self._told_bytes = int(length)
        is_long = self._told_bytes > self._settings.max_body_bytes
        if is_long and self._settings.on_too_large != "head":
            rule, refusal = self._settings.on_too_large, too_large(self._settings)
        elif codings is None:
            rule = self._settings.on_unreadable
            refusal = unreadable(415, f"content-encoding {encoding[:40]} is not read")
        else:
            return self._ask_for_body(fits=bool(length) and not is_long)
        return self._pass_headers() if rule == "pass" else self._refuse(refusal)

    def _ask_for_body(self, *, fits: bool) -> Sequence[bytes]:
        """Asks for the body.

        Args:
            fits: whether its length is known, and may be read.
        """
        self._next = _Next.REQUEST_BODY
        modes = self._modes
        if modes.is_gathered and modes.waits:
            return ()
        # Envoy refuses a body that does not fit in its buffer, unless it may send a part of it. A
        # piece of a streamed body must not be taken for such a part.
        whole = fits or modes.is_gathered or self._settings.on_too_large == "refuse"
        self._takes_length = whole = whole and modes.request is not BodyMode.PARTIAL
        return (messages.ask_for_body(self._removed, whole=whole, reply=self._reads_reply),)

    async def _request_body(self, message: Message) -> Sequence[bytes] | None:
        if not self._modes.is_gathered:
            return await self._decide(message.body, whole=message.end_of_stream)
        self._gathered.append(message.body)
        self._gathered_bytes += len(message.body)
        ended, fits = message.end_of_stream, self._gathered_bytes <= self._settings.max_body_bytes
        if ended or not fits:
            return await self._decide(b"".join(self._gathered), whole=ended)
        try:
            self._held.gather(len(message.body))
        except (QueueFullError, TooLargeError) as error:
            return self._refuse(self._router.refused(error))
        return () if self._modes.waits else (messages.REQUEST_BODY_HELD_BACK,)

    async def _request_trailers(self) -> Sequence[bytes] | None:
        trailers = (messages.REQUEST_TRAILERS_AS_THEY_ARE,)
        if self._next is not _Next.REQUEST_BODY or not self._modes.is_gathered:
            return trailers
        if not self._modes.waits:
            return self._refuse(
                Refusal(
                    400,
                    "unreadable_body",
                    "the gateway streams bodies one by one, where no trailers can follow; send none"
                    " or set its mode to FULL_DUPLEX_STREAMED",
                )
            )
        found = await self._decide(b"".join(self._gathered), whole=True, trailers=True)
        return None if found is None else found if self.over else (*found, *trailers)

    async def _decide(
        self, data: bytes, *, whole: bool, trailers: bool = False
    ) -> Sequence[bytes] | None:
        """Decides a request by its body, and answers all messages that wait.

        Args:
            data: the body.
            whole: whether that is all of it.
            trailers: whether trailers follow.
        """
        assert self._request is not None  # noqa: S101 - its headers came before
        if self._counts and whole and len(data) <= self._settings.max_body_bytes:
            answer = await self._questions.count(data, self._request.codings)
            if answer is not None:
                return self._answered(answer)
        end = whole and not trailers
        most_bytes = self._settings.max_body_bytes
        request, rule = self._request, self._settings.on_too_large
        is_cut = not whole or len(data) > most_bytes
        if self._counts or (is_cut and (rule == "pass" or (rule == "head" and request.codings))):
            return self._pass_body(data, end=end)
        if is_cut:
            if rule == "refuse":
                return self._refuse(too_large(self._settings))
            unseen_bytes = max(self._told_bytes, len(data)) - min(most_bytes, len(data))
            request = replace(request, unseen_bytes=unseen_bytes)
        found = await decided(
            self._router,
            self._aside,
            request,
            data[:most_bytes],
            self._settings,
            self._admit,
            hold=self._held.gather,
        )
        if isinstance(found, Refusal):
            return self._refuse(found)
        if found is None:
            return self._pass_body(data, end=end)
        return self._sent_on(found, data[most_bytes:], end=end)

    def _sent_on(self, accepted: Accepted, rest: bytes, *, end: bool) -> Sequence[bytes]:
        head = accepted.head
        self._routed = found = accepted.found
        if found.decision is not None:
            self._router.trace(found.decision, head.traceparent)
        self.sent_s = perf_counter()
        awaits = self._reads_reply or self._modes.is_fixed
        self._next = _Next.REPLY_HEADERS if awaits else _Next.NOTHING
        if found.decision is not None and not self._reads_reply:
            self._logged.expect(found.decision.decision_id, found.decision.tenant)
        self._tally.request("fallback" if found.decision is None else "routed")
        changes, plan = accepted.changes(self._settings), ""
        data = changed(accepted.body.came, changes) + rest
        headers = list(found.headers)
        # What follows a head is not known, so that it cannot be edited for another model.
        fallback = self._fallback = found.fallback if accepted.body.head is None else None
        if fallback is not None:
            instead = accepted.changes_for(fallback, self._settings)
            plan = retry.plan_of(fallback, accepted.body.came, changes, instead)
            headers.append((FALLBACK_MODEL, fallback.model))
            wait_s = self._settings.first_byte_s
            if wait_s and accepted.streams:
                headers.append((retry.FIRST_BYTE_MS, str(round(wait_s * 1e3))))
        removed = set(self._removed).difference(dict(headers))
        if self._settings.uncompressed_replies and "accept-encoding" in head.names:
            removed.add("accept-encoding")
        if head.codings:
            removed.add("content-encoding")
        if end and (self._takes_length or self._modes.body is not None):
            headers.append(("content-length", str(len(data))))
        return self._go_on(data, headers, sorted(removed), plan, end=end)

    def _go_on(
        self,
        data: bytes,
        headers: Sequence[Header],
        removed: Sequence[str],
        plan: str = "",
        *,
        end: bool,
    ) -> Sequence[bytes]:
        """Lets a request go on that was changed, in the way of its mode."""
        if self._modes.body is not None:
            return (messages.routed_at_once(data, headers, removed, plan, reply=self._reads_reply),)
        if not self._modes.is_gathered or not self._modes.waits:
            return (messages.routed_request(data, headers, removed, plan),)
        first = messages.routed_headers(headers, removed, plan)
        if self._modes.request is BodyMode.DUPLEX:
            return (first, *messages.pieces(data, end=end))
        return (first, *self._held_back(), messages.routed_request(data, (), ()))

    def _held_back(self) -> list[bytes]:
        return [messages.REQUEST_BODY_HELD_BACK] * (len(self._gathered) - 1)

    def _pass_headers(self) -> Sequence[bytes] | None:
        self._passed()
        if self._modes.is_fixed:
            return (messages.pass_headers(self._removed),)
        return (messages.pass_request(self._removed),) if self._removed else None

    def _pass_body(self, data: bytes, *, end: bool) -> Sequence[bytes] | None:
        if self._modes.body is not None:
            return self._pass_headers()
        self._passed()
        if not self._modes.is_fixed:
            return None
        if self._modes.request is BodyMode.DUPLEX:
            return (messages.pass_headers(self._removed), *messages.pieces(data, end=end))
        if len(self._gathered) > 1 or (self._modes.is_gathered and self._modes.waits):
            return self._go_on(data, (), self._removed, end=end)
        return (messages.REQUEST_BODY_AS_IT_IS,)

    def _answered(self, answer: bytes) -> Sequence[bytes]:
        """Ends a request that needed no model."""
        admission = self._admit()
        if admission.counts:
            admission.leave()
        self._next = _Next.NOTHING
        self._tally.request("answered")
        return (answer,)

    def _passed(self) -> None:
        self._next = _Next.REPLY_HEADERS if self._modes.is_fixed else _Next.NOTHING
        self._tally.request("passed")

    def _refuse(self, refusal: Refusal) -> Sequence[bytes]:
        assert self._request is not None  # noqa: S101 - refusals come after its headers
        self._next = _Next.NOTHING
        self._tally.request("refused")
        return (messages.refused(refusal, self._request.api),)

    def _reply_headers(self, message: Message, context: Message) -> Sequence[bytes]:
        if self._routed is None or not self._reads_reply:  # a gateway sends all replies
            self._next = _Next.REPLY_BODY
            return (messages.REPLY_HEADERS_AS_THEY_ARE,)
        told = self._routed.headers
        self._first_try = retry.failed_try(context.metadata_context.filter_metadata)
        if self._fallback is not None and self._first_try is not None:
            self._tally.retried(self._first_try)
            told = (
                *retry.fallback_headers(self._fallback),
                (DECISION_ID, dict(told)[DECISION_ID]),
            )
        answer = self._reply.begin(
            message,
            context.attributes,
            told,
            reads=self._routed.decision is not None,
            asks=self._modes.reply is not BodyMode.DUPLEX,
        )
        reads = self._reply.is_read or self._modes.is_fixed
        self._next = _Next.REPLY_BODY if reads else _Next.NOTHING
        return (answer,)

    def _reply_body(self, message: Message) -> Sequence[bytes] | None:
        self._reply.feed(message.body)
        if message.end_of_stream:
            self._reply.end()
            if not self._modes.is_fixed:
                self._next = _Next.NOTHING
                return None
        if self._modes.reply is BodyMode.DUPLEX:
            return messages.pieces(message.body, end=message.end_of_stream, of_reply=True)
        return (messages.REPLY_BODY_AS_IT_IS,)

    def _reply_trailers(self) -> Sequence[bytes] | None:
        self._reply.end()
        if self._modes.is_fixed:
            return (messages.REPLY_TRAILERS_AS_THEY_ARE,)
        self._next = _Next.NOTHING
        return None
