"""The screen of scores that were learned from reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.cli.output.numbers import count
from routoo.cli.output.render import Column, Facts, Row, TextTable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from routoo.cli.output.render import Block
    from routoo.v1.info_pb2 import Model
    from routoo.v1.learning_pb2 import LearnedScore, Learning

_MOST_KINDS = 3


def learned(learning: Learning, models: Iterable[Model]) -> list[Block]:
    """Shows the state, and what was learned of each model that reports told of."""
    if not learning.enabled:
        return [Facts([("learning", "off; set learning.enabled and start the service again")])]
    state = "frozen" if learning.frozen else "on"
    facts = Facts(
        [
            ("learning", f"{state}, generation {learning.generation}"),
            ("version", learning.version or "none yet"),
            ("learned from", count(learning.reports, "report")),
        ]
    )
    rows = [
        Row([one.name, *_model(one.learned_score)]) for one in models if one.learned_score.reports
    ]
    columns = [
        Column("model"),
        Column("logit", "right"),
        Column("give or take", "right"),
        Column("reports", "right"),
        Column("jumps", "right"),
        Column("most by task", optional=True),
    ]
    return [facts, TextTable(columns, rows)] if rows else [facts]


def _model(found: LearnedScore) -> list[str]:
    largest = sorted(found.tasks, key=lambda one: -abs(one.logit_offset))[:_MOST_KINDS]
    kinds = ", ".join(f"{one.task or 'unknown'} {one.logit_offset:+.2f}" for one in largest)
    return [
        f"{found.logit_offset:+.2f}",
        f"{found.logit_std:.2f}",
        f"{found.reports:,}",
        str(found.jumps),
        kinds,
    ]
