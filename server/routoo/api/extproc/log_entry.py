"""Entries of Envoy's access log: what one says of the reply to a routed request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from routoo.api.extproc.failures import FROM_UPSTREAM, RETRY_AFTER, TIMED_OUT, failure_told
from routoo.api.extproc.retry import failed_try
from routoo.api.llm.headers import ARM, COST_USD, DECISION_ID, MODEL
from routoo.routing.health.failures import FIRST_ERROR, Cause, ProviderFailure
from routoo.tariffs.reply_sieve import ReplySieve
from routoo.tariffs.usage_reader import read

if TYPE_CHECKING:
    from routoo.tariffs.usage_reader import UsageReading

Entry = Any  # envoy.data.accesslog.v3.HTTPAccessLogEntry; it has no types
METADATA: Final = "routoo"
"""The namespace of the metadata in which deploy/envoy/envoy.yaml puts what a reply says: the leaves
of its ``ReplySieve``, the bytes and pieces of text that have ``flowed``, and ``finished`` when the
reply has come to its end. Earlier configurations put the texts of two objects there, ``usage`` and
``last_usage``."""
_USAGES = ("usage", "last_usage")
_LONGEST_TEXT = 65_536
# The request has not reached the upstream, so that it costs nothing.
_NEVER_WORKED = (
    "failed_local_healthcheck",
    "no_healthy_upstream",
    "upstream_connection_failure",
    "upstream_overflow",
    "no_route_found",
    "no_cluster_found",
    "fault_injected",
    "rate_limited",
    "rate_limit_service_error",
    "invalid_envoy_request_headers",
    "downstream_protocol_error",
    "no_filter_config_found",
    "overload_manager",
    "dns_resolution_failure",
)
_TIMED_OUT = (
    "upstream_request_timeout",
    "upstream_max_stream_duration_reached",
    "stream_idle_timeout",
    "duration_timeout",
)
_LEFT = ("downstream_connection_termination", "downstream_remote_reset")
# Envoy or the network has ended the request or its reply, while the upstream may have worked.
_CUT = (
    *_LEFT,
    *_TIMED_OUT,
    "upstream_remote_reset",
    "upstream_connection_termination",
    "upstream_protocol_error",
    "upstream_retry_limit_exceeded",
    "local_reset",
)
# Flags that say something of the provider, the first that is set; those of callers come first.
_CAUSES: tuple[tuple[str, Cause], ...] = (
    *((name, Cause.NONE) for name in _LEFT),
    *((name, Cause.NONE) for name in ("downstream_protocol_error", "overload_manager")),
    ("upstream_overflow", Cause.RATE_LIMITED),
    ("upstream_connection_failure", Cause.CONNECTION),
    ("no_healthy_upstream", Cause.CONNECTION),
    ("failed_local_healthcheck", Cause.CONNECTION),
    ("dns_resolution_failure", Cause.CONNECTION),
    ("upstream_request_timeout", Cause.TIMEOUT),
    ("stream_idle_timeout", Cause.TIMEOUT),
    ("duration_timeout", Cause.TIMEOUT),
    ("upstream_max_stream_duration_reached", Cause.TIMEOUT),
    ("upstream_connection_termination", Cause.RESET),
    ("upstream_remote_reset", Cause.RESET),
    ("upstream_protocol_error", Cause.RESET),
    ("no_route_found", Cause.GONE),
    ("no_cluster_found", Cause.GONE),
)


class LogEntry:
    """One entry.

    Args:
        entry: the entry as Envoy has sent it.
    """

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._told = entry.common_properties

    @property
    def decision_id(self) -> str:
        """The id of the decision that the entry is about; empty: of none."""
        return self._header(DECISION_ID)

    @property
    def model(self) -> str:
        """The name of the decided model; empty: not logged."""
        return self._header(MODEL)

    @property
    def arm(self) -> str:
        """The name of the arm that the model was asked for; empty: of none, or not logged."""
        return self._header(ARM)

    @property
    def first_try(self) -> ProviderFailure | None:
        """The failure after which the fallback was asked; None: it was not.

        ``model``, ``arm`` and ``predicted_cost_usd`` are then those of the fallback.
        """
        return failed_try(self._told.metadata.filter_metadata)

    @property
    def predicted_cost_usd(self) -> float | None:
        """The predicted cost; None: not logged."""
        try:
            cost_usd = float(self._header(COST_USD))
        except ValueError:
            return None
        return cost_usd if 0.0 <= cost_usd < float("inf") else None

    @property
    def status(self) -> int:
        """The HTTP status of the reply; 0: there was none."""
        status: int = self._entry.response.response_code.value
        return status

    @property
    def broke_off(self) -> bool:
        """Whether there was no reply, or it did not come to its end."""
        return not self.status or self._flagged(_CUT)

    @property
    def may_have_worked(self) -> bool:
        """Whether a reply with an error is Envoy's own, and the upstream may have worked for it."""
        if self._entry.response.response_code_details == FROM_UPSTREAM:
            return False  # it may be the second one, which Envoy flags, too
        if self._flagged(_NEVER_WORKED):
            return False
        if not self._told.HasField("time_to_first_upstream_tx_byte"):
            return False
        return self._flagged(_CUT) or self.status == TIMED_OUT

    @property
    def failure(self) -> ProviderFailure | None:
        """The failure of the provider; None: there was none, or it is not the provider's."""
        flags = self._told.response_flags
        for name, cause in _CAUSES:
            if getattr(flags, name):
                return ProviderFailure.of(cause)
        if self.status < FIRST_ERROR:
            return None
        response = self._entry.response
        retry_after = response.response_headers.get(RETRY_AFTER, "")
        return failure_told(self.status, retry_after, response.response_code_details)

    @property
    def took_s(self) -> float:
        """The time from the request's arrival to its end, in seconds; 0: not known."""
        told = self._told
        times = (told.time_to_last_downstream_tx_byte, told.time_to_last_upstream_rx_byte)
        longest_us: int = max(0, *(one.ToMicroseconds() for one in times))
        return longest_us * 1e-6

    @property
    def latency_ms(self) -> float | None:
        """The time of the upstream in ms; None: the entry lacks it.

        It is measured from the first byte of the request that is sent to the upstream to the last
        byte of its reply.
        """
        return self._since_sent_ms("time_to_last_upstream_rx_byte")

    @property
    def first_byte_ms(self) -> float | None:
        """The time until the first byte of the reply in ms; None: the entry lacks it.

        It is that of the first token, where the reply is a stream.
        """
        return self._since_sent_ms("time_to_first_upstream_rx_byte")

    @property
    def timed_out_ms(self) -> float | None:
        """How long was waited in ms, where nobody waited any longer; None: the reply came."""
        if self._flagged(_TIMED_OUT):
            return self._since_sent_ms("time_to_last_downstream_tx_byte")
        return self.latency_ms if self.status == TIMED_OUT else None

    def _since_sent_ms(self, until: str) -> float | None:
        told = self._told
        if not (told.HasField("time_to_first_upstream_tx_byte") and told.HasField(until)):
            return None
        took_us: int = (
            getattr(told, until).ToMicroseconds()
            - told.time_to_first_upstream_tx_byte.ToMicroseconds()
        )
        return max(0.0, took_us * 1e-3)

    def reading(self) -> UsageReading:
        """Returns the usage in the reply."""
        leaves: dict[str, float | str] = {}
        texts: list[str] = []
        flowed = (0, 0)
        finished = False
        for name, value in self._told.metadata.filter_metadata[METADATA].fields.items():
            kind = value.WhichOneof("kind")
            if name in _USAGES:
                texts.insert(0 if name == "usage" else len(texts), value.string_value)
            elif name == "flowed":
                flowed = _flowed(value.string_value)
            elif kind == "bool_value":
                finished = finished or value.bool_value
            elif kind == "number_value":
                leaves[name] = value.number_value
            elif kind == "string_value":
                leaves[name] = value.string_value
        if texts and not leaves:
            leaves, finished = _leaves_of(texts), not self.broke_off
        return read(leaves, *flowed, finished=finished)

    def _header(self, name: str) -> str:
        found: str = self._entry.request.request_headers.get(name, "")
        return found

    def _flagged(self, names: tuple[str, ...]) -> bool:
        flags = self._told.response_flags
        return any(getattr(flags, name) for name in names)


def _flowed(text: str) -> tuple[int, int]:
    """Returns bytes and pieces of text: those under ``delta``, if there are any."""
    try:
        texts, pieces, deltas, delta_pieces = map(int, text.split())
    except ValueError:
        return 0, 0
    return (deltas, delta_pieces) if deltas else (texts, pieces)


def _leaves_of(texts: list[str]) -> dict[str, float | str]:
    """Returns the leaves of the first and the last object under ``usage`` of a reply.

    A first one of Anthropic's API may be that of the first event of a stream, which is preliminary.
    """
    sieve = ReplySieve(streams=False, longest_line=_LONGEST_TEXT)
    for at, text in enumerate(texts):
        starts = at == 0 and "input_tokens" in text and "total_tokens" not in text
        shape = b'{"message":{"usage":%s}}' if starts else b'{"usage":%s}'
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError:
            continue
        sieve.feed(shape % text.encode())
    sieve.end()
    return sieve.leaves
