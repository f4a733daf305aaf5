"""Parts of a batch have all of its requests, in order, within both bounds."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.engine import joint_parts
from routoo.routing.request import PromptRequest


@given(sizes=st.lists(st.integers(1, 30), max_size=40), most=st.integers(1, 8))
def test_parts_are_the_batch_within_both_bounds(sizes: list[int], most: int) -> None:
    requests = [PromptRequest("x" * size) for size in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joint_parts, "MOST_CHARS", 20)
        parts = list(joint_parts.parts_of(requests, most))
    assert [one for part in parts for one in part] == requests
    for part in parts:
        chars = [len(one.text) for one in part]
        assert len(part) <= most
        assert sum(chars) <= 20 or len(part) == 1
    # No part ends before it has to.
    for part, following in pairwise(parts):
        more = sum(len(one.text) for one in (*part, following[0]))
        assert len(part) == most or more > 20
