"""The parameters that a caller's body sets itself, and the arms that they leave.

A field of the body that the caller has set is never written over: his effort, his service tier and
his longest answer are what the model gets. So each model keeps only the arms that come nearest to
them, which has figures nearest to those of the answer to come:

- arms that the body's API has no fields for, or that reason where the body forbids it or allows no
  answer beyond the reasoning, go first, without regard to what is left;
- then, within each model, arms further away in effort;
- then those that name another service tier than the caller, where one of the others is left;
- then those whose longest answer is below the caller's own, the longest of them excepted.

The last three never take a model's last arm. A request that names its model is sent as it is, so
that it asks for no service tier and for no longest answer where its body has none. A limit that
the caller has set is lowered to the longest answer of the arm that is chosen, where that is
smaller: a model of which all arms are short never answers at length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from routoo.routing.arms.efforts import RANKS, effort_of_budget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from routoo.routing.arms.columns import ArmColumns
    from routoo.routing.arms.spec import Api
    from routoo.routing.request import PromptRequest

# Anthropic's models refuse to reason beside these: https://docs.claude.com, extended thinking.
_LEAST_TOP_P = 0.95
_FORCED_TOOLS = frozenset({"any", "tool"})
_NO_LIMIT: Final = 2.0**40  # tokens, above all longest answers
_UNSAID: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class OwnAsking:
    """What a body says of the way its model is asked.

    Attributes:
        effort: the effort, or the one that the body's budget of thinking comes to; empty: none, or
            one that is not known.
        forbids_thinking: whether the body has a field beside which no budget of thinking is taken.
    """

    effort: str
    forbids_thinking: bool


NOTHING_ASKED: Final = OwnAsking(effort="", forbids_thinking=False)


def own_asking(api: Api, body: Mapping[str, Any]) -> OwnAsking:
    """Reads a body; values that do not fit are taken as not set."""
    if api == "messages":
        effort = _text(_inner(body, "output_config"), "effort") or _effort_of_thinking(body)
        return OwnAsking(effort, _forbids_thinking(body))
    effort = _text(_inner(body, "reasoning"), "effort")
    if api != "responses":
        effort = _text(body, "reasoning_effort") or effort or _effort_of_thinking(body)
        for fields in (body, _inner(body, "chat_template_kwargs")):
            if not effort and fields.get("enable_thinking") is False:
                effort = "none"
    return OwnAsking(effort, forbids_thinking=False)


def arms_left(
    arms: ArmColumns, requests: Sequence[PromptRequest], mask: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Returns the columns that n requests' own parameters leave, bool [n, m]; see the module.

    Args:
        arms: the m columns.
        requests: the n requests.
        mask: bool [n, m], the columns that are left so far.
    """
    left = mask
    if any(one.api for one in requests):
        left = left & np.array([arms.asked_by.get(one.api, _every(mask)) for one in requests])
    if arms.thinking_tokens.any():
        room = [
            -1.0
            if one.forbids_thinking
            else np.inf
            if one.max_output_tokens is None
            else one.max_output_tokens - 1.0
            for one in requests
        ]
        thinks = arms.thinking_tokens > 0.0
        left = left & ~(thinks & (arms.thinking_tokens > np.array(room)[:, None]))
    if any(one.effort for one in requests):
        ranks = np.array([RANKS.get(one.effort, np.nan) for one in requests])[:, None]
        left = _nearest(arms, left, np.abs(arms.efforts - ranks))
    if any(one.service_tier or one.named for one in requests):
        known = np.array(arms.service_tiers)
        tiers = np.array([one.service_tier.lower() for one in requests])[:, None]
        named = np.array([one.named for one in requests])[:, None]
        others = (known != tiers) & (known != "") & ((tiers != "") | named)
        left = _nearest(arms, left, others.astype(np.float64))
    if arms.longest_answers is not None and any(
        one.max_output_tokens is not None or one.named for one in requests
    ):
        caps = np.array(
            [one.max_output_tokens or (_NO_LIMIT if one.named else 0.0) for one in requests],
            np.float64,
        )[:, None]
        left = _nearest(arms, left, np.maximum(0.0, caps - arms.longest_answers))
    return left


def _nearest(
    arms: ArmColumns, mask: NDArray[np.bool_], distances: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Keeps the eligible columns of least distance within each model; NaN keeps all."""
    known = np.where(np.isnan(distances), 0.0, distances)
    among = np.where(mask, known, np.inf)
    return mask & (among <= arms.least_of_model(among))


def _every(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.ones(mask.shape[1], np.bool_)


def _inner(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    return found if isinstance(found, dict) else _UNSAID


def _text(fields: Mapping[str, Any], name: str) -> str:
    found = fields.get(name)
    return found if isinstance(found, str) and found in RANKS else ""


def _effort_of_thinking(body: Mapping[str, Any]) -> str:
    thinking = _inner(body, "thinking")
    kind, budget = thinking.get("type"), thinking.get("budget_tokens")
    if kind == "disabled":
        return "none"
    if kind == "enabled" and isinstance(budget, int) and not isinstance(budget, bool):
        return effort_of_budget(budget)
    return ""


def _forbids_thinking(body: Mapping[str, Any]) -> bool:
    temperature, top_p = body.get("temperature"), body.get("top_p")
    said = body.get("messages")
    last = said[-1] if isinstance(said, list) and said else None
    forced = _inner(body, "tool_choice").get("type")
    return (
        temperature not in (None, 1)
        or body.get("top_k") is not None
        or (isinstance(top_p, (int, float)) and top_p < _LEAST_TOP_P)
        or (isinstance(forced, str) and forced in _FORCED_TOOLS)
        or (isinstance(last, dict) and last.get("role") == "assistant")
    )
