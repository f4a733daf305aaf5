"""A request: a prompt to be routed, with the constraints on its answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from routoo.request_fields import CONSTRAINTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from routoo.routing.media import MediaAmounts
    from routoo.routing.sessions.facts import SessionFacts


@dataclass(slots=True)  # not frozen: made for each request, and three times as fast so
class PromptRequest:
    """One request, free of transport.

    Attributes:
        text: the text that the predictor reads; not empty.
        request_id: the caller's own name for it, returned unchanged.
        constraints: the constraints that are set, by their names in ``routoo.request_fields``.
        tenant: the tenant that pays; empty: none.
        policy: the policy that decides; empty: the one in force.
        task: the kind of task, as the caller names it; empty: it is recognised.
        expected_output_tokens: the caller's estimate; replaces the predicted lengths.
        max_output_tokens: the length at which each answer is cut off; limits the predicted lengths.
        answers: how many answers are asked for and billed.
        added_input_tokens: tokens that the model reads besides the texts, as of images.
        added_output_tokens: tokens that may be billed as output beside each answer, as those of a
            prediction that is rejected.
        unread: text that the model reads and the predictor does not, as of tools and their calls.
        longest_share: share of the input that the longest prompt has, where a request holds several
            that are answered one by one.
        mixed: whether tokens may be billed at other prices than text: those that are written into a
            provider's cache, or are sound, images or films.
        images: images in the request, for models that bill each of them.
        media: images, recordings and films in the request, for models that count them their own
            way; None: there are none.
        latency_percentile: the percentile of its latency that ``max_latency_ms`` is compared with;
            None: the one of the settings.
        service_tier: the service tier that is asked for; empty: the standard one.
        api: the API of the body that is sent on; empty: not known, and every arm can be asked for.
        effort: the reasoning effort that the body sets; empty: none.
        forbids_thinking: whether the body has fields beside which no budget of thinking is taken.
        explain: whether the caller wants every candidate.
        session: the session that it is a turn of; None: it is of none.
        named: whether the request names its model, and is booked without being routed.
        retried: whether its first fallback is asked without another word, and then reported.
    """

    text: str
    request_id: str = ""
    constraints: Mapping[str, Any] = field(default_factory=dict)
    tenant: str = ""
    policy: str = ""
    task: str = ""
    expected_output_tokens: int | None = None
    max_output_tokens: int | None = None
    answers: int = 1
    added_input_tokens: int = 0
    added_output_tokens: int = 0
    unread: str = ""
    longest_share: float = 1.0
    mixed: bool = False
    images: int = 0
    media: MediaAmounts | None = None
    latency_percentile: int | None = None
    service_tier: str = ""
    api: str = ""
    effort: str = ""
    forbids_thinking: bool = False
    explain: bool = False
    session: SessionFacts | None = None
    named: bool = False
    retried: bool = False

    @classmethod
    def of(cls, text: str, fields: Mapping[str, Any], **more: Any) -> PromptRequest:
        """Makes a request from fields of the table in ``routoo.request_fields``.

        Args:
            text: the prompt.
            fields: checked values by name; None and empty ones are not set.
            more: attributes that are not fields of the table.
        """
        constraints = {}
        for name, value in fields.items():
            if name in CONSTRAINTS:
                if value is not None and value != ():
                    constraints[name] = value
            elif name in _ATTRIBUTES:
                more[name] = value
            elif name in _REACH and value is not None:
                more[name] = _REACH[name](value, more.get(name))
        return cls(text, constraints=constraints, **more)


def _larger(value: int, other: int | None) -> int:
    return value if other is None else max(value, other)


def _sum(value: int, other: int | None) -> int:
    return value + (other or 0)


_ATTRIBUTES = ("tenant", "policy", "task", "expected_output_tokens", "latency_percentile")
# What a field says beside a body that says it, too: a limit of the caller's does not bind the
# provider, who sees the body alone, so that it never lowers what the body may cost.
_REACH: Mapping[str, Callable[[int, int | None], int]] = {
    "max_output_tokens": _larger,
    "answers": _larger,
    "added_input_tokens": _sum,
}
