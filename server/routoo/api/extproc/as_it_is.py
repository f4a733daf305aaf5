"""Answers to what a gateway sends whether or not it is wanted: it goes on as it came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routoo.api.extproc import messages
from routoo.api.extproc.modes import BodyMode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.api.extproc.modes import Modes

Message = Any  # envoy.service.ext_proc.v3.ProcessingRequest; it has no types


def as_it_is(kind: str, message: Message, modes: Modes) -> Sequence[bytes]:
    """Returns the answers that change nothing.

    Args:
        kind: the name of the message's part; none of a request's headers or trailers.
        message: the message.
        modes: those of the gateway.
    """
    if kind == "request_body":
        if modes.request is BodyMode.DUPLEX:
            body = message.request_body
            return messages.pieces(body.body, end=body.end_of_stream)
        return (messages.REQUEST_BODY_AS_IT_IS,)
    if kind == "response_body":
        if modes.reply is BodyMode.DUPLEX:
            body = message.response_body
            return messages.pieces(body.body, end=body.end_of_stream, of_reply=True)
        return (messages.REPLY_BODY_AS_IT_IS,)
    if kind == "response_headers":
        return (messages.REPLY_HEADERS_AS_THEY_ARE,)
    return (messages.REPLY_TRAILERS_AS_THEY_ARE,)
