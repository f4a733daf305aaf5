"""``routoo pool add``: adds a model to a pool file."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from routoo.cli.commands.pool.file import (
    EditedFile,
    Predictor,
    Table,
    artifact_of,
    name_of,
    read_edited,
    today,
    write_edited,
)
from routoo.cli.options.common import AsJson, print_json, show
from routoo.cli.output.errors import CommandError
from routoo.errors import ArtifactError, PoolError

if TYPE_CHECKING:
    from routoo.routing.arms.model import ModelSpec
    from routoo.routing.upkeep.entry import CatalogueEntry

ASSUMED_FIRST_TOKEN_MS = 600.0
ASSUMED_PER_TOKEN_MS = 12.0
_CATALOGUE = "catalogue"


def add(  # noqa: PLR0913 - one parameter per option
    name: Annotated[str, typer.Argument(help="As callers name it: maker/model.", metavar="NAME")],
    *,
    pool: EditedFile = None,
    entry: Annotated[
        str,
        typer.Option(
            "--from",
            help="Where missing prices and windows come from: catalogue, which looks the name up,"
            " or an entry, PACKAGE:KEY.",
            metavar="WHERE",
        ),
    ] = _CATALOGUE,
    table: Table = None,
    input_usd: Annotated[
        float | None, typer.Option(help="USD per 1M input tokens.", metavar="USD")
    ] = None,
    cached_usd: Annotated[
        float | None, typer.Option(help="USD per 1M cached input tokens.", metavar="USD")
    ] = None,
    cache_write_usd: Annotated[
        float | None,
        typer.Option(help="USD per 1M input tokens written to the cache.", metavar="USD"),
    ] = None,
    output_usd: Annotated[
        float | None, typer.Option(help="USD per 1M output tokens.", metavar="USD")
    ] = None,
    price_source: Annotated[
        str | None,
        typer.Option(help="Where these prices stand; none: they count as assumed.", metavar="TEXT"),
    ] = None,
    window: Annotated[
        int | None, typer.Option(help="Context window, in tokens.", metavar="N")
    ] = None,
    max_output: Annotated[
        int | None, typer.Option(help="Longest answer, in tokens.", metavar="N")
    ] = None,
    capability: Annotated[
        list[str] | None,
        typer.Option(help="What it can, e.g. tools; may be repeated.", metavar="WORD"),
    ] = None,
    deprecation_date: Annotated[
        str | None, typer.Option(help="Its last day.", metavar="YYYY-MM-DD")
    ] = None,
    predictor_name: Annotated[
        str | None, typer.Option(help="The predictor's name of it, if another.", metavar="NAME")
    ] = None,
    first_token_ms: Annotated[
        float | None, typer.Option(help="Time to the first token.", metavar="MS")
    ] = None,
    per_token_ms: Annotated[
        float | None, typer.Option(help="Time per further token.", metavar="MS")
    ] = None,
    predictor: Predictor = None,
    as_json: AsJson = False,
) -> None:
    """Add a model to a pool file, with prices from options or from a catalogue on this machine."""
    from routoo.cli.output import pool_screens

    before = read_edited(pool)
    if before.pool.has(name):
        raise CommandError(
            f"{before.source}: model {name!r} stands already; `routoo pool remove` it first, or"
            " edit the file"
        )
    if (input_usd is None) != (output_usd is None):
        raise CommandError("pass both --input-usd and --output-usd, or neither")
    given = {
        "name": name,
        "predictor_name": predictor_name,
        "usd_per_1m_input_tokens": input_usd,
        "usd_per_1m_cached_input_tokens": cached_usd,
        "usd_per_1m_cache_write_tokens": cache_write_usd,
        "usd_per_1m_output_tokens": output_usd,
        "price_status": "assumed" if price_source is None else "stated",
        "price_source": price_source,
        "context_window_tokens": window,
        "max_output_tokens": max_output,
        "capabilities": None if capability is None else tuple(dict.fromkeys(capability)),
        "deprecation_date": deprecation_date,
        "time_to_first_token_ms": first_token_ms,
        "time_per_output_token_ms": per_token_ms,
    }
    fields = {field: value for field, value in given.items() if value is not None}
    if entry != _CATALOGUE or None in (input_usd, output_usd, window):
        fields = _completed(fields, _found(name, entry, table, fields))
    remarks = []
    if first_token_ms is None or per_token_ms is None:
        remarks.append("its times are assumed: measure yours, and set them in the file")
    if "capabilities" not in fields:
        remarks.append("its capabilities are not known: chat alone is set; see --capability")
        fields["capabilities"] = ("chat",)
    fields.setdefault("time_to_first_token_ms", ASSUMED_FIRST_TOKEN_MS)
    fields.setdefault("time_per_output_token_ms", ASSUMED_PER_TOKEN_MS)
    after = before.with_model(fields)
    write_edited(pool, after)
    spec = after.pool.models[-1]
    remarks += _doubts(spec, predictor)
    if as_json:
        print_json(
            {"pool": name_of(pool), "added": spec.model_dump(mode="json"), "remarks": remarks}
        )
    else:
        show(pool_screens.added(spec, remarks))


def _doubts(spec: "ModelSpec", predictor: Path | None) -> list[str]:
    """Returns the doubts about what the predictor knows of a model.

    Raises:
        ArtifactError: the named predictor is none.
    """
    from routoo.routing.upkeep.check import predictor_warnings
    from routoo.routing.upkeep.known_models import KnownModels

    try:
        known = KnownModels.of(artifact_of(predictor))
    except ArtifactError:
        if predictor is not None:
            raise
        return []  # a pool can be edited where no predictor is installed
    return [one.message for one in predictor_warnings(spec, known)]


def _found(name: str, entry: str, table: Path | None, fields: dict[str, Any]) -> "CatalogueEntry":
    """Returns the catalogue's entry of a model.

    Raises:
        CommandError: there is none, or it has no price where the options have none.
    """
    from routoo.routing.upkeep.catalogues import installed_catalogues

    options = {
        "usd_per_1m_input_tokens": "--input-usd",
        "usd_per_1m_output_tokens": "--output-usd",
        "context_window_tokens": "--window",
    }
    missing = [option for field, option in options.items() if field not in fields]
    instead = f"pass {', '.join(missing)}" if missing else "leave --from out"
    try:
        catalogues = installed_catalogues(today(), table)
    except PoolError as error:
        raise CommandError(f"{name}: {instead}, or let a catalogue tell: {error}") from None
    if entry == _CATALOGUE:
        found = catalogues.by_name(name)
        if found is None:
            raise CommandError(
                f"{name}: no model of this name in {catalogues}; {instead}, or name an entry:"
                " --from PACKAGE:KEY"
            )
    else:
        found = catalogues.named(entry, name)
        if found is None:
            raise CommandError(
                f"--from {entry}: no such entry in {catalogues}; write for example"
                " genai-prices:anthropic:claude-opus-4-8"
            )
    has = found.figures() if found.is_priced else {}
    lacking = [options[field] for field in options if field not in fields and field not in has]
    if lacking:
        raise CommandError(f"{name}: {found.source} does not say all; pass {', '.join(lacking)}")
    return found


def _completed(fields: dict[str, Any], found: "CatalogueEntry") -> dict[str, Any]:
    """Returns the fields, and the catalogue's where the options have none.

    Prices come from one place: where those of input and output are given, the catalogue's cached
    prices are left out.
    """
    from routoo.routing.upkeep.entry import PRICES

    figures = found.figures()
    if "usd_per_1m_input_tokens" in fields:
        figures = {field: value for field, value in figures.items() if field not in PRICES}
    else:
        fields = {"price_source": found.source, **fields, "price_status": "stated"}
    fields = {**figures, **fields}
    if found.capabilities:
        fields.setdefault("capabilities", ("chat", *found.capabilities))
    return fields
