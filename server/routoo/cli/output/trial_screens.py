"""The screen of ``routoo experiment``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.cli.output.numbers import count, percent, score, usd, usd_column
from routoo.cli.output.render import Block, Column, Facts, Row, TextLine, TextTable

if TYPE_CHECKING:
    from routoo.v1.trials_pb2 import Experiment, Interval


def experiment_screen(found: Experiment) -> list[Block]:
    """Shows both arms, the intervals of their difference, and the verdict."""
    arms = (found.control, found.candidate_arm)
    costs = usd_column([arm.mean_cost_usd for arm in arms])
    rows = [
        Row(
            [
                name,
                f"{arm.decisions:,}",
                f"{arm.graded:,}",
                score(arm.mean_score) if arm.graded else "-",
                f"{arm.score_bounds.low:.3f} to {arm.score_bounds.high:.3f}",
                cost if arm.booked else "-",
            ]
        )
        for name, arm, cost in zip(("in force", found.candidate), arms, costs, strict=True)
    ]
    columns = [
        Column("arm"),
        Column("decisions", "right"),
        Column("graded", "right"),
        Column("score", "right"),
        Column("between", "right"),
        Column("cost", "right"),
    ]
    facts = [
        ("share", f"{percent(found.share)} by {found.by}"),
        ("score", f"candidate minus in force: {_between(found.score_difference)}"),
        ("cost", f"candidate minus in force: {_between(found.cost_difference_usd, money=True)}"),
    ]
    if found.shadow.decisions:
        shadow = found.shadow
        told = (
            f"{count(shadow.decisions, 'decision')}, {shadow.disagreements:,} with another model;"
            f" expected {score(shadow.candidate_mean_score)} at"
            f" {usd(shadow.candidate_mean_cost_usd)}, in force {score(shadow.mean_score)} at"
            f" {usd(shadow.mean_cost_usd)}"
        )
        facts.append(("in shadow", told))
    return [
        TextLine(f"{found.name}: {_verdict(found)}"),
        TextTable(columns, rows),
        Facts(facts),
    ]


def _between(found: Interval, *, money: bool = False) -> str:
    low, high = (f"{one:+.3g}" if money else f"{one:+.3f}" for one in (found.low, found.high))
    return f"{low} to {high}{' USD' if money else ''}"


def _verdict(found: Experiment) -> str:
    if found.in_shadow:
        return "in shadow, its decisions are only counted yet"
    if found.reverted:
        return f"{found.candidate} was found worse and decides nothing any more"
    if found.verdict == "not yet":
        return "nothing is proven yet"
    return f"{found.candidate} is {found.verdict}"
