"""Envoy's second try: what it needs to ask the first fallback, and what it tells of having asked.

Envoy keeps what it has sent. Where the provider fails before its reply has begun, Envoy picks the
cluster of the header ``x-routoo-fallback-model``, puts the headers of the fallback in place of
those of the decision, edits the body, and sends the request once more. All that is given to it with
the decision, so that a second try asks nobody here. See deploy/envoy/envoy.yaml.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from routoo.api.extproc.failures import FROM_UPSTREAM, failure_told
from routoo.api.llm.bodies.edits import edits_between
from routoo.api.llm.headers import ARM, COST_USD, MODEL, SCORE
from routoo.routing.health.failures import Cause, ProviderFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routoo.api.llm.bodies.edits import Changes
    from routoo.routing.decision import FallbackArm

PLAN: Final = "routoo.fallback"
"""The namespace of the metadata that hold the plan for the second try."""
TRIES: Final = "routoo.tries"
"""The namespace of the metadata in which Envoy tells that the fallback was asked, and why."""
FIRST_BYTE_MS: Final = "x-envoy-upstream-rq-per-try-timeout-ms"
"""The header that says how long Envoy waits for a reply to begin, in ms."""
_FIRST, _ASKED = "first", "fallback"
_STATUS = re.compile(r"[1-5]\d\d", re.ASCII)
_NO_REPLY: Final = ProviderFailure(Cause.RESET)


def fallback_headers(fallback: FallbackArm) -> tuple[tuple[str, str], ...]:
    """Returns the headers that tell of a fallback, in place of those of the decision."""
    return (
        (MODEL, fallback.model),
        *(() if fallback.arm is None else ((ARM, fallback.arm.name),)),
        (SCORE, f"{fallback.score:.4f}"),
        (COST_USD, f"{fallback.cost_usd:.6g}"),
    )


def plan_of(fallback: FallbackArm, data: bytes, first: Changes, second: Changes) -> str:
    """Returns the plan for the second try, as Envoy's filter reads it.

    Lines ``name: value`` for the headers, an empty line, and then the edits of the body: for each,
    a line with its offset, the bytes to cut out and the bytes to put in, and these bytes.

    Args:
        fallback: the fallback.
        data: the request's body, in UTF-8.
        first: what the decision has changed in it.
        second: what the fallback changes in it instead.
    """
    lines = [f"{name}: {value}\n" for name, value in fallback_headers(fallback)]
    edits = [
        f"{edit.at} {edit.cut} {len(edit.put)}\n{edit.put.decode()}"
        for edit in edits_between(data, first, second)
    ]
    return "".join((*lines, "\n", *edits))


def failed_try(metadata: Mapping[str, Any]) -> ProviderFailure | None:
    """Returns the failure of the first of two tries; None: the fallback was not asked.

    Args:
        metadata: structures by namespace, which Envoy gives with the reply or its log entry. Where
            the fallback was asked and they tell of no first reply, there was none: the connection
            failed or broke off, or the reply did not begin in time.
    """
    if TRIES not in metadata:
        return None
    told = metadata[TRIES].fields
    if _ASKED not in told:
        return None
    status, _, retry_after = told[_FIRST].string_value.partition(" ")
    if not _STATUS.fullmatch(status):
        return _NO_REPLY
    return failure_told(int(status), retry_after, FROM_UPSTREAM) or _NO_REPLY
