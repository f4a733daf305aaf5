"""Graders by a reference answer: exact, numeric, regular expression, and JSON."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from typing import TYPE_CHECKING, Any, Final, Literal

from routoo_export.errors import GradingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ReferenceKind = Literal["exact", "numeric", "regex", "json"]

TOLERANCE: Final = 1e-6
"""Relative difference up to which numbers are equal."""
MOST_ANSWER_CHARS: Final = 100_000
"""Longer answers are wrong: a pattern could take for ever on them."""
_NUMBER: Final = re.compile(r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?%?")
_FRACTION: Final = re.compile(r"^\s*([-+]?\d+)\s*/\s*(\d+)\s*$")
_BOXED: Final = re.compile(r"\\boxed\{([^{}]*)\}")
_ANSWER: Final = re.compile(r"(?:final answer|answer)\s*(?:is|:|=)\s*(.+)", re.IGNORECASE)
_FENCE: Final = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)


def grade_by_reference(kind: ReferenceKind, answer: str, reference: str) -> float:
    r"""Grades an answer, 0.0 or 1.0.

    - exact: the text after "answer:", in ``\boxed{}``, or else the whole answer is the
      reference, without regard to case, white space, and marks at its ends.
    - numeric: the last number that is given as the answer equals the reference.
    - regex: the reference, a pattern, is found in the answer.
    - json: the first JSON value of the answer equals the reference, in any order of keys.

    Args:
        kind: the way to compare.
        answer: of the model.
        reference: what is right.

    Raises:
        GradingError: the reference does not fit its kind.
    """
    if len(answer) > MOST_ANSWER_CHARS:
        return 0.0
    return float(_GRADERS[kind](answer, reference))


def check_reference(kind: str, reference: str) -> None:
    """Check a reference before money is spent.

    Raises:
        GradingError: the kind is unknown, or the reference does not fit it.
    """
    if kind not in _GRADERS:
        raise GradingError(f"grader {kind!r} is none of {', '.join(sorted(_GRADERS))}, tests")
    _GRADERS[kind]("", reference)


def _exact(answer: str, reference: str) -> bool:
    wanted = _plain(reference)
    return any(_plain(one) == wanted for one in (*_given(answer), answer))


def _numeric(answer: str, reference: str) -> bool:
    wanted = _value(reference)
    if wanted is None:
        raise GradingError(f"the reference {reference[:40]!r} is no number; use the grader exact")
    for given in (*_given(answer), answer):
        numbers = [_value(one) for one in _NUMBER.findall(given)]
        fraction = _value(given) if _FRACTION.match(given) else None
        found = fraction if fraction is not None else (numbers[-1] if numbers else None)
        if found is not None:
            return math.isclose(found, wanted, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return False


def _regex(answer: str, reference: str) -> bool:
    try:
        return re.search(reference, answer) is not None
    except re.error as error:
        raise GradingError(f"the reference {reference[:40]!r} is no pattern: {error}") from None


def _json(answer: str, reference: str) -> bool:
    try:
        wanted = json.loads(reference)
    except ValueError as error:
        raise GradingError(f"the reference {reference[:40]!r} is no JSON: {error}") from None
    for part in (answer, *_FENCE.findall(answer)):
        found, value = _first_json(part)
        if found:
            return _equal(value, wanted)
    return False


_GRADERS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "exact": _exact,
    "numeric": _numeric,
    "regex": _regex,
    "json": _json,
}


def _given(answer: str) -> list[str]:
    """What the answer says is the answer, the last said first."""
    found = [*_ANSWER.findall(answer), *_BOXED.findall(answer)]
    return found[::-1]


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).strip(" .,;:!?\"'`*()[]$")


def _value(text: str) -> float | None:
    fraction = _FRACTION.match(text)
    if fraction is not None:
        below = int(fraction[2])
        return None if below == 0 else int(fraction[1]) / below
    plain = text.strip().replace(",", "").rstrip(".")
    share = plain.endswith("%")
    try:
        value = float(plain.rstrip("%").strip().lstrip("$"))
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    return value / 100.0 if share else value


def _first_json(text: str) -> tuple[bool, Any]:
    """Whether there is a JSON value, and the first one: the whole text, or an object or list."""
    try:
        return True, json.loads(text)
    except (ValueError, RecursionError):
        pass
    decoder = json.JSONDecoder()
    for at in [place.start() for place in re.finditer(r"[\[{]", text)][:50]:
        try:
            return True, decoder.raw_decode(text, at)[0]
        except (ValueError, RecursionError):
            continue
    return False, None


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are equal; 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(type(one) is type(other) and one == other)
