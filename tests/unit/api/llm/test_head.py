"""Beginnings of bodies: completed wherever they are cut, and rewritten as the whole would be."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.api.llm.bodies.head import completed
from routoo.api.llm.bodies.json_text import read_json
from routoo.api.llm.bodies.request_body import read_head
from routoo.errors import UnreadableBodyError

TEXTS = st.text(
    st.characters(codec="utf-8") | st.sampled_from('"\\{}[],:\u00e9\U0001f600\ud83d'), max_size=12
)
LEAVES = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(-9, 9) | TEXTS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)
)
BODIES = st.dictionaries(TEXTS, VALUES, max_size=5)


def dumped(body: dict[str, Any], *, escaped: bool, spaced: bool) -> bytes:
    separators = (" , ", " : ") if spaced else (",", ":")
    text = json.dumps(body, ensure_ascii=escaped, separators=separators)
    return text.encode("utf-8", "replace")


def begins_like(part: Any, whole: Any) -> bool:
    """Returns whether a value is what a cut leaves of another one."""
    if isinstance(part, str) and isinstance(whole, str):
        return whole.startswith(part.rstrip("\ufffd")) or part == whole
    if isinstance(part, list):
        pairs = zip(part, whole, strict=False)
        return len(part) <= len(whole) and all(begins_like(*pair) for pair in pairs)
    if isinstance(part, dict):
        return all(name in whole and begins_like(one, whole[name]) for name, one in part.items())
    return bool(part == whole)


@given(body=BODIES, share=st.floats(0, 1), escaped=st.booleans(), spaced=st.booleans())
def test_a_cut_body_is_completed(
    body: dict[str, Any], share: float, *, escaped: bool, spaced: bool
) -> None:
    whole = dumped(body, escaped=escaped, spaced=spaced)
    cut = 1 + int(share * (len(whole) - 2))
    found = completed(whole[:cut])
    assert found is not None
    assert begins_like(read_json(found.text), read_json(whole))
    assert not found.in_image


@given(body=BODIES, share=st.floats(0, 1))
def test_a_head_is_rewritten_as_the_whole_would_be(body: dict[str, Any], share: float) -> None:
    kept = {name: one for name, one in body.items() if name not in {"model", "n"}}
    whole = dumped({"model": "auto", **kept, "n": "high", "end": 1}, escaped=True, spaced=False)
    cut = len(b'{"model":"auto",') + int(share * (len(whole) - 18))
    head = read_head(whole[:cut], ("auto",))
    assert head is not None
    sent = head.rewritten("small", {"n": b"5"}) + whole[cut:]
    # A field that stands behind the cut, or across it, is left as it is.
    n = 5 if b'"n":"high"' in whole[:cut] else "high"
    assert read_json(sent) == {**read_json(whole), "model": "small", "n": n}


@pytest.mark.parametrize("cut", range(9, 31))
def test_a_name_that_is_cut_off_is_not_routed(cut: int) -> None:
    body = b'{"model":"auto","model":"auto"}'
    assert (read_head(body[:cut], ("auto",)) is not None) == (15 <= cut <= 24 or cut == 30)


@pytest.mark.parametrize(
    "head",
    [b"", b" ", b"[1", b'"a', b"1", b'{"a":1}}', b'{"a":' * 70, b"\xff", b'x{"model":"auto"'],
)
def test_what_begins_no_object_is_not_routed(head: bytes) -> None:
    with suppress(UnreadableBodyError):
        assert read_head(head, ("auto",)) is None


@pytest.mark.parametrize(
    ("cut", "image"),
    [
        (b'{"url":"data:image/png;base64,iVBORw0', True),
        (b'{"type":"image","source":{"media_type":"image/png","data":"iVBO', True),
        (b'{"type":"image","source":{"media_type" : "image/png" , "data" : "iVBO', True),
        (b'{"url":"data:audio/wav;base64,AAAA', False),
        (b'{"text":"a data:image/png;base64,iVBORw0', False),
        (b'{"type":"document","source":{"media_type":"application/pdf","data":"JVBE', False),
        (b'{"url":"data:image/png;base64,iVBORw0"', False),
    ],
)
def test_a_cut_within_an_image_is_told(cut: bytes, image: bool) -> None:  # noqa: FBT001
    found = completed(b'{"model":"auto","messages":[' + cut)
    assert found is not None
    assert found.in_image == image
