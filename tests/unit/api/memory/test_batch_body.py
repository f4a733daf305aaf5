"""Taking the message of a batch apart finds what protobuf finds, and builds less."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from routoo.api.memory.batch_body import BatchBody
from routoo.errors import InvalidRequestError
from routoo.v1 import batch_pb2, route_pb2

KIND = batch_pb2.RouteBatchRequest
prompts = st.builds(
    route_pb2.RouteRequest,
    prompt=st.text(max_size=200),
    request_id=st.text(max_size=5),
    explain=st.booleans(),
)
batches = st.builds(
    KIND,
    requests=st.lists(prompts, min_size=1, max_size=9),
    budget_usd=st.none() | st.floats(0, 9),
    max_requests=st.dictionaries(st.text(max_size=3), st.integers(0, 2**32 - 1), max_size=3),
    dry_run=st.booleans(),
)


def put_together(split: BatchBody) -> Any:
    message = KIND.FromString(split.rest)
    assert not message.requests
    message.requests.extend(split)
    return message


@given(batches, st.randoms(use_true_random=False))
def test_a_batch_is_found_whole_in_any_order_of_its_fields(batch: Any, random: Any) -> None:
    assert put_together(BatchBody.split(KIND, batch.SerializeToString(), 9)) == batch
    # Serialised in pieces, whose bytes may follow each other in any order.
    pieces = [KIND(requests=[one]).SerializeToString() for one in batch.requests]
    batch.ClearField("requests")
    pieces.insert(random.randrange(len(pieces) + 1), batch.SerializeToString())
    body = b"".join(pieces)
    assert put_together(BatchBody.split(KIND, body, 9)) == KIND.FromString(body)


@given(st.binary(max_size=60) | batches.map(lambda one: one.SerializeToString()[:-1]))
def test_what_protobuf_refuses_is_refused(body: bytes) -> None:
    try:
        expected = KIND.FromString(body)
    except DecodeError:
        expected = None
    try:
        found = put_together(BatchBody.split(KIND, body, 10**6))
    except (InvalidRequestError, DecodeError):
        return  # a batch without a prompt is refused, too
    assert found == expected


@pytest.mark.parametrize(("size", "said"), [(0, "0"), (4, "more than 3"), (99, "more than 3")])
def test_the_number_of_prompts_is_bounded(size: int, said: str) -> None:
    body = KIND(requests=[route_pb2.RouteRequest()] * size).SerializeToString()
    with pytest.raises(InvalidRequestError) as caught:
        BatchBody.split(KIND, body, 3)
    assert str(caught.value) == f"requests: {said} prompts; send 1 to 3 in one batch"


def test_prompts_beyond_the_bound_are_not_looked_at() -> None:
    body = KIND(requests=[route_pb2.RouteRequest()] * 4).SerializeToString() + b"\xff" * 99
    with pytest.raises(InvalidRequestError, match="more than 3"):
        BatchBody.split(KIND, body, 3)
