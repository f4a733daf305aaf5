"""The table of the fields that a request may set besides its prompt; every interface reads it.

A row is a field of ``RequestFields``: its name, its type, and a ``RequestField`` with its values,
its effect on the eligible models, and its option on the command line. The same name stands in
``proto/routoo/v1/route.proto``; an HTTP header is the name after ``x-routoo-``. To add a
constraint, add a row here and a field there. Conversion, headers, eligibility, decision log, client
and command line read the table.

Besides ``routoo.errors`` only the standard library is imported, as clients load this module, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from math import inf, isfinite
from typing import Annotated, Any, Final, TypedDict, get_args, get_type_hints

from routoo.errors import InvalidRequestError

UINT32_MAX: Final = 2**32 - 1
MOST_ANSWERS: Final = 10_000
PERCENTILES: Final = (50, 90, 95, 99)
"""The percentiles of latencies that are learned."""


class Kind(Enum):
    """The kind of values that a field takes."""

    NUMBER = "number"
    """A finite number of at least 0."""
    COUNT = "count"
    """A whole number of 32 bits."""
    NAMES = "names"
    """Any number of names."""
    TEXT = "text"


class Narrows(Enum):
    """The way in which a constraint removes models from a request."""

    AT_MOST = "at_most"
    """A model's estimate may not exceed the value."""
    AT_LEAST = "at_least"
    """A model's estimate may not be below the value."""
    ALLOWED = "allowed"
    """The named models are kept."""
    DENIED = "denied"
    """The named models are removed."""
    CAPABLE = "capable"
    """Models that have all the named capabilities are kept."""
    POLICY = "policy"
    """The constraint itself removes no model; a policy reads it."""


@dataclass(frozen=True, slots=True)
class RequestField:
    """One row of the table.

    Attributes:
        help: its meaning, as help text of the command line.
        metavar: the command line's placeholder for a value.
        narrows: how it narrows the models; None: it is no constraint.
        estimate: the field of ``routing.Estimates`` that AT_MOST and AT_LEAST compare with.
        highest: greatest value of a number.
        least: least value of a count.
        most: greatest value of a count.
        choices: the values of a count that are taken; empty: all.
        flag: option of the command line, or several, apart by a space; empty: the name with dashes.
        name: name of the field; filled in from the table.
        kind: kind of its values; filled in from the field's type.
    """

    help: str
    metavar: str
    narrows: Narrows | None = None
    estimate: str = ""
    highest: float = inf
    least: int = 0
    most: int = UINT32_MAX
    choices: tuple[int, ...] = ()
    flag: str = ""
    name: str = ""
    kind: Kind = Kind.TEXT

    def checked(self, value: float, named: str = "") -> float:
        """Returns the value of a number, if it is valid.

        Args:
            value: any float.
            named: name of the field in errors; empty: its own name.

        Raises:
            InvalidRequestError: below 0, not finite, or above ``highest``.
        """
        return checked_number(value, named or self.name, self.highest)

    def checked_count(self, count: int, named: str = "") -> int:
        """Returns a count, if it is from ``least`` to ``most``.

        Args:
            count: any whole number.
            named: name of the field in errors; empty: its own name.

        Raises:
            InvalidRequestError: it is out of range, or not among the choices.
        """
        if self.choices and count not in self.choices:
            *first, last = map(str, self.choices)
            raise InvalidRequestError(
                f"{count} is not {', '.join(first)} or {last}", field=named or self.name
            )
        if not self.least <= count <= self.most:
            raise InvalidRequestError(
                f"{count} is not from {self.least} to {self.most}", field=named or self.name
            )
        return count

    def parsed(self, text: str, named: str) -> Any:
        """Parses the value from text, as in a header.

        Args:
            text: the value as text; names are separated by commas.
            named: name of the field in errors.

        Raises:
            InvalidRequestError: the text is no value of the field's kind.
        """
        if self.kind is Kind.NAMES:
            return tuple(one for part in text.split(",") if (one := part.strip()))
        if self.kind is Kind.TEXT:
            return text.strip()
        if self.kind is Kind.COUNT:
            digits = text.strip()
            if digits.isascii() and digits.isdigit() and len(digits) <= len(str(UINT32_MAX)):
                return self.checked_count(int(digits), named)
            raise InvalidRequestError(f"{digits[:40]!r} is not a whole number", field=named)
        try:
            value = float(text)
        except ValueError:
            raise InvalidRequestError(f"{text[:40]!r} is not a number", field=named) from None
        return self.checked(value, named)


