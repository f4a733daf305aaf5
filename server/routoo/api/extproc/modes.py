"""Ways of gateways to send bodies: which one is in force, and what it takes to answer."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from routoo.api.extproc.envoy.ext_proc_pb2 import ProcessingMode
from routoo.errors import InvalidRequestError

BESIDE: Final = "routoo.request"
"""The namespace of the metadata in which Envoy sends a short body together with the headers."""
Message = Any  # envoy.service.ext_proc.v3.ProcessingRequest; it has no types


class BodyMode(Enum):
    """How a body comes."""

    ASKED = auto()
    """As the answer to the headers asks for it, by ``mode_override``."""
    BUFFERED = auto()
    """In one message."""
    PARTIAL = auto()
    """In one message, as far as it fits in a buffer; the rest is not sent."""
    STREAMED = auto()
    """In pieces, each of which has one answer."""
    DUPLEX = auto()
    """In pieces, which may be answered by any number of others, or all at the end."""


@dataclass(frozen=True, slots=True)
class Modes:
    """The modes of one stream, which its first message tells.

    Gateways that are not Envoy, and Envoys whose configuration allows no override, send what they
    are configured to. They may take the end of the stream for an error, so that each of their
    messages gets an answer. Envoy tells its modes since version 1.34; one that does not is asked.

    Attributes:
        request: of the request's body.
        reply: of the reply's body.
        body: the body, where it came with the headers; None: it comes later.
        waits: whether the headers wait for their answer while the body is sent already, so that
            the body may decide about them.
    """

    request: BodyMode = BodyMode.ASKED
    reply: BodyMode = BodyMode.ASKED
    body: bytes | None = None
    waits: bool = True

    @property
    def is_fixed(self) -> bool:
        """Whether the gateway sends bodies without being asked."""
        return self.request is not BodyMode.ASKED

    @property
    def is_gathered(self) -> bool:
        """Whether the request's body comes in several messages."""
        return self.request in (BodyMode.STREAMED, BodyMode.DUPLEX)


_ASKED: Final = Modes()
_KINDS: Final = {
    ProcessingMode.NONE: BodyMode.ASKED,
    ProcessingMode.STREAMED: BodyMode.STREAMED,
    ProcessingMode.BUFFERED: BodyMode.BUFFERED,
    ProcessingMode.BUFFERED_PARTIAL: BodyMode.PARTIAL,
    ProcessingMode.FULL_DUPLEX_STREAMED: BodyMode.DUPLEX,
}


def modes_of(first: Message) -> Modes:
    """Returns the modes that the first message of a stream tells.

    Raises:
        InvalidRequestError: they are for bodies that are no LLM's.
    """
    if not first.HasField("protocol_config"):
        return _asked(first)
    told = first.protocol_config
    request, reply = _KINDS.get(told.request_body_mode), _KINDS.get(told.response_body_mode)
    if request is None or reply is None:
        raise InvalidRequestError(
            "the body modes of the gateway are to be NONE, BUFFERED, BUFFERED_PARTIAL, STREAMED or"
            " FULL_DUPLEX_STREAMED"
        )
    if request is BodyMode.ASKED:
        return _asked(first)
    waits = request is not BodyMode.STREAMED or told.send_body_without_waiting_for_header_response
    return Modes(request, reply, waits=waits)


def _asked(first: Message) -> Modes:
    """Returns the mode of Envoys that are asked; what is no body in their metadata is not read."""
    told = first.metadata_context.filter_metadata
    if BESIDE not in told:
        return _ASKED
    try:
        body = binascii.a2b_base64(told[BESIDE].fields["body"].string_value)
    except ValueError:
        return _ASKED
    return Modes(body=body) if body else _ASKED
