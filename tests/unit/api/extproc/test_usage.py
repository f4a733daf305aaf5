"""Billed tokens are found in replies of every kind, for any cut into pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.api.extproc.usage import EventUsage, JsonUsage, Usage
from support.peers.llm_upstream import INPUT_TOKENS, OUTPUT_TOKENS, Upstream

if TYPE_CHECKING:
    from routoo.api.extproc.usage import UsageReader

MOST = 100_000
PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"]
BILLED = Usage(INPUT_TOKENS, OUTPUT_TOKENS)


def fed(reader: UsageReader, *pieces: bytes) -> Usage:
    for piece in pieces:
        reader.feed(piece)
    return reader.usage()


def event(value: object) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def streamed(path: str) -> bytes:
    return b"".join(
        Upstream()._events(path, {"model": "m", "stream_options": {"include_usage": True}})
    )


@pytest.mark.parametrize("path", PATHS)
def test_a_whole_reply(path: str) -> None:
    body = orjson.dumps(Upstream()._whole(path, {"model": "m"}))
    assert fed(JsonUsage(MOST), body[:7], body[7:]) == BILLED


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_streamed_reply(path: str, line_end: bytes) -> None:
    assert fed(EventUsage(MOST), streamed(path).replace(b"\n", line_end)) == BILLED


@given(data=st.data(), path=st.sampled_from(PATHS))
def test_pieces_do_not_matter(data: st.DataObject, path: str) -> None:
    body = streamed(path)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert fed(EventUsage(MOST), *pieces) == BILLED


@given(
    pieces=st.lists(st.one_of(st.binary(max_size=40), st.just(b'data: {"usage":{'), st.just(b"\n")))
)
def test_any_bytes_are_read(pieces: list[bytes]) -> None:
    for reader in (JsonUsage(64), EventUsage(64)):
        fed(reader, *pieces)


@given(
    usage=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        lambda inner: st.dictionaries(
            st.sampled_from(["usage", "message", "response", "prompt_tokens", "output_tokens"]),
            inner,
        ),
    )
)
def test_any_value_is_read(usage: object) -> None:
    found = Usage().updated({"usage": usage})
    assert all(one is None or 0 <= one < 2**32 for one in (found.input_tokens, found.output_tokens))


def test_a_reply_without_usage() -> None:
    assert fed(JsonUsage(MOST), b'{"choices":[]}') == Usage()
    assert (
        fed(EventUsage(MOST), event({"choices": [], "usage": None}), b"data: [DONE]\n\n") == Usage()
    )


def test_the_word_in_a_quoted_text_is_not_usage() -> None:
    said = event({"delta": '"usage": {"prompt_tokens": 5, "completion_tokens": 5}'})
    assert fed(EventUsage(MOST), said) == Usage()


def test_what_was_read_from_a_cache_counts_as_input() -> None:
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "output_tokens": 3,
    }
    assert Usage().updated({"usage": usage}) == Usage(130, 3)


def test_a_stream_that_breaks_off_keeps_what_it_said() -> None:
    body = streamed("/v1/messages")
    assert fed(EventUsage(MOST), body[: body.index(b"message_delta")]) == Usage(INPUT_TOKENS, 1)


def test_a_line_that_is_too_long_is_left_out_and_the_next_is_read() -> None:
    long = event({"choices": ["x" * MOST], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    short = event({"usage": {"prompt_tokens": 2, "completion_tokens": 3}})
    assert fed(EventUsage(MOST), long[:50], long[50:], short) == Usage(2, 3)


def test_a_reply_that_is_too_long_is_not_read() -> None:
    assert (
        fed(JsonUsage(50), b'{"usage":{"prompt_tokens":1,', b'"completion_tokens":2}}') == Usage()
    )
