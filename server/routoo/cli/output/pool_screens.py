"""Screens of ``routoo pool``, and of the catalogue: models, doubts about them, and differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routoo.cli.output.numbers import count
from routoo.cli.output.render import Block, Column, Row, TextLine, TextTable
from routoo.routing.upkeep.sync import JUMP

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from routoo.routing.arms.model import ModelSpec
    from routoo.routing.upkeep.check import PoolWarning
    from routoo.routing.upkeep.known_models import ModelEvidence
    from routoo.routing.upkeep.sync import PoolSync


def models(specs: Sequence[ModelSpec], evidence: Mapping[str, str]) -> list[Block]:
    """Shows the models of a pool file with what they cost, can and hold.

    Args:
        specs: the models.
        evidence: by the model's name, what the predictor learned it from; a predictor that tells
            nothing gets no column.
    """
    columns = [
        Column("model"),
        Column("provider", optional=True),
        Column("$/1M in", "right"),
        Column("cached", "right"),
        Column("$/1M out", "right"),
        Column("window", "right"),
        Column("ends", optional=True),
        Column("can", optional=True),
        *([Column("arms", optional=True)] if any(one.arms for one in specs) else []),
        *([Column("evidence", optional=True)] if evidence else []),
        Column("prices from", optional=True),
    ]
    rows = [
        Row(
            [
                one.name,
                one.provider,
                _usd(one.usd_per_1m_input_tokens),
                _usd(one.usd_per_1m_cached_input_tokens),
                _usd(one.usd_per_1m_output_tokens),
                f"{one.context_window_tokens:,}",
                str(one.deprecation_date or ""),
                " ".join(one.capabilities),
                *([" ".join(a.name for a in one.arms)] if any(m.arms for m in specs) else []),
                *([evidence.get(one.name, "")] if evidence else []),
                one.price_source or one.price_status,
            ]
        )
        for one in specs
    ]
    return [TextTable(columns, rows)]


def catalogue(found: Sequence[ModelEvidence], pooled: Collection[str | None]) -> list[Block]:
    """Shows the models of a predictor's table, with what their figures rest on.

    Args:
        found: the models.
        pooled: names of those that the pool has.
    """
    if not found:
        return [TextLine("no such model; search for a part of its name", "warning")]
    columns = [
        Column("model"),
        Column("score", "right"),
        Column("+-", "right"),
        Column("tokens", "right"),
        Column("prompts", "right"),
        Column("averages", "right"),
        Column("pool"),
    ]
    rows = [
        Row(
            [
                one.name,
                f"{one.score:.3f}",
                f"{one.score_std:.3f}",
                f"{one.output_tokens:,.0f}",
                f"{one.graded_prompts:,.0f}",
                f"{one.averages:,}",
                "yes" if one.name in pooled else "",
            ]
        )
        for one in found
    ]
    return [TextTable(columns, rows), TextLine(count(len(found), "model"), "muted")]


def added(spec: ModelSpec, remarks: Sequence[str]) -> list[Block]:
    """Shows a model that was added, and what is left to do."""
    told = (
        f"added {spec.name}: ${_usd(spec.usd_per_1m_input_tokens)} in and"
        f" ${_usd(spec.usd_per_1m_output_tokens)} out per 1M tokens"
        f" ({spec.price_source or spec.price_status}), window {spec.context_window_tokens:,}"
    )
    return [TextLine(told, "good"), *(TextLine(one) for one in remarks)]


def removed(name: str, models_left: int) -> list[Block]:
    """Shows that a model was removed."""
    return [TextLine(f"removed {name}; {count(models_left, 'model')} left", "good")]


def warnings(found: Sequence[PoolWarning], models: int) -> list[Block]:
    """Shows the doubts about a pool, one a line."""
    if not found:
        return [TextLine(f"{count(models, 'model')}, no warnings", "good")]
    return [TextLine(one.message, "warning") for one in found]


def differences(sync: PoolSync, catalogues: str) -> list[Block]:
    """Shows what a catalogue has otherwise, and the models that it says nothing of."""
    blocks: list[Block] = [
        TextLine(f"kept: {name}: {reason}", "muted") for name, reason in sync.kept.items()
    ]
    blocks += [
        TextLine(
            f"LOOK: {one.model}: {one.field} goes from {one.old:g} to {one.new:g}, by more than a"
            f" factor of {JUMP:g}",
            "warning",
        )
        for one in sync.changes
        if one.is_jump
    ]
    changed = len({one.model for one in sync.changes})
    if changed:
        verb = "differs" if changed == 1 else "differ"
        blocks.append(TextLine(f"{count(changed, 'model')} {verb} from {catalogues}"))
    else:
        compared = len(sync.before.pool.models) - len(sync.kept)
        blocks.append(TextLine(f"{count(compared, 'model')} as in {catalogues}", "good"))
    return blocks


def _usd(usd_per_1m: float | None) -> str:
    if usd_per_1m is None:
        return ""
    whole, _, decimals = f"{usd_per_1m:,.6f}".partition(".")
    return f"{whole}.{decimals[:3]}{decimals[3:].rstrip('0')}"
