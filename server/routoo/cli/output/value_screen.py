"""Screen and JSON of ``routoo replay --value``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from routoo.cli.output.numbers import count, percent, score, usd
from routoo.cli.output.render import Block, Column, Facts, Row, TextLine, TextTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from routoo.telemetry.decision_log.off_policy.intervals import Interval
    from routoo.telemetry.decision_log.off_policy.value import (
        Estimated,
        JudgedFigure,
        OffPolicyValue,
    )

_HEADINGS = ("", "estimate", "95 % interval", "bootstrap", "any number")
_UNKNOWN = "-"


def value_screen(found: OffPolicyValue) -> list[Block]:
    """Shows the estimates, and what the log has to say of them."""
    same = percent(found.same / found.decisions) if found.decisions else _UNKNOWN
    blocks: list[Block] = [
        TextLine(f"instead: {found.instead}"),
        TextLine(f"{same} of {count(found.decisions, 'decision')} the same", "good"),
        *_figures("score", found.quality, score, _signed_score),
        *_figures("cost", found.cost_usd, usd, _signed_usd),
    ]
    left_out = [
        (found.without, "without a model in one of the ways"),
        (found.odd, "with a propensity that is unknown or outside (0, 1]"),
    ]
    blocks += [
        TextLine(f"{count(number, 'decision')} left out: {why}", "warning")
        for number, why in left_out
        if number
    ]
    return blocks


def value_json(found: OffPolicyValue, findings: list[str]) -> dict[str, Any]:
    """Returns the estimates for JSON; a number that does not exist is null."""
    values = asdict(found)
    return {**values, "findings": findings}


def _figures(
    name: str,
    judged: JudgedFigure,
    text: Callable[[float], str],
    signed: Callable[[float], str],
) -> list[Block]:
    """Shows one figure: a table of estimates, and the facts that they rest on."""
    told = [
        ("as decided", judged.logged, text),
        ("instead, doubly robust", judged.robust, text),
        ("instead, importance", judged.weighted, text),
        ("difference", judged.gain, signed),
    ]
    rows = [Row(_cells(label, one, form)) for label, one, form in told if one is not None]
    columns = [Column(f"mean {name}"), *(Column(one, "right") for one in _HEADINGS[1:])]
    facts = [
        ("graded", f"{judged.graded:,}"),
        ("effective", f"{judged.effective:,.0f}; {judged.tried:,.0f} that make the error"),
        ("largest weight", f"{judged.most_weight:,.1f}"),
        ("without support", percent(judged.unsupported)),
    ]
    if judged.switched:
        facts.append(("weigh too much", f"{judged.switched:,}"))
    table: list[Block] = [TextTable(columns, rows)] if rows else []
    blocks = [*table, Facts(facts)]
    if judged.refusal:
        blocks.append(TextLine(f"cannot tell the {name} instead", "warning"))
    return blocks


def _cells(label: str, found: Estimated, text: Callable[[float], str]) -> list[str]:
    def ends(interval: Interval | None) -> str:
        return _UNKNOWN if interval is None else f"{text(interval.low)} to {text(interval.high)}"

    intervals = (found.interval, found.resampled, found.bounds)
    return [label, text(found.value), *map(ends, intervals)]


def _signed_score(value: float) -> str:
    return f"{value:+.4f}"


def _signed_usd(value: float) -> str:
    return f"{'-' if value < 0.0 else '+'}{usd(abs(value))}"
