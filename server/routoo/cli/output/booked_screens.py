"""Screens and JSON of ``routoo spend`` from the books of the budgets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from routoo.cli.output.numbers import percent, usd_column
from routoo.cli.output.render import Block, Column, Row, TextLine, TextTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routoo.budget.spent import DaySpent

_SUMS = (
    "granted",
    "expired",
    "open_usd",
    "settled_usd",
    "overdraft_usd",
    "reported_usd",
    "reported_reserved_usd",
)


def booked(days: Sequence[DaySpent], by: Sequence[str]) -> list[Block]:
    """Shows a row per tenant and day.

    Args:
        days: what was spent.
        by: ``tenant``, ``day`` or both.
    """
    if not days:
        return [TextLine("nothing is booked by day yet")]
    found = _joined(days, by)
    sums = [*found.values(), _total(days)]
    names = [*found, ("total", *[""] * (len(by) - 1))]
    money = [
        usd_column([getattr(one, name) for one in sums])
        for name in ("open_usd", "settled_usd", "overdraft_usd")
    ]
    rows = [
        Row(
            [
                *(text or ("" if name[0] == "total" else "no budget of its own") for text in name),
                f"{one.granted:,}",
                percent(one.expired / max(1, one.granted)),
                *amounts,
                _correction(one),
            ],
            "good" if one is sums[-1] else "",
        )
        for name, one, *amounts in zip(names, sums, *money, strict=True)
    ]
    columns = [
        *(Column(one) for one in by),
        Column("granted", "right"),
        Column("unreported", "right"),
        Column("open", "right"),
        Column("settled", "right"),
        Column("overdraft", "right", optional=True),
        Column("correction", "right", optional=True),
    ]
    note = "models and savings need the decision log: routoo spend LOG"
    return [TextTable(columns, rows), TextLine(note, "muted")]


def booked_json(days: Sequence[DaySpent], by: Sequence[str]) -> dict[str, Any]:
    """Returns what was spent for JSON; ``by`` as ``booked`` takes it."""
    return {
        "by": list(by),
        "rows": [
            {**dict(zip(by, key, strict=True)), **_sums(one)}
            for key, one in _joined(days, by).items()
        ],
        "total": _sums(_total(days)) if days else None,
    }


def _joined(days: Sequence[DaySpent], by: Sequence[str]) -> dict[tuple[str, ...], DaySpent]:
    rows: dict[tuple[str, ...], list[DaySpent]] = {}
    for one in days:
        named = {"tenant": one.tenant, "day": one.day.isoformat()}
        rows.setdefault(tuple(named[name] for name in by), []).append(one)
    return {key: _total(rows[key]) for key in sorted(rows)}


def _total(days: Sequence[DaySpent]) -> DaySpent:
    return replace(days[0], **{name: sum(getattr(one, name) for one in days) for name in _SUMS})


def _correction(one: DaySpent) -> str:
    if not one.reported_reserved_usd:
        return ""
    return f"x {one.reported_usd / one.reported_reserved_usd:.2f}"


def _sums(one: DaySpent) -> dict[str, Any]:
    return {
        name: round(value, 9) if isinstance(value := getattr(one, name), float) else value
        for name in _SUMS
    }
