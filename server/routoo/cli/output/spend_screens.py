"""Screens and JSON of ``routoo spend``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routoo.cli.output.numbers import percent, usd, usd_column
from routoo.cli.output.render import Block, Column, Row, TextLine, TextTable

if TYPE_CHECKING:
    from routoo.telemetry.decision_log.spend import Spending, Spent


def spending(found: Spending) -> list[Block]:
    """Shows a row per tenant, model and day, and the savings."""
    sums = [*found.rows.values(), found.total]
    money = (
        usd_column([one.predicted_usd for one in sums]),
        usd_column([one.settled_usd for one in sums]),
        usd_column([one.best_usd for one in sums]),
    )
    names = [*found.rows, ("total", *[""] * (len(found.by) - 1))]
    rows = [
        Row(
            [
                *(text or ("" if name[0] == "total" else "no tenant") for text in name),
                f"{one.decisions:,}",
                percent(1 - one.reported / max(1, one.decisions)),
                *amounts,
            ],
            "good" if one is found.total else "",
        )
        for name, one, *amounts in zip(names, sums, *money, strict=True)
    ]
    total = found.total
    share = total.saved_usd / total.best_usd if total.best_usd else 0.0
    return [
        TextTable(
            [
                *(Column(one, shrinks=one == "model") for one in found.by),
                Column("decisions", "right", optional=True),
                Column("unreported", "right", optional=True),
                Column("predicted", "right"),
                Column("settled", "right"),
                Column("best model", "right", optional=True),
            ],
            rows,
        ),
        TextLine(
            f"sending everything to {found.best} was predicted at {usd(total.best_usd)}:"
            f" {usd(abs(total.saved_usd))} ({percent(abs(share))})"
            f" {'more' if total.saved_usd >= 0 else 'less'} than the decisions",
            "good" if total.saved_usd >= 0 else "warning",
        ),
    ]


def spending_json(found: Spending, findings: list[str]) -> dict[str, Any]:
    """Returns the spending for JSON."""
    return {
        "by": list(found.by),
        "best_model": found.best,
        "rows": [
            {**dict(zip(found.by, key, strict=True)), **_sums(one)}
            for key, one in found.rows.items()
        ],
        "total": _sums(found.total),
        "findings": findings,
    }


def _sums(spent: Spent) -> dict[str, Any]:
    return {
        "decisions": spent.decisions,
        "escalated": spent.escalated,
        "reported": spent.reported,
        "predicted_usd": spent.predicted_usd,
        "settled_usd": spent.settled_usd,
        "best_model_usd": spent.best_usd,
        "saved_usd": spent.saved_usd,
    }
