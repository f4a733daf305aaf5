"""The ``x-routoo-`` headers of a request: what its answer has to keep."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING

from routoo.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIX = "x-routoo-"
MODEL = "x-routoo-model"
DECISION_ID = "x-routoo-decision-id"
SCORE = "x-routoo-score"
COST_USD = "x-routoo-cost-usd"
RESULTS = frozenset({MODEL, DECISION_ID, SCORE, COST_USD})
"""Headers that only the processor writes; a caller's are taken away."""

_NUMBERS = {"max-cost-usd", "min-score", "max-latency-ms", "max-quality-gap"}
_AT_MOST_1 = {"min-score", "max-quality-gap"}
_LISTS = {"allowed-models", "denied-models", "required-capabilities"}
_TEXTS = {"tenant", "session-id", "policy"}
_COUNTS = {"expected-output-tokens"}
_KNOWN = _NUMBERS | _LISTS | _TEXTS | _COUNTS
_MOST_TOKENS = 2**32 - 1


@dataclass(slots=True)
class Constraints:
    """As ``PromptRequest`` has them; None and empty: none."""

    max_cost_usd: float | None = None
    min_score: float | None = None
    max_latency_ms: float | None = None
    max_quality_gap: float | None = None
    allowed_models: tuple[str, ...] = ()
    denied_models: tuple[str, ...] = ()
    required_capabilities: tuple[str, ...] = ()
    tenant: str = ""
    policy: str = ""
    session_id: str = ""
    expected_output_tokens: int | None = None
    seen: set[str] = field(default_factory=set)


def read_constraints(headers: Iterable[tuple[str, str]]) -> Constraints:
    """Reads headers, of which only those with the prefix count.

    A misspelt one is refused: it would be a limit that nobody keeps.

    Raises:
        InvalidRequestError: names the header.
    """
    read = Constraints()
    for name, value in headers:
        if not name.startswith(PREFIX) or name in RESULTS:
            continue
        key = name.removeprefix(PREFIX)
        if key not in _KNOWN:
            known = ", ".join(sorted(PREFIX + one for one in _KNOWN))
            raise InvalidRequestError(f"no such header; known are {known}", field=name)
        if key in read.seen and key not in _LISTS:
            raise InvalidRequestError("stands twice; send it once", field=name)
        read.seen.add(key)
        attribute = key.replace("-", "_")
        if key in _NUMBERS:
            setattr(read, attribute, _number(name, value, at_most_1=key in _AT_MOST_1))
        elif key in _COUNTS:
            setattr(read, attribute, _count(name, value))
        elif key in _LISTS:
            names = tuple(one for part in value.split(",") if (one := part.strip()))
            setattr(read, attribute, (*getattr(read, attribute), *names))
        else:
            setattr(read, attribute, value.strip())
    return read


def _number(name: str, text: str, *, at_most_1: bool) -> float:
    try:
        value = float(text)
    except ValueError:
        raise InvalidRequestError(f"{text[:40]!r} is not a number", field=name) from None
    if not isfinite(value) or value < 0.0:
        raise InvalidRequestError(f"{value} is not a finite number of at least 0", field=name)
    if at_most_1 and value > 1.0:
        raise InvalidRequestError(f"{value} is above 1; scores are in [0, 1]", field=name)
    return value


def _count(name: str, text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _MOST_TOKENS):
        raise InvalidRequestError(f"{text[:40]!r} is not a whole number of tokens", field=name)
    return int(text)
