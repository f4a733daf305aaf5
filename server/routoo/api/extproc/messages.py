"""The processor's answers to Envoy, as bytes; those that are always the same are made once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.api.extproc.envoy import base_pb2
from routoo.api.extproc.envoy import ext_proc_pb2 as ext_proc
from routoo.api.extproc.retry import PLAN
from routoo.api.llm.headers import MODEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from routoo.api.llm.body import Api
    from routoo.api.llm.headers import Header
    from routoo.api.llm.refusal import Refusal

_MODES = ext_proc.ProcessingMode
_OVERWRITE = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


def _bytes(answer: ext_proc.ProcessingResponse) -> bytes:
    serialized: bytes = answer.SerializeToString()
    return serialized


def _headers(mutation: ext_proc.HeaderMutation, headers: Iterable[Header]) -> None:
    for name, value in headers:
        option = mutation.set_headers.add()
        option.header.key = name
        option.header.raw_value = value.encode()
        option.append_action = _OVERWRITE


def _mode(
    request_body: ext_proc.ProcessingMode.BodySendMode,
    reply_body: ext_proc.ProcessingMode.BodySendMode,
    *,
    reply: bool,
) -> ext_proc.ProcessingMode:
    return _MODES(
        request_header_mode=_MODES.SEND,
        request_body_mode=request_body,
        request_trailer_mode=_MODES.SKIP,
        response_header_mode=_MODES.SEND if reply else _MODES.SKIP,
        response_body_mode=reply_body,
        response_trailer_mode=_MODES.SKIP,
    )


_UNTOUCHED = _mode(_MODES.NONE, _MODES.NONE, reply=False)
_REPLY_HEADERS = _mode(_MODES.NONE, _MODES.NONE, reply=True)
_STREAMED_REPLY = _mode(_MODES.NONE, _MODES.STREAMED, reply=True)

REPLY_BODY_AS_IT_IS = _bytes(ext_proc.ProcessingResponse(response_body=ext_proc.BodyResponse()))
REQUEST_TRAILERS_AS_THEY_ARE = _bytes(
    ext_proc.ProcessingResponse(request_trailers=ext_proc.TrailersResponse())
)


REQUEST_BODY_AS_IT_IS = _bytes(ext_proc.ProcessingResponse(request_body=ext_proc.BodyResponse()))
REPLY_HEADERS_AS_THEY_ARE = _bytes(
    ext_proc.ProcessingResponse(response_headers=ext_proc.HeadersResponse())
)
REPLY_TRAILERS_AS_THEY_ARE = _bytes(
    ext_proc.ProcessingResponse(response_trailers=ext_proc.TrailersResponse())
)
REQUEST_BODY_HELD_BACK = _bytes(
    ext_proc.ProcessingResponse(
        request_body=ext_proc.BodyResponse(
            response=ext_proc.CommonResponse(body_mutation=ext_proc.BodyMutation(clear_body=True))
        )
    )
)
"""Answers a piece of a streamed body: it goes no further."""
# The longest piece that the protocol recommends.
_PIECE_BYTES = 64 * 1024


def _after_request_headers(mode: ext_proc.ProcessingMode | None, removed: Sequence[str]) -> bytes:
    answer = ext_proc.ProcessingResponse(
        request_headers=ext_proc.HeadersResponse(), mode_override=mode
    )
    if removed:
        common = answer.request_headers.response
        common.header_mutation.remove_headers.extend(removed)
        common.clear_route_cache = True
    return _bytes(answer)


_BODY_MODES = {
    (whole, reply): _mode(
        _MODES.BUFFERED if whole else _MODES.BUFFERED_PARTIAL, _MODES.NONE, reply=reply
    )
    for whole in (False, True)
    for reply in (False, True)
}
_ASKED = {key: _after_request_headers(mode, ()) for key, mode in _BODY_MODES.items()}
# Envoy sends a part of a body on before it drops the route that it has found by the old headers. So
# that is dropped earlier, which takes a change of the headers. It refuses another length of a part,
# and the old one for another body.
_NOT_OF_A_PART = (MODEL, "content-length")


def pass_request(removed: Sequence[str]) -> bytes:
    """Answers request headers: Envoy continues without the ``removed`` ones and sends no more."""
    return _after_request_headers(_UNTOUCHED, removed)


def pass_headers(removed: Sequence[str]) -> bytes:
    """Answers request headers: they go on without the ``removed`` ones, in whatever mode."""
    return _after_request_headers(None, removed)


def ask_for_body(removed: Sequence[str] = (), *, whole: bool, reply: bool) -> bytes:
    """Answers request headers: Envoy sends the body.

    Args:
        removed: names of headers that Envoy takes off the request.
        whole: Envoy sends the whole body; otherwise the part that fits in its buffer.
        reply: Envoy sends the reply's headers, too.
    """
    if not whole:
        removed = list(dict.fromkeys((*removed, *_NOT_OF_A_PART)))
    if removed:
        return _after_request_headers(_BODY_MODES[whole, reply], removed)
    return _ASKED[whole, reply]


def routed_request(
    body: bytes, headers: Iterable[Header], removed: Iterable[str], plan: str = ""
) -> bytes:
    """Answers a request body: replaces it, and Envoy chooses the cluster by the new headers.

    Args:
        body: the new body.
        headers: set on the request.
        removed: names of headers that are taken off the request.
        plan: for the second try; empty: there is none.
    """
    answer = ext_proc.ProcessingResponse()
    _change(answer.request_body.response, body, headers, removed)
    _plan(answer, plan)
    return _bytes(answer)


def _plan(answer: ext_proc.ProcessingResponse, plan: str) -> None:
    if plan:
        told = answer.dynamic_metadata.fields[PLAN].struct_value
        told.fields["plan"].string_value = plan


def _change(
    common: ext_proc.CommonResponse, body: bytes, headers: Iterable[Header], removed: Iterable[str]
) -> None:
    common.body_mutation.body = body
    common.clear_route_cache = True
    _headers(common.header_mutation, headers)
    common.header_mutation.remove_headers.extend(removed)


def routed_at_once(
    body: bytes, headers: Iterable[Header], removed: Iterable[str], plan: str = "", *, reply: bool
) -> bytes:
    """Answers request headers that came with the body: replaces it, as ``routed_request`` does.

    Args:
        body: the new body.
        headers: set on the request.
        removed: names of headers that are taken off the request.
        plan: for the second try; empty: there is none.
        reply: Envoy sends the reply's headers.
    """
    answer = ext_proc.ProcessingResponse(mode_override=_REPLY_HEADERS if reply else _UNTOUCHED)
    common = answer.request_headers.response
    common.status = ext_proc.CommonResponse.CONTINUE_AND_REPLACE
    _change(common, body, headers, removed)
    _plan(answer, plan)
    return _bytes(answer)


def routed_headers(headers: Iterable[Header], removed: Iterable[str], plan: str = "") -> bytes:
    """Answers request headers that have waited for the body, as ``routed_request`` does."""
    answer = ext_proc.ProcessingResponse()
    _plan(answer, plan)
    common = answer.request_headers.response
    common.clear_route_cache = True
    _headers(common.header_mutation, headers)
    common.header_mutation.remove_headers.extend(removed)
    return _bytes(answer)


def pieces(body: bytes, *, end: bool, of_reply: bool = False) -> list[bytes]:
    """Answers a body in full duplex: it goes on in pieces, at least one of them.

    Args:
        body: what goes on.
        end: whether nothing follows.
        of_reply: whether it is the body of the reply.
    """
    found = []
    for start in range(0, max(1, len(body)), _PIECE_BYTES):
        answer = ext_proc.ProcessingResponse()
        part = answer.response_body if of_reply else answer.request_body
        piece = part.response.body_mutation.streamed_response
        piece.body = body[start : start + _PIECE_BYTES]
        piece.end_of_stream = end and start + _PIECE_BYTES >= len(body)
        found.append(_bytes(answer))
    return found


def reply_headers(headers: Iterable[Header], removed: Iterable[str] = (), *, body: bool) -> bytes:
    """Answers reply headers.

    Args:
        headers: set on the reply.
        removed: names of headers that are taken off the reply.
        body: Envoy sends the reply's body in pieces; otherwise it sends no more.
    """
    answer = ext_proc.ProcessingResponse()
    mutation = answer.response_headers.response.header_mutation
    _headers(mutation, headers)
    mutation.remove_headers.extend(removed)
    if body:
        answer.mode_override.CopyFrom(_STREAMED_REPLY)
    return _bytes(answer)


def immediate(status: int, headers: Iterable[Header], body: bytes, details: str) -> bytes:
    """Ends the request: its caller gets this reply.

    Args:
        status: HTTP status.
        headers: set on the reply.
        body: the reply's body.
        details: one word for Envoy's access log.
    """
    answer = ext_proc.ProcessingResponse()
    answer.immediate_response.status.code = status
    answer.immediate_response.body = body
    answer.immediate_response.details = details
    _headers(answer.immediate_response.headers, headers)
    return _bytes(answer)


def refused(refusal: Refusal, api: Api) -> bytes:
    """Ends the request with a refusal in the error format of its API."""
    return immediate(refusal.status, refusal.headers, refusal.body(api), f"routoo_{refusal.code}")
