"""``routoo pool``: shows, checks and edits a pool file."""
# ruff: noqa: PLC0415
# A command imports what it needs when it runs: ``routoo serve`` then starts fast and stays small.

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from routoo.cli.options.common import AsJson, print_json, show
from routoo.cli.output.errors import FAILED, CommandError
from routoo.errors import ArtifactError

if TYPE_CHECKING:
    from routoo.predictor.artifact import Artifact
    from routoo.routing.pool import Pool
    from routoo.routing.upkeep.pool_text import PoolText

app = typer.Typer(
    help="Show, check and edit a pool file.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
)

PoolFile = Annotated[
    Path | None, typer.Option("--pool", help="Pool file; none: the shipped one.", metavar="FILE")
]
EditedFile = Annotated[
    Path | None, typer.Option("--pool", help="Pool file to change.", metavar="FILE")
]
Predictor = Annotated[
    Path | None,
    typer.Option("--predictor", help="Folder of a predictor; none: the shipped one.", metavar="F"),
]
Table = Annotated[
    Path | None,
    typer.Option(
        "--table",
        help="LiteLLM's model_prices_and_context_window.json; none: the installed package's.",
        metavar="FILE",
    ),
]


@app.command("show")
def show_pool(
    *, pool: PoolFile = None, predictor: Predictor = None, as_json: AsJson = False
) -> None:
    """Show the models of a pool file with prices, windows and last days."""
    from routoo.cli.output import pool_screens
    from routoo.routing.pool import load_pool

    loaded = load_pool(pool)
    try:
        evidence = _evidence(artifact_of(predictor), loaded)
    except ArtifactError:
        if predictor is not None:
            raise
        evidence = {}  # a pool can be read where no predictor is installed
    if as_json:
        listed = [
            {**one.model_dump(mode="json"), "evidence": evidence.get(one.name)}
            for one in loaded.models
        ]
        print_json({"pool": name_of(pool), "models": listed})
    else:
        show(pool_screens.models(loaded.models, evidence))


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="A model of the pool.", metavar="NAME")],
    *,
    pool: EditedFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove a model from a pool file, with the comments in and directly above it."""
    from routoo.cli.output import pool_screens

    after = read_edited(pool).without(name)
    write_edited(pool, after)
    if as_json:
        print_json(
            {
                "pool": name_of(pool),
                "removed": name,
                "models": [one.name for one in after.pool.models],
            }
        )
    else:
        show(pool_screens.removed(name, len(after.pool.models)))


@app.command()
def check(
    *,
    pool: PoolFile = None,
    predictor: Predictor = None,
    days: Annotated[
        int, typer.Option(min=0, help="Warn of models that end within so many days.", metavar="N")
    ] = 90,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with exit code 1 if there are warnings.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Warn of models that end soon, have no price, or that the predictor hardly knows."""
    from routoo.cli.output import pool_screens
    from routoo.routing.pool import load_pool
    from routoo.routing.upkeep.check import pool_warnings
    from routoo.routing.upkeep.known_models import KnownModels

    loaded = load_pool(pool)
    found = pool_warnings(loaded, KnownModels.of(artifact_of(predictor)), today(), days)
    if as_json:
        listed = [{"model": one.model, "kind": one.kind, "message": one.message} for one in found]
        print_json({"pool": name_of(pool), "models": len(loaded.models), "warnings": listed})
    else:
        show(pool_screens.warnings(found, len(loaded.models)))
    raise typer.Exit(FAILED if strict and found else 0)


@app.command()
def sync(
    *,
    pool: PoolFile = None,
    table: Table = None,
    write: Annotated[
        bool, typer.Option("--write", help="Change the file; without it, only show.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show, as a diff, what a catalogue on this machine has otherwise than a pool file.

    Prices, windows, capabilities and last days come from the packages genai-prices and litellm, as
    they are installed: nothing is asked over the network.
    """
    from routoo.cli.output import pool_screens
    from routoo.routing.pool import DEFAULT_POOL
    from routoo.routing.upkeep.catalogues import installed_catalogues
    from routoo.routing.upkeep.pool_text import PoolText
    from routoo.routing.upkeep.sync import synced

    before = read_edited(pool) if write else PoolText.read(pool or DEFAULT_POOL)
    catalogues = installed_catalogues(today(), table)
    found = synced(before, catalogues)
    if write and found.changes:
        write_edited(pool, found.after)
    if as_json:
        changes = [
            {
                "model": one.model,
                "field": one.field,
                "old": one.old,
                "new": one.new,
                "jump": one.is_jump,
            }
            for one in found.changes
        ]
        print_json(
            {
                "pool": before.source,
                "catalogues": str(catalogues),
                "changes": changes,
                "kept": found.kept,
                "diff": found.diff,
                "written": write and bool(found.changes),
            }
        )
        return
    show(pool_screens.differences(found, str(catalogues)))
    if found.changes:
        typer.echo(found.diff, nl=False)
        typer.echo(f"wrote {before.source}" if write else "nothing is written without --write")


def name_of(pool: Path | None) -> str:
    """Returns the name of a pool file; none: that of the shipped one."""
    from routoo.routing.pool import DEFAULT_POOL

    return str(pool or DEFAULT_POOL)


def today() -> date:
    """Returns the day where the operator is."""
    return date.today()  # noqa: DTZ011 - no zone: that of the machine


def read_edited(pool: Path | None) -> "PoolText":
    """Reads a pool file that is to be changed.

    Raises:
        CommandError: no file is named; the shipped one is not changed.
        PoolError: the file cannot be read, or is no pool.
    """
    from routoo.routing.pool import DEFAULT_POOL
    from routoo.routing.upkeep.pool_text import PoolText

    if pool is None:
        raise CommandError(
            f"name the pool file to change with --pool FILE; a copy of {DEFAULT_POOL} is a start"
        )
    return PoolText.read(pool)


def write_edited(pool: Path | None, text: "PoolText") -> None:
    """Replaces the pool file as a whole; who may read it stays.

    Raises:
        OutputFileError: it cannot be written.
    """
    from routoo.cli.output.files import check_writable, replacing

    path = pool or Path(text.source)
    check_writable(path)
    mode = path.stat().st_mode & 0o7777
    with replacing(path) as file:
        file.write(text.text.encode())
    path.chmod(mode)


def artifact_of(predictor: Path | None) -> "Artifact":
    """Reads a predictor's artifact; none: the shipped one.

    Raises:
        ArtifactError: there is none.
    """
    from routoo.predictor.artifact import find_artifact, load_artifact

    return load_artifact(find_artifact(predictor))


def _evidence(artifact: "Artifact", pool: "Pool") -> dict[str, str]:
    """Returns what the predictor learned the models from, by their names, if it tells."""
    from routoo.cli.output.numbers import evidence
    from routoo.routing.upkeep.known_models import KnownModels

    if artifact.table is None:
        told = artifact.manifest.training.get("evidence")
        if not isinstance(told, dict):
            return {}
        known = {one.name: told.get(one.predictor_name or one.name) for one in pool.models}
        return {name: str(text) for name, text in known.items() if text}
    models = KnownModels.of(artifact)
    found = {one.name: models.evidence(one.predictor_name or one.name) for one in pool.models}
    return {name: evidence(one.graded_prompts, one.averages) for name, one in found.items() if one}
