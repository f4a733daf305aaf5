"""The reply to a routed request: what it cost is found while it passes."""

from __future__ import annotations

import re
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from routoo.api.extproc import messages
from routoo.api.extproc.failures import TIMED_OUT, may_have_worked, reply_failure
from routoo.api.llm.content_coding import PLAIN
from routoo.api.llm.headers import PREFIX
from routoo.api.llm.settlement import FIRST_ERROR_STATUS, settled_by
from routoo.routing.outcome import OutcomeReport
from routoo.tariffs.usage_reader import UsageReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.api.llm.headers import Header
    from routoo.api.llm.metrics import ExchangeCounts
    from routoo.config.sections.processor import ProcessorSettings
    from routoo.routing.health.failures import ProviderFailure

Message = Any  # a part of envoy.service.ext_proc.v3.ProcessingRequest; it has no types
_STATUS = re.compile(r"[1-9]\d\d", re.ASCII)


class PassingReply:
    """The reply to one request.

    Args:
        settings: the settings of the processor.
        tally: counts the results of replies.
    """

    def __init__(self, settings: ProcessorSettings, tally: ExchangeCounts) -> None:
        self._settings = settings
        self._tally = tally
        self._reader: UsageReader | None = None
        self._first_byte_s = 0.0
        self._ended = "gone"
        self._error = ""
        self._may_have_worked = False
        self._status = 0
        self._failure: ProviderFailure | None = None

    @property
    def is_read(self) -> bool:
        """Whether its body is looked into."""
        return self._reader is not None

    def begin(
        self,
        message: Message,
        attributes: Message,
        told: Sequence[Header],
        *,
        reads: bool,
        asks: bool,
    ) -> bytes:
        """Reads the reply's headers, and returns the answer to them.

        Args:
            message: the headers.
            attributes: those that Envoy has sent with them.
            told: the headers that tell of the decision, which the caller is told of, too.
            reads: whether the body is looked into.
            asks: whether the gateway sends the body if it is asked for it.
        """
        headers = dict(plain_headers(message.headers))
        status = headers.get(":status", "")
        self._status = int(status) if _STATUS.fullmatch(status) else 0
        if not self._status or self._status >= FIRST_ERROR_STATUS:
            self._error = f"HTTP status {status}" if self._status else "no HTTP status"
            self._may_have_worked = may_have_worked(status, headers, attributes)
            self._failure = reply_failure(self._status, headers, attributes)
        elif not message.end_of_stream and reads:
            self._reader = self._reader_of(headers)
        if self._reader is None:
            self._ended = "unread"
        # An upstream must not say of its replies what only the processor knows.
        forged = {name for name in headers if name.startswith(PREFIX)}
        return messages.reply_headers(
            told,
            sorted(forged.difference(dict(told))),
            body=asks and self._reader is not None,
        )

    def feed(self, piece: bytes) -> None:
        """Looks into a piece of the body."""
        if self._reader is not None:
            if not self._first_byte_s:
                self._first_byte_s = perf_counter()
            self._reader.feed(piece)

    def end(self) -> None:
        """Notes that the body has come to its end."""
        if self._reader is not None:
            self._ended = "read"

    def outcome(self, decision_id: str, sent_s: float) -> OutcomeReport:
        """Returns the outcome to be booked, and counts the reply.

        Args:
            decision_id: of the decision.
            sent_s: when the request was sent on, in seconds of ``perf_counter``.
        """
        latency_ms = (perf_counter() - sent_s) * 1e3
        found = self._outcome(decision_id, sent_s, latency_ms)
        if self._status == TIMED_OUT:
            # Nobody waited any longer: the answer would have taken more time than that.
            found = replace(found, latency_ms=latency_ms)
        return replace(found, status=self._status, failure=self._failure, witnessed=True)

    def _outcome(self, decision_id: str, sent_s: float, latency_ms: float) -> OutcomeReport:
        if self._error:
            self._tally.reply("failed")
            return OutcomeReport(
                decision_id,
                error=self._error,
                estimated=self._may_have_worked and self._settings.failed_upstream == "estimate",
            )
        if self._reader is None:
            self._tally.reply("gone" if self._ended == "gone" else "estimated")
            return OutcomeReport(decision_id, estimated=True)
        finished = self._ended == "read"
        return settled_by(
            decision_id,
            self._reader.reading(finished=finished),
            latency_ms if finished else None,
            self._tally,
            broke_off=not finished,
            first_token_ms=(self._first_byte_s - sent_s) * 1e3
            if finished and self._first_byte_s
            else None,
        )

    def _reader_of(self, headers: dict[str, str]) -> UsageReader | None:
        """Returns a reader for a reply with these headers; None: no reader can read it."""
        if headers.get("content-encoding", "").strip().lower() not in PLAIN:
            return None
        kind = headers.get("content-type", "").lower()
        streams = "event-stream" in kind
        if streams or "json" in kind:
            return UsageReader(streams=streams, longest_event=self._settings.max_reply_bytes)
        return None


def plain_headers(headers: Message) -> list[Header]:
    """Returns names and values as text; Envoy sends names in lower case, and values as bytes."""
    return [
        (one.key, one.raw_value.decode("utf-8", "replace") if one.raw_value else one.value)
        for one in headers.headers
    ]
