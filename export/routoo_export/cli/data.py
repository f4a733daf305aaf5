"""``routoo-export data``: converting and checking outcomes in the formats of other projects."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer

from routoo_export.cli.common import AsJson, print_result
from routoo_export.cli.sources import list_overlaps, list_sources
from routoo_export.errors import OutcomeError
from routoo_export.outcomes.adapters.battles import read_battle_sources
from routoo_export.outcomes.adapters.decision_log import read_decision_logs
from routoo_export.outcomes.adapters.formats import ADAPTERS, Adapter
from routoo_export.outcomes.adapters.huggingface import read_huggingface
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.check import describe, ignored_columns, require_trainable
from routoo_export.outcomes.outcomes import (
    UNKNOWN_LICENCE,
    Outcomes,
    merge_outcomes,
    read_metadata,
    read_outcomes,
    read_table,
)
from routoo_export.outcomes.write import write_grid, write_table

data_app = typer.Typer(
    help="Convert outcomes into the project's parquet, and check them.", no_args_is_help=True
)

data_app.command(name="sources")(list_sources)
data_app.command(name="overlaps")(list_overlaps)

Format = StrEnum(  # type: ignore[misc]
    "Format", {name: name for name in (*ADAPTERS, "huggingface", "battles", "decision-log")}
)


class Purpose(StrEnum):
    """The purpose for which outcomes are checked."""

    training = "training"
    onboarding = "onboarding"


Files = Annotated[list[Path], typer.Argument(help="Parquet files, wide, long, or of battles.")]
Inputs = Annotated[
    list[str], typer.Argument(help="Files or folders; for huggingface and battles also names.")
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out rows that do not fit, and count them.")
]


@data_app.command()
def convert(  # noqa: PLR0913 - one parameter per option
    inputs: Inputs,
    source_format: Annotated[Format, typer.Option("--format", help="What the inputs are.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    *,
    name: Annotated[str | None, typer.Option(help="Of the source; default: --out's.")] = None,
    licence: Annotated[str | None, typer.Option(help="Of the outcomes, SPDX.")] = None,
    split: Annotated[str | None, typer.Option(help="Of a dataset; default: all.")] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--map", help="huggingface: OURS=THEIRS, as score:gpt-4=gpt4.correct."),
    ] = None,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Turn published outcomes into one parquet file that training reads."""
    bad = BadRows(skip=skip_bad)
    said = _said(inputs) if source_format == "parquet" else {}
    label = name or said.get("name", out.stem)
    terms = licence or said.get("licence", UNKNOWN_LICENCE)
    if source_format == "battles":
        table = read_battle_sources(inputs, bad, split=split)
        write_table(table, out, {"name": label, "licence": terms})
        counts = _count_battles(out, BadRows())
    elif source_format == "decision-log":
        table = read_decision_logs(inputs, bad)
        write_table(table, out, {"name": label, "licence": terms, "costs": "true"})
        counts = {"rows": table.num_rows, **describe(read_outcomes(out))}
    else:
        rows = write_grid(
            _adapter(source_format, split, columns or [])(inputs, bad),
            out,
            name=label,
            licence=terms,
        )
        counts = {"rows": rows, **describe(read_outcomes(out))}
    result = {"out": str(out), "name": label, "licence": terms, **counts, **_account(bad)}
    print_result(result, as_json=as_json)


@data_app.command()
def check(
    files: Files,
    *,
    purpose: Annotated[
        Purpose, typer.Option("--for", help="training asks for two models and enough prompts.")
    ] = Purpose.training,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Count what is in outcome files; the first row that does not fit is an error.

    With several files, what they are together decides whether training can use them.
    """
    reports: dict[str, Any] = {}
    parts: list[Outcomes] = []
    for path in files:
        bad = BadRows(skip=skip_bad)
        names = read_table(path).column_names
        if "model_a" in names:
            reports[str(path)] = {**_count_battles(path, bad), **_account(bad)}
            continue
        outcomes = read_outcomes(path, bad=bad)
        parts.append(outcomes)
        source = outcomes.sources[0]
        reports[str(path)] = {
            "name": source.name,
            "licence": source.licence,
            "rows": source.rows,
            **describe(outcomes),
            **_account(bad),
            "ignored_columns": ignored_columns(names, outcomes.models),
        }
    together = merge_outcomes(parts) if parts else None
    if together is not None and purpose is Purpose.training:
        require_trainable(together)
    if together is not None and len(parts) > 1:
        reports["together"] = describe(together)
    if as_json:
        print_result(reports, as_json=True)
        return
    for heading, report in reports.items():
        typer.echo(heading)
        print_result(report, as_json=False)


def _adapter(source_format: str, split: str | None, columns: list[str]) -> Adapter:
    if source_format == "huggingface":
        return partial(read_huggingface, split=split, columns=_renames(columns))
    if split is not None or columns:
        raise OutcomeError("--split and --map belong to --format huggingface")
    return ADAPTERS[source_format]


def _renames(columns: list[str]) -> dict[str, str]:
    renames = {}
    for column in columns:
        ours, equals, theirs = column.partition("=")
        if not (ours and equals and theirs):
            raise OutcomeError(f"--map {column}: write it as OURS=THEIRS")
        renames[ours] = theirs
    return renames


def _said(inputs: list[str]) -> dict[str, str]:
    return read_metadata(Path(inputs[0]))


def _count_battles(path: Path, bad: BadRows) -> dict[str, Any]:
    from routoo_export.training.supervision.preferences import read_battles  # noqa: PLC0415 - imports the trainer

    said = read_metadata(path)
    battles = read_battles(
        path,
        name=said.get("name", path.stem),
        licence=said.get("licence", UNKNOWN_LICENCE),
        bad=bad,
    )
    return {
        "rows": pq.read_metadata(path).num_rows,
        "battles": len(battles.score_a),
        "prompts": len(battles.outcomes.prompts),
        "models": len(battles.outcomes.models),
        "ties": int((battles.score_a == 0.5).sum()),
    }


def _account(bad: BadRows) -> dict[str, Any]:
    """The counts of rows that were left out, by reason."""
    return {
        "identical_duplicates_dropped": bad.duplicates,
        "skipped": bad.skipped.total(),
        "skipped_by_reason": dict(bad.skipped),
        **({"notes": dict(bad.notes)} if bad.notes.total() else {}),
    }
