"""What an answer showed, as the client's callers write it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, Unpack

from routoo.v1.outcome_pb2 import EscalateRequest, TokenLogprobs

if TYPE_CHECKING:
    from collections.abc import Sequence

_KINDS = ("agreement", "margin", "logprobs", "check")


class Signal(TypedDict, total=False):
    """What an answer showed, at most one of the first four, and what may follow; see the proto."""

    agreement: float | None
    margin: float | None
    logprobs: Sequence[float] | None
    check: float | None
    answered_models: Sequence[str] | None
    min_score: float | None
    max_cost_usd: float | None


def make_escalation(decision_id: str, **signal: Unpack[Signal]) -> EscalateRequest:
    """One request for an escalation, for one's own stub.

    Raises:
        TypeError: a value of the wrong type.
        ValueError: more than one kind of signal.
    """
    kinds = [kind for kind in _KINDS if signal.get(kind) is not None]
    if len(kinds) > 1:
        raise ValueError(f"{' and '.join(kinds)} are given; an answer has one kind of signal")
    logprobs = signal.get("logprobs")
    return EscalateRequest(
        decision_id=decision_id,
        min_score=signal.get("min_score"),
        max_cost_usd=signal.get("max_cost_usd"),
        agreement=signal.get("agreement"),
        margin=signal.get("margin"),
        logprobs=None if logprobs is None else TokenLogprobs(values=logprobs),
        check=signal.get("check"),
        answered_models=signal.get("answered_models"),
    )
