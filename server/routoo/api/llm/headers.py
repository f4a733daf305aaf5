"""The ``x-routoo-`` headers of a request, which set constraints and attributes of its routing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routoo.errors import InvalidRequestError
from routoo.request_fields import FIELDS, Kind
from routoo.selector.policies import POLICIES

if TYPE_CHECKING:
    from collections.abc import Iterable

Header = tuple[str, str]
PREFIX = "x-routoo-"
POLICY = "x-routoo-policy"
MODEL = "x-routoo-model"
ARM = "x-routoo-arm"
DECISION_ID = "x-routoo-decision-id"
SCORE = "x-routoo-score"
COST_USD = "x-routoo-cost-usd"
PROPENSITY = "x-routoo-propensity"
STAY_REASON = "x-routoo-stay-reason"
SWITCH_COST_USD = "x-routoo-switch-cost-usd"
FALLBACK_MODEL = "x-routoo-fallback-model"
RESULTS = frozenset(
    {
        *(MODEL, ARM, DECISION_ID, SCORE, COST_USD, PROPENSITY),
        *(STAY_REASON, SWITCH_COST_USD, FALLBACK_MODEL),
    }
)
"""Headers that only the processor writes. A caller's own are no constraints."""

_FIELDS = {PREFIX + name.replace("_", "-"): field for name, field in FIELDS.items()}


def with_policy(headers: tuple[Header, ...], model: object) -> tuple[Header, ...]:
    """Returns the headers with the policy that a route name tells after a colon.

    ``auto:quality`` is for clients that can send no header of their own; one that is sent counts.

    Args:
        headers: of the request, with the prefix.
        model: the ``model`` of its body, a route name.
    """
    policy = model.partition(":")[2] if isinstance(model, str) else ""
    if policy not in POLICIES or any(name == POLICY for name, _ in headers):
        return headers
    return (*headers, (POLICY, policy))


def read_fields(headers: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Reads the headers that have the prefix.

    An unknown name is refused, because it may be a misspelt limit, which would not be kept.

    Returns:
        Checked values by the names of their fields.

    Raises:
        InvalidRequestError: a header is unknown, is not valid or stands twice; names the header.
    """
    read: dict[str, Any] = {}
    for header, text in headers:
        if not header.startswith(PREFIX) or header in RESULTS:
            continue
        field = _FIELDS.get(header)
        if field is None:
            raise InvalidRequestError(
                f"no such header; known are {', '.join(sorted(_FIELDS))}", field=header
            )
        value = field.parsed(text, header)
        if field.kind is Kind.NAMES:
            value = (*read.get(field.name, ()), *value)
        elif field.name in read:
            raise InvalidRequestError("stands twice; send it once", field=header)
        read[field.name] = value
    return read
