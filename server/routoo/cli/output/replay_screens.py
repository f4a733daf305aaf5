"""Screens and JSON of ``routoo replay``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routoo.cli.output.numbers import count, percent, score, usd
from routoo.cli.output.render import Block, Column, Row, TextLine, TextTable

if TYPE_CHECKING:
    from routoo.telemetry.decision_log.replay import Reproduction
    from routoo.telemetry.decision_log.what_if import Figures, WhatIf

MOST_SHOWN = 20


def reproduction(found: Reproduction, seconds: float) -> list[Block]:
    """Shows whether every decision was reproduced, and the first mismatches."""
    decisions = count(found.decisions, "decision")
    programs = count(found.joint_batches, "program")
    took = f"{decided_in(found.decisions, seconds)}; {programs} over whole batches among them"
    if not found.mismatches:
        return [TextLine(f"{decisions} reproduced bit for bit", "good"), TextLine(took, "muted")]
    ids = len({one.decision_id for one in found.mismatches})
    rows = [
        Row([one.decision_id, one.what, one.logged, one.replayed])
        for one in found.mismatches[:MOST_SHOWN]
    ]
    more = len(found.mismatches) - len(rows)
    blocks: list[Block] = [
        TextLine(f"{ids} of {decisions} came out otherwise", "warning"),
        TextLine(took, "muted"),
        TextTable([Column("decision"), Column("what"), Column("logged"), Column("replayed")], rows),
    ]
    return [*blocks, TextLine(f"and {more} more; --json has all of them")] if more > 0 else blocks


def comparison(found: WhatIf, seconds: float) -> list[Block]:
    """Shows the log's decisions beside those that would have been made instead."""
    then, other = found.as_decided, found.as_instead
    total = then.decided + then.refused
    names = [
        name
        for name in sorted(
            {**then.models, **other.models}, key=lambda name: -then.models.get(name, 0)
        )
        if then.models.get(name, 0) or other.models.get(name, 0)
    ]
    blocks: list[Block] = [
        TextLine(f"instead: {found.instead}"),
        TextLine(f"{percent(found.same / total)} of {count(total, 'decision')} the same", "good"),
        TextLine(decided_in(total, seconds), "muted"),
        TextTable(
            [Column("model"), Column("decided", "right"), Column("instead", "right")],
            [
                Row([name, *(percent(one.models.get(name, 0) / total) for one in (then, other))])
                for name in names
            ],
        ),
        TextTable(
            [Column(""), Column("decided", "right"), Column("instead", "right")],
            [Row([name, *values]) for name, values in _rows(then, other)],
        ),
    ]
    if found.turned:
        turned = count(found.turned, "decision")
        blocks.append(
            TextLine(
                f"budgets had turned or refused {turned}; instead, all are paid for", "warning"
            )
        )
    return blocks


def comparison_json(found: WhatIf, findings: list[str], seconds: float) -> dict[str, Any]:
    """Returns the comparison for JSON."""
    return {
        "instead": found.instead,
        "same_decisions": found.same,
        "turned_by_budgets": found.turned,
        "as_decided": _json(found.as_decided),
        "as_instead": _json(found.as_instead),
        "findings": findings,
        "seconds": seconds,
    }


def reproduction_json(found: Reproduction, findings: list[str], seconds: float) -> dict[str, Any]:
    """Returns the reproduction for JSON."""
    return {
        "decisions": found.decisions,
        "joint_batches": found.joint_batches,
        "mismatches": [
            {
                "decision_id": one.decision_id,
                "what": one.what,
                "logged": one.logged,
                "replayed": one.replayed,
            }
            for one in found.mismatches
        ],
        "findings": findings,
        "seconds": seconds,
    }


def decided_in(decisions: int, seconds: float) -> str:
    """Says how many decisions were made in which time."""
    return f"{decisions:,} decisions in {seconds:.2f} s"


def _rows(then: Figures, other: Figures) -> list[tuple[str, list[str]]]:
    both = (then, other)
    known = (then.reported, other.reported)
    rows = [
        ("without a model", [f"{one.refused:,}" for one in both]),
        ("mean predicted score", [_mean(one.score, one.decided) for one in both]),
        ("predicted cost", [usd(one.cost_usd) for one in both]),
    ]
    if then.reported.scored:
        rows += [
            ("reported with a score", [f"{one.scored:,}" for one in known]),
            ("their mean score", [_mean(one.score, one.scored) for one in known]),
            ("predicted for the same", [_mean(one.predicted_score, one.scored) for one in known]),
        ]
    if then.reported.costed:
        rows += [
            ("reported with a cost", [f"{one.costed:,}" for one in known]),
            ("their cost", [usd(one.cost_usd) for one in known]),
            ("predicted for the same", [usd(one.predicted_cost_usd) for one in known]),
        ]
    return rows


def _mean(total: float, of: int) -> str:
    return score(total / of) if of else "-"


def _json(figures: Figures) -> dict[str, Any]:
    reported = figures.reported
    return {
        "models": dict(figures.models),
        "without_model": figures.refused,
        "mean_predicted_score": figures.score / figures.decided if figures.decided else None,
        "predicted_cost_usd": figures.cost_usd,
        "reported": {
            "scored": reported.scored,
            "mean_score": reported.score / reported.scored if reported.scored else None,
            "mean_predicted_score": (
                reported.predicted_score / reported.scored if reported.scored else None
            ),
            "costed": reported.costed,
            "cost_usd": reported.cost_usd,
            "predicted_cost_usd": reported.predicted_cost_usd,
        },
    }