def checked_number(value: float, field: str, highest: float = inf) -> float:
    """Returns a number, if it is finite, at least 0 and at most ``highest``.

    Raises:
        InvalidRequestError: names the field.
    """
    if not isfinite(value) or value < 0.0:
        raise InvalidRequestError(f"{value} is not a finite number of at least 0", field=field)
    if value > highest:
        raise InvalidRequestError(
            f"{value} is above {highest:g}; scores are in [0, 1]", field=field
        )
    return value


class RequestFields(TypedDict, total=False):
    """The fields of a request besides its prompt; ``None`` means not set. Units as in the proto."""

    allowed_models: Annotated[
        Sequence[str] | None,
        RequestField("Only this model; repeatable.", "MODEL", Narrows.ALLOWED, flag="--allow"),
    ]
    denied_models: Annotated[
        Sequence[str] | None,
        RequestField("Not this model; repeatable.", "MODEL", Narrows.DENIED, flag="--deny"),
    ]
    required_capabilities: Annotated[
        Sequence[str] | None,
        RequestField(
            "Only models with this capability; repeatable.",
            "CAP",
            Narrows.CAPABLE,
            flag="--require",
        ),
    ]
    max_latency_ms: Annotated[
        float | None,
        RequestField("At most this predicted time.", "MS", Narrows.AT_MOST, "limited_ms"),
    ]
    latency_percentile: Annotated[
        int | None,
        RequestField(
            "--max-latency-ms is kept by so many of 100 answers: 50, 90, 95 or 99.",
            "P",
            choices=PERCENTILES,
        ),
    ]
    max_cost_usd: Annotated[
        float | None,
        RequestField(
            "At most this cost, with --max-output-tokens reached.",
            "USD",
            Narrows.AT_MOST,
            "reserved_usd",
        ),
    ]
    min_score: Annotated[
        float | None,
        RequestField(
            "At least this predicted score, 0 to 1.", "X", Narrows.AT_LEAST, "scores", highest=1.0
        ),
    ]
    max_quality_gap: Annotated[
        float | None,
        RequestField(
            "Policy quality_gap: what the small model may lose.", "X", Narrows.POLICY, highest=1.0
        ),
    ]
    expected_output_tokens: Annotated[int | None, RequestField("Your estimate of the answer.", "N")]
    max_output_tokens: Annotated[
        int | None, RequestField("Where the provider cuts an answer off.", "N", least=1)
    ]
    answers: Annotated[
        int | None,
        RequestField("How many answers are asked for.", "N", least=1, most=MOST_ANSWERS),
    ]
    added_input_tokens: Annotated[
        int | None, RequestField("What the model reads besides: tools, images.", "N")
    ]
    tenant: Annotated[str | None, RequestField("Who pays.", "T")]
    session_id: Annotated[
        str | None, RequestField("The conversation.", "ID", flag="--session --session-id")
    ]
    current_model: Annotated[
        str | None, RequestField("The model that answered the turn before.", "MODEL")
    ]
    cached_input_tokens: Annotated[
        int | None, RequestField("What its provider has cached of the input.", "N")
    ]
    task: Annotated[str | None, RequestField("The kind of task; `routoo info` lists them.", "K")]
    policy: Annotated[str | None, RequestField("Decide by this policy, not the one in force.", "P")]


_KINDS: Mapping[Any, Kind] = {
    float: Kind.NUMBER,
    int: Kind.COUNT,
    str: Kind.TEXT,
    Sequence[str]: Kind.NAMES,
}


def _rows() -> dict[str, RequestField]:
    hints = get_type_hints(RequestFields, include_extras=True)
    found = {}
    for name, hint in hints.items():
        value, row = get_args(hint)
        kind = next(_KINDS[one] for one in get_args(value) if one in _KINDS)
        found[name] = replace(row, name=name, kind=kind, flag=row.flag or _flag(name))
    return found


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


FIELDS: Final[Mapping[str, RequestField]] = _rows()
"""The rows of the table by name; constraints in the order in which they are applied."""
CONSTRAINTS: Final[Mapping[str, RequestField]] = {
    name: row for name, row in FIELDS.items() if row.narrows is not None
}
"""The rows that are constraints."""
