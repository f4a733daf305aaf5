"""The fields of each API's request body that ask a model for an arm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routoo.routing.arms.spec import Api, ArmSpec

_OPENAI_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
EFFORTS_OF: Final[Mapping[Api, tuple[str, ...]]] = {
    "chat": _OPENAI_EFFORTS,
    "responses": _OPENAI_EFFORTS,
    "completions": (),
    "messages": ("none", "low", "medium", "high", "xhigh", "max"),
}
"""The efforts that have a field of the API; others need a template, see ``ArmSpec.body``."""
LIMIT_FIELDS: Final[Mapping[Api, tuple[str, ...]]] = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "responses": ("max_output_tokens",),
    "completions": ("max_tokens",),
    "messages": ("max_tokens",),
}
"""The fields of each API that limit the answer, the newer one first."""
_SERVICE_TIERS: Final = frozenset({"chat", "responses", "messages"})


def parameters_of(arm: ArmSpec, api: Api) -> dict[str, Any] | None:
    """Returns the fields of a body that ask for an arm, the longest answer left out.

    Args:
        arm: the arm.
        api: the API of the body.

    Returns:
        JSON values by the names of top-level fields; objects are to be merged into those of the
        body. None: the API has no field for a part of the arm.
    """
    template = arm.body.get(api)
    fields = _reasoning(arm, api) if template is None else dict(template)
    if fields is None or (arm.service_tier and api not in _SERVICE_TIERS):
        return None
    if arm.service_tier:
        fields.setdefault("service_tier", arm.service_tier)
    return fields


def _reasoning(arm: ArmSpec, api: Api) -> dict[str, Any] | None:
    fields: dict[str, Any] = {}
    if arm.thinking_budget_tokens is not None:
        if api != "messages":
            return None
        fields["thinking"] = {"type": "enabled", "budget_tokens": arm.thinking_budget_tokens}
    effort = arm.effort
    if effort is None or (arm.thinking_budget_tokens is not None and effort == "none"):
        return fields
    if effort not in EFFORTS_OF[api]:
        return None
    if api == "chat":
        fields["reasoning_effort"] = effort
    elif api == "responses":
        fields["reasoning"] = {"effort": effort}
    elif effort == "none":
        fields["thinking"] = {"type": "disabled"}
    else:
        fields["output_config"] = {"effort": effort}
    return fields


def why_not(arm: ArmSpec, api: Api) -> str:
    """Returns why an API cannot ask for an arm, for messages; empty: it can."""
    if parameters_of(arm, api) is not None:
        return ""
    if arm.body.get(api) is None:
        if arm.thinking_budget_tokens is not None and api != "messages":
            return f"{api} has no field for thinking_budget_tokens"
        if arm.effort is not None and arm.effort not in EFFORTS_OF[api]:
            known = ", ".join(EFFORTS_OF[api])
            return f"{api} knows no effort {arm.effort!r}" + (f", only {known}" if known else "")
    return f"{api} has no field for service_tier"


def told_by(arm: ArmSpec) -> dict[str, str]:
    """Returns the fields that ask for an arm, its longest answer among them, as JSON by API.

    An API that cannot ask for the arm is left out.
    """
    told: dict[str, str] = {}
    for api, names in LIMIT_FIELDS.items():
        fields = parameters_of(arm, api)
        if fields is not None:
            if arm.max_output_tokens is not None:
                fields[names[0]] = arm.max_output_tokens
            told[api] = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS).decode()
    return told
